"""What is known of a product that a customer never had in, the reasons for showing it in words out.

Where trees ordered the products, a part is named only if it spoke for the product in this answer, what counted most first.
Where the network alone did, the same facts are told in a fixed order: it learned from them, but does not say which counted.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import FloatArray
from features.scoring.item_tables import Companions, Neighbours
from features.scoring.rerank import FEATURES, strongest_tie
from features.state.products import POPULARITY_DAYS
from features.vocabulary import CHANNELS
from serving.scorers.next_product import ProductScorer, Ranked

Told = tuple[str, str] | None
"""What a sentence points to, and the sentence; None where there is nothing to point to."""
Words = Callable[["Evidence"], Told]
N_REASONS: Final = 2
_OFTEN: Final = 0.05
"""Share of what a customer buys from which on they buy it often."""
_RISING: Final = math.log(1.5)
_AT: Final = {name: place for place, name in enumerate(FEATURES)}


@dataclass(frozen=True)
class Evidence:
    """One product of one customer's answer: what the trees read of it, and the words for the products it is tied to."""

    scorer: ProductScorer
    companions: Companions
    ranked: Ranked
    row: int
    values: dict[str, float]
    name_of: Callable[[str], str]
    category: str | None
    brand: str | None

    def tied_to(self, neighbours: Neighbours, half_life_days: float) -> str | None:
        """The name of the customer's product that points most strongly to this one."""
        row = strongest_tie(self.ranked.inputs, neighbours, half_life_days, self.row)
        return self.name_of(self.scorer.product_ids[row - 1]) if row > 0 else None


def _after(evidence: Evidence) -> Told:
    name = evidence.tied_to(evidence.companions.rules, evidence.companions.half_life_days[0])
    return (name, f"often bought after {name}") if name else None


def _together(evidence: Evidence) -> Told:
    name = evidence.tied_to(evidence.companions.pairs, evidence.companions.half_life_days[1])
    return (name, f"others who bought {name} bought it too") if name else None


def _popular(evidence: Evidence) -> Told:
    if evidence.row in evidence.companions.popular:
        return "popularity", "popular this week"
    rising = evidence.values["popularity_trend"] > _RISING
    return ("popularity", "selling more than usual this week") if rising else None


def _in_store(evidence: Evidence) -> Told:
    return ("store", "popular in your store lately") if evidence.values["store_share"] > 0 else None


def _on_channel(evidence: Evidence) -> Told:
    channel = CHANNELS[int(evidence.ranked.inputs["channel"][0, -1])]
    listed = evidence.values["channel_share"] > 0
    return ("channel", f"popular on the channel {channel.value} lately") if listed else None


def _of_category(evidence: Evidence) -> Told:
    often = evidence.category and evidence.values["category_share"] > _OFTEN
    return ("category", f"you often buy {evidence.category}") if often else None


def _of_brand(evidence: Evidence) -> Told:
    often = evidence.brand and evidence.values["brand_share"] > _OFTEN
    return ("brand", f"you often buy {evidence.brand}") if often else None


PARTS: Final[tuple[tuple[tuple[str, ...], Words], ...]] = (
    (("pairs",), _together),
    (("rules",), _after),
    ((*(f"log_popularity_{days:g}d" for days in POPULARITY_DAYS), "popularity_trend"), _popular),
    (("store_share",), _in_store),
    (("channel_share",), _on_channel),
    (("category_share", "category_age_days", "in_category"), _of_category),
    (("brand_share",), _of_brand),
)
"""Features that one sentence speaks for, and the sentence; None where there is nothing to point to."""


def evidence_reasons(
    scorer: ProductScorer,
    ranked: Ranked,
    column: int,
    *,
    name_of: Callable[[str], str],
    category: str | None,
    brand: str | None,
) -> list[str]:
    """At most N_REASONS sentences for the product in `column`, what counted most first; none for a model without companions."""
    companions, pool = ranked.companions, ranked.pool
    if companions is None or pool is None:
        return []
    place = np.flatnonzero(pool.items[0] == column + 1)
    if not len(place):
        return []
    features = pool.features[0, place[:1]]
    counted = np.ones(len(FEATURES)) if scorer.trees is None else scorer.trees.explain(features)[0]
    values = dict(zip(FEATURES, features[0].tolist(), strict=True))
    evidence = Evidence(scorer, companions, ranked, column + 1, values, name_of, category, brand)
    parts = PARTS if scorer.trees is None else sorted(PARTS, key=lambda part: -_sum(counted, part[0]))
    reasons: dict[str, str] = {}  # by what they point to: one product is pointed to once
    for names, words in parts:
        told = words(evidence) if _sum(counted, names) > 0 else None
        if told is not None:
            reasons.setdefault(*told)
    return list(reasons.values())[:N_REASONS]


def _sum(counted: FloatArray, names: Sequence[str]) -> float:
    return float(sum(counted[_AT[name]] for name in names))
