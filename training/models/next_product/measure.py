"""Rankings of a model and of the baselines, and what was really bought, in; every figure of the global-time report out.

Beside the figures of all customers: products bought before and new ones apart, customers and products with little history
apart, one figure per channel, how much of the catalogue is shown, and how little known what is shown is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import BoolArray, FloatArray, IntArray
from features.evaluation.resampling import Metric
from features.vocabulary import CHANNELS
from training.data.interactions import SECONDS_PER_DAY, Interactions
from training.evaluation.ranking import coverage_at_k, paired_gain, ranking_values, with_intervals
from training.models.next_product.baselines import Rankings
from training.models.next_product.data import Examples

KS: Final = (5, 10, 20)
COLD_BASKETS: Final = 3
"""A customer with fewer baskets before the cutoff is cold."""
_MIN_CUSTOMERS: Final = 30
"""A slice of fewer customers gets no figure."""


@dataclass(frozen=True)
class Measured:
    """Metrics of the model and the baselines, the model's gains over them, and its primary metric per customer."""

    metrics: dict[str, Metric]
    baselines: dict[str, dict[str, Metric]]
    gains: dict[str, Metric]
    values: FloatArray


@dataclass(frozen=True)
class Slices:
    """What belongs together: target entries (m,) by name, and customers (n,) by name."""

    targets: Mapping[str, BoolArray]
    customers: Mapping[str, BoolArray]


def measure(
    model: Rankings,
    baselines: Rankings,
    test: Examples,
    lines: Interactions,
    cutoff: float,
    recent_days: float,
    primary: str,
    seed: int,
) -> Measured:
    """All metrics of the one ranking in `model` and of each of `baselines`.

    A product first bought in the last `recent_days` or never is cold. `…_new@k` is of rankings without what a customer
    bought before, measured on what they bought for the first time: how well new products are found where only these are
    asked for.
    """
    past = lines.before(cutoff)
    slices = slices_of(test, past, cutoff - recent_days * SECONDS_PER_DAY)
    bits = surprise(past.item, lines.n_items)
    n_items = len(np.unique(past.item))

    def summary(top: IntArray, top_new: IntArray) -> dict[str, Metric]:
        values = ranking_values(top, test.targets, KS)
        novelty = {f"novelty@{k}": bits[top[:, :k]].mean(axis=1) for k in KS}
        found = with_intervals(values, seed) | with_intervals(novelty, seed)
        for name, mask in slices.targets.items():
            split = ranking_values(top, test.targets.keep(mask), (10, 20))
            if mask.any():
                found |= with_intervals({f"recall_{name}@{k}": split[f"recall@{k}"] for k in (10, 20)}, seed)
        if slices.targets["explore"].any():
            of_new = ranking_values(top_new, test.targets.keep(slices.targets["explore"]), (10,))
            found |= with_intervals({f"{name}_new@10": of_new[f"{name}@10"] for name in ("ndcg", "recall")}, seed)
        for name, chosen in slices.customers.items():
            if chosen.sum() >= _MIN_CUSTOMERS:
                found |= with_intervals({f"ndcg@10/{name}": values["ndcg@10"][chosen]}, seed)
        for k in KS:
            shown = coverage_at_k(top, n_items, k)
            found[f"coverage@{k}"] = Metric(shown, shown, shown)
        return found

    def value(top: IntArray) -> FloatArray:
        return ranking_values(top, test.targets, KS)[primary]

    ours = value(*model.all.values())
    return Measured(
        metrics=summary(*model.all.values(), *model.new.values()),
        baselines={name: summary(top, baselines.new[name]) for name, top in baselines.all.items()},
        gains={name: paired_gain(ours, value(top), seed) for name, top in baselines.all.items()},
        values=ours,
    )


def surprise(items: IntArray, n_items: int) -> FloatArray:
    """Bits that each item (n_items + 1,) tells, by its share of the purchases `items`; what was never bought as if once."""
    n = max(len(items), 1)
    share: FloatArray = np.bincount(items, minlength=n_items + 1) / n
    return -np.log2(np.maximum(share, 1.0 / n))


def slices_of(test: Examples, past: Interactions, new_since: float) -> Slices:
    """Targets bought before or not, and cold; customers with few baskets, and by the channel of their latest event."""
    width = past.n_items + 1
    owners = test.targets.owners()
    bought = np.isin(test.customers[owners] * width + test.targets.items, past.customer * width + past.item)
    known = np.zeros(width, bool)
    known[past.item[past.time < new_since]] = True
    baskets = np.unique(past.basket, return_index=True)[1]
    n_baskets = np.bincount(past.customer[baskets], minlength=past.n_customers)[test.customers]
    latest = test.inputs["channel"][:, -1]
    has_event = test.inputs["item"][:, -1].astype(np.int64) > 0
    by_channel = {
        channel.value: has_event & (latest == code) for code, channel in enumerate(CHANNELS) if (latest == code).any()
    }
    return Slices(
        targets={"repeat": bought, "explore": ~bought, "cold_products": ~known[test.targets.items]},
        customers={"cold_customers": n_baskets < COLD_BASKETS, **by_channel},
    )
