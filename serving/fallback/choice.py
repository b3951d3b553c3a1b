"""Models and one customer in, who answers about them out: the models, or what needs none, and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

from features.vocabulary import CORE_TASKS, Task
from serving.fallback.popularity import Popularity
from serving.fallback.population import Population
from serving.fallback.rates import RateScorer
from serving.products.catalogue import Catalogue
from serving.schemas import Why
from serving.scorers.bundle import LOADING, Bundle

_UNKNOWN: Final[Why] = "unknown customer"
_REFUSED: Final[Why] = "profiling refused"
_HURRIED: Final[Why] = "deadline"
_NONE: Final[Mapping[Task, Why]] = MappingProxyType({})
UNSEEN: Final = "the customer could not be looked at in time, and nobody is contacted unseen"
_WORDS: Final[Mapping[Why, str]] = {
    "unknown customer": "nothing is known of them yet: what everybody does is answered",
    "profiling refused": "the customer refused profiling: no model is asked about them",
    "deadline": f"{UNSEEN}: what everybody does is answered",
}


@dataclass(frozen=True)
class Chosen:
    """What answers about a customer: a bundle with products and channels, and why of each task that no model answers."""

    bundle: Bundle
    why: Mapping[Task, Why] = field(default_factory=lambda: _NONE)
    version: str = ""
    """Of the rates where they answer: decisions rest on them as on a model's version."""
    suppression: str | None = None
    """Why the customer is sent nothing, where they are on the suppression list."""

    def marks(self, *tasks: Task) -> dict[str, Any]:
        """What an answer of these tasks says of itself: fields of `ServedAnswer`; none where models answer."""
        fallen = [task for task in tasks if task in self.why]
        if not fallen:
            return {}
        first = fallen[0]
        return {
            "served_by": "popularity" if first is Task.NEXT_PRODUCT else "population",
            "reason": self.why[first],
            "note": _WORDS.get(self.why[first]) or self.bundle.problem(first),
            "fallbacks": {task.value: self.why[task] for task in fallen},
        }

    def versions(self, *tasks: Task) -> dict[str, str]:
        """Versions of the models that answer for these tasks."""
        cards = {task: self.bundle.card(task) for task in tasks if task not in self.why}
        return {task.value: card.version for task, card in cards.items() if card is not None}

    @property
    def refusal(self) -> str | None:
        """Why nobody may be contacted on what this says; None where somebody may."""
        if self.suppression is not None:
            return suppressed(self.suppression)
        return UNSEEN if self.why.get(Task.BEST_CHANNEL) == "deadline" else None

    @property
    def basis(self) -> list[str]:
        """What decisions rest on beside the models; empty where these alone answer."""
        return [str(sorted(self.why.items())), self.version] if self.why else []


def suppressed(reason: str) -> str:
    """Why nothing is sent to whom is on the suppression list for a reason, in words."""
    return f"on the suppression list: {reason}"


MODELS: Final = Chosen(Bundle())
"""Models alone answer."""


@dataclass(frozen=True, eq=False)
class Fallback:
    """What answers without models, as of one look at everybody."""

    population: Population
    popularity: Popularity

    @classmethod
    def of(cls, population: Population, catalogue: Catalogue, before: "Fallback | None" = None) -> "Fallback":
        """Over a range of products; `before` lends what is still right."""
        return cls(population, Popularity(population.sales, catalogue, None if before is None else before.popularity))

    @property
    def catalogue(self) -> Catalogue:
        """The range of products."""
        return self.popularity.catalogue

    def choose(
        self,
        bundle: Bundle,
        *,
        known: bool,
        may_profile: bool,
        store_id: str | None = None,
        channel: str | None = None,
        hurried: bool = False,
    ) -> Chosen:
        """Who answers about a customer: the models, and what needs none where one is missing.

        No model is asked about somebody of whom nothing is known or who refused profiling, nor where it is `hurried`: there
        was no time to look at them. `store_id` and `channel` say where products are popular.
        """
        if hurried or not known:
            why = dict.fromkeys(CORE_TASKS, _HURRIED if hurried else _UNKNOWN)
        elif not may_profile:
            why = dict.fromkeys(CORE_TASKS, _REFUSED)
        elif bundle.product is not None and bundle.channel is not None and bundle.churn is not None:
            return Chosen(bundle)
        else:
            why = {task: _missing(bundle, task) for task in CORE_TASKS if bundle.card(task) is None}
        filled = replace(
            bundle,
            product=self.popularity.at(store_id, channel) if Task.NEXT_PRODUCT in why else bundle.product,
            channel=self._rates if Task.BEST_CHANNEL in why else bundle.channel,
            churn=None if Task.CHURN in why else bundle.churn,
            win_back=None if _REFUSED in why.values() else bundle.win_back,
        )
        return Chosen(filled, why, self.population.version if Task.BEST_CHANNEL in why else "")

    @cached_property
    def _rates(self) -> RateScorer:
        return RateScorer.of(self.population)


def _missing(bundle: Bundle, task: Task) -> Why:
    return "model loading" if bundle.problems.get(task) == LOADING else "no model"
