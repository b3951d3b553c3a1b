"""The experiments of a home and a customer in, the rules and models that this customer is decided by out.

Every worker looks at the log's table of experiments once a second. One begins and ends at a moment that the table names and
that lies ahead of the command, so all workers of all machines change over together, by the clock. An experiment is in force as
a whole or not at all: where one of its variants cannot be decided by (rules.toml has become another one, a model cannot be
loaded) nobody is in it until that is mended, and `/readyz` says why; else variants would differ in more than what they try.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from features.errors import InputError, OmniError
from features.experiments.draw import variant_of
from features.experiments.experiment import CUSTOMER, Experiment, Variant
from features.log.lists.experiment_table import ExperimentTable, KeptExperiment
from features.vocabulary import Task
from serving.decision.holdout import is_held_out
from serving.decision.record import NO_VARIANTS
from serving.decision.rules import Rules
from serving.experiments.variants import check_variants, rules_of
from serving.scorers.best_channel import ChannelScorer
from serving.scorers.bundle import Bundle, Scorer
from serving.scorers.churn import ChurnScorer
from serving.scorers.next_product import ProductScorer
from serving.scorers.win_back import WinBackScorer

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""How often the table is looked at."""
LEAD_S: Final = 5.0
"""How far ahead of the command an experiment begins or ends: by then every worker has looked, a slow one too."""
LoadModel = Callable[[Task, int], Scorer]
"""A task and a version of the registry to what answers; raises OmniError for one that must not serve."""
Drawn = tuple[tuple[str, int], ...]
"""Names of experiments, each with the number of a variant."""


@dataclass(frozen=True)
class Assigned:
    """What one customer is decided by."""

    rules: Rules
    variants: Mapping[str, str] = field(default_factory=lambda: NO_VARIANTS)
    """Experiment to variant; empty for who is in none."""
    scorers: tuple[Scorer, ...] = ()
    """What answers in place of the champions."""

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for customers who are decided by the same."""
        return tuple(f"{experiment}={variant}" for experiment, variant in self.variants.items())

    def bundle(self, bundle: Bundle) -> Bundle:
        """The champions, with these in their places."""
        for scorer in self.scorers:
            match scorer:
                case ChurnScorer():
                    bundle = replace(bundle, churn=scorer)
                case ChannelScorer():
                    bundle = replace(bundle, channel=scorer)
                case ProductScorer():
                    bundle = replace(bundle, product=scorer)
                case WinBackScorer():
                    bundle = replace(bundle, win_back=scorer)
        return bundle


@dataclass(frozen=True)
class _Known:
    """What one look found: experiments that are not over, and what answers for their variants."""

    version: int = 0
    kept: tuple[KeptExperiment, ...] = ()
    scorers: Mapping[tuple[Task, int], Scorer] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Sound:
    """Of these, those that can be decided by under certain rules of the house; and what was assigned so far."""

    known: _Known
    rules: Rules
    kept: tuple[KeptExperiment, ...]
    problems: tuple[str, ...]
    assigned: dict[Drawn, Assigned] = field(default_factory=dict)


class Experiments:
    """The experiments in force in one home; safe to use from several threads. Without a table there is none."""

    def __init__(self, table: ExperimentTable | None = None, load: LoadModel | None = None) -> None:
        self._table, self._load = table, load
        self._known = _Known()
        self._sound: _Sound | None = None
        self._stop = threading.Event()

    def assign(self, customer_id: str, rules: Rules, now_s: float | None = None) -> Assigned:
        """What a customer is decided by at `now_s` (the present, in seconds since the epoch) under the house's `rules`."""
        if not self._known.kept or not customer_id:
            return Assigned(rules)
        return self._assign(customer_id, rules, time.time() if now_s is None else now_s, self._unit_of)

    def assign_all(self, customer_ids: Sequence[str], rules: Rules, now_s: float | None = None) -> list[Assigned]:
        """`assign` of many, (n,)."""
        if not self._known.kept:
            return [Assigned(rules)] * len(customer_ids)
        now_s = time.time() if now_s is None else now_s
        units: dict[str, dict[str, str]] = {}

        def unit_of(customer_id: str, id_type: str) -> str | None:
            if id_type not in units:
                units[id_type] = {} if self._table is None else self._table.units(id_type)
            return units[id_type].get(customer_id)

        return [self._assign(name, rules, now_s, unit_of) for name in customer_ids]

    def problems(self, rules: Rules) -> tuple[str, ...]:
        """Why experiments are not in force that should be."""
        return self._known.problems + self._under(rules).problems if self._known.kept or self._known.problems else ()

    def look(self) -> None:
        """Look at the table once; where it is another one, load what its variants need and swap it in whole."""
        if self._table is None:
            return
        version = self._table.version()
        if version == self._known.version and not self._known.problems:
            return
        found = self._table.all()
        now_s = time.time()
        kept, problems = [], [f"The experiment {name} cannot be read: {why}." for name, why in found.unreadable.items()]
        scorers: dict[tuple[Task, int], Scorer] = {}
        for one in found.experiments:
            if one.is_over(now_s):
                continue
            try:
                scorers |= self._models(one.experiment)
            except OmniError as error:
                problems.append(_not_in_force(one.experiment, error))
            else:
                kept.append(one)
        for problem in problems:
            if problem not in self._known.problems:  # tried again every second, and told once
                logger.error("%s", problem)
        self._known = _Known(found.version, tuple(kept), scorers, tuple(problems))

    def watch(self, look_s: float = LOOK_S) -> Callable[[], None]:
        """Look every `look_s`, until what this answers is called."""
        thread = threading.Thread(target=self._run, args=(look_s,), name="omni-experiments", daemon=True)
        thread.start()

        def end() -> None:
            self._stop.set()
            thread.join(timeout=30)

        return end

    def _run(self, look_s: float) -> None:
        while not self._stop.wait(look_s):
            try:
                self.look()
            except OmniError as error:  # nobody is decided for without the log, and what was known stays
                logger.debug("Experiments could not be looked at: %s", error)
            except Exception:  # a bad moment must not be the end of looking
                logger.exception("Looking at experiments failed; it is tried again")

    def _models(self, experiment: Experiment) -> dict[tuple[Task, int], Scorer]:
        wanted = {pair for variant in experiment.variants for pair in variant.models.items()}
        known, load = self._known.scorers, self._load
        if wanted and load is None:
            raise InputError("Models of variants are not loaded here.")
        return {pair: known[pair] if pair in known or load is None else load(*pair) for pair in wanted}

    def _assign(
        self, customer_id: str, rules: Rules, now_s: float, unit_of: Callable[[str, str], str | None]
    ) -> Assigned:
        sound = self._under(rules)
        running = [kept.experiment for kept in sound.kept if kept.is_in_force(now_s)]
        if not running or is_held_out(customer_id, rules):
            return Assigned(rules)
        drawn: list[tuple[str, int]] = []
        for experiment in running:
            unit = customer_id if experiment.unit == CUSTOMER else unit_of(customer_id, experiment.unit)
            number = variant_of(unit, experiment) if unit else None
            if number is not None:
                drawn.append((experiment.name, number))
        key = tuple(drawn)
        if key not in sound.assigned:
            sound.assigned[key] = _assigned(sound, key)
        return sound.assigned[key]

    def _under(self, rules: Rules) -> _Sound:
        """Which experiments can be decided by under these rules: looked at once for every rules.toml."""
        sound = self._sound
        if sound is not None and sound.known is self._known and sound.rules is rules:
            return sound
        known, kept, problems = self._known, [], []
        for one in known.kept:
            try:
                check_variants(one.experiment, rules)
            except InputError as error:
                problems.append(_not_in_force(one.experiment, error))
                logger.error("%s", problems[-1])
            else:
                kept.append(one)
        self._sound = sound = _Sound(known, rules, tuple(kept), tuple(problems))
        return sound

    def _unit_of(self, customer_id: str, id_type: str) -> str | None:
        return None if self._table is None else self._table.unit_of(customer_id, id_type)


NO_EXPERIMENTS: Final = Experiments()


def _assigned(sound: _Sound, drawn: Drawn) -> Assigned:
    of_name = {kept.experiment.name: kept.experiment for kept in sound.kept}
    variants: list[Variant] = [of_name[name].variants[number] for name, number in drawn]
    scorers = [sound.known.scorers[pair] for variant in variants for pair in variant.models.items()]
    named = {name: variant.name for (name, _), variant in zip(drawn, variants, strict=True)}
    return Assigned(rules_of(sound.rules, variants), MappingProxyType(named), tuple(scorers))


def _not_in_force(experiment: Experiment, error: OmniError) -> str:
    return f"The experiment {experiment.name} is not in force, and nobody is in it: {error}"
