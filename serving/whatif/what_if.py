"""A home and other rules in, what they would do to its customers out; nothing is logged, reserved or sent."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.clock import Clock
from features.errors import InputError, MissingError
from features.log.engines import open_log
from features.offline.build_note import check_of_log
from features.online.many import LiveBatch
from features.online.reader import OnlineReader
from features.settings import Settings
from features.vocabulary import Columns
from serving.campaigns.audience import audience_table
from serving.campaigns.condition import Condition
from serving.campaigns.customers import customer_ids, everybody, parts
from serving.campaigns.deciding import Crowds, Decided
from serving.campaigns.settled import SettledStates
from serving.decision.arm_weighing import WeighedArms
from serving.decision.rules import Rules, house_rules
from serving.runtime import Runtime, Watcher
from serving.schemas import DecideRequest
from serving.schemas.what_if import Reward, WhatIfAnswer
from serving.whatif.both_ways import BothWays
from serving.whatif.logged import logged_evidence

_TO_ALL: Final = DecideRequest(customer_id="*", when="best")


@dataclass(frozen=True)
class Sampled:
    """How many customers are looked at, and which."""

    sample: int = 20_000
    where: str | None = None
    decisions: int = 20_000
    """Logged decisions that are looked at; 0: none."""
    reward: Reward = "engagement"
    window_days: float = 7.0
    seed: int = 0


def what_if(
    settings: Settings,
    new: Rules,
    asked: Sampled,
    progress: Callable[[str], None] = lambda _: None,
    *,
    old: Rules | None = None,
) -> WhatIfAnswer:
    """What the rules `new` would do, against `old`, which are those of the home where they are not given.

    Raises MissingError where there is nothing to decide with, InputError for a condition or rules that cannot be used.
    """
    started = time.perf_counter()
    old = old or house_rules(settings)
    condition = None if asked.where is None else Condition.parse(asked.where)
    runtime = Runtime(log=open_log(settings), clock=Clock.from_settings(settings), rules=old)
    try:
        check_of_log(settings, runtime.log)
        progress("loading the models")
        Watcher(settings, runtime).refresh()
        if runtime.not_ready():
            raise MissingError(runtime.not_ready()[0])
        ids = _sample(settings, runtime, asked, condition, progress)
        both = _decide_both(settings, runtime, ids, old, new, asked, progress)
        logged, refusal, warnings = None, "", _warnings(old, new)
        if asked.decisions:
            try:
                logged, doubts = logged_evidence(
                    settings, runtime.knowledge, old, new, asked.reward, asked.window_days, asked.decisions,
                    seed=asked.seed, progress=progress,
                )  # fmt: skip
                warnings += doubts
            except (InputError, MissingError) as error:
                refusal = str(error)
    finally:
        runtime.log.close()
    return WhatIfAnswer(
        customers=both.customers,
        old=both.old.side(old.version),
        new=both.new.side(new.version),
        moves=both.moves.told(),
        moved=both.moves.counts.total(),
        logged=logged,
        logged_refusal=refusal,
        warnings=warnings,
        seconds=round(time.perf_counter() - started, 3),
    )


def _sample(
    settings: Settings,
    runtime: Runtime,
    asked: Sampled,
    condition: Condition | None,
    progress: Callable[[str], None],
) -> list[str]:
    """Customers by chance, in order; with a condition, those of as many again and again who fulfil it."""
    everyone = np.array(everybody(customer_ids(settings), settings, runtime.log).ids, dtype=object)
    order = np.random.default_rng(asked.seed).permutation(len(everyone))
    if condition is None:
        return sorted(everyone[order[: asked.sample]].tolist())
    progress("looking for those of the condition")
    table = audience_table(runtime, everyone.tolist(), progress)  # deciles are of everybody
    matching = set(table[condition.select(table)][Columns.CUSTOMER_ID])
    if not matching:
        raise InputError(f"Nobody fulfils {condition.text!r}.", repair="Try it with: omni audience --where …")
    return sorted([name for name in everyone[order].tolist() if name in matching][: asked.sample])


def _decide_both(
    settings: Settings,
    runtime: Runtime,
    ids: list[str],
    old: Rules,
    new: Rules,
    asked: Sampled,
    progress: Callable[[str], None],
) -> BothWays:
    known, now = runtime.knowledge, runtime.clock.now()
    if known.states is None:
        raise MissingError(known.store_problem or "The online store is missing.", repair="Run `omni features build`.")
    reader = OnlineReader(settings, runtime.clock)
    settled = SettledStates.open(settings, known.states, reader, runtime.log, problem=runtime.store_problem)
    before, after = (Crowds(known, rules, _TO_ALL, now) for rules in (old, new))
    both, done = BothWays(), 0
    for part in parts(ids):
        if settled is not None:
            batch = settled.get(part)
        else:
            batch = LiveBatch.of([live for name in part if (live := known.states.get(name))])
        if len(batch):
            old_ways, new_ways = _in_order(before.decide(batch)), _in_order(after.decide(batch))
            both.add(batch.names, old_ways, new_ways, f"what-if {asked.seed}")
        done += len(part)
        progress(f"{done:,} of {len(ids):,} customers both ways")
    return both


def _in_order(decided: Decided) -> list[WeighedArms]:
    """The weighed arms of a batch's customers, in its order."""
    rows = np.concatenate(decided.rows)
    weighed = [one for part in decided.parts for one in part.weighed]
    return [weighed[place] for place in np.argsort(rows)]


def _warnings(old: Rules, new: Rules) -> list[str]:
    if old.version == new.version:
        return ["These are the rules in force: nothing changes."]
    if (old.holdout_share, old.holdout_name) != (new.holdout_share, new.holdout_name):
        return [
            "The hold-out is another one: what it costs is in the counts, and not in what the log's decisions earned."
        ]
    return []
