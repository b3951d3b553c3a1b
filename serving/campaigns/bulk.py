"""Every customer in, one decision each out, as a table for campaign tools; in one process, without HTTP."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from features.clock import Clock
from features.errors import InputError, MissingError
from features.log.engines import open_log
from features.offline.build_note import check_of_log
from features.online.many import LiveBatch
from features.online.reader import OnlineReader
from features.settings import Settings
from serving.campaigns.customers import Everybody, customer_ids, everybody, parts
from serving.campaigns.deciding import Crowds
from serving.campaigns.decisions import DECISION_SCHEMA
from serving.campaigns.keeping import decide_for
from serving.campaigns.settled import SettledStates
from serving.campaigns.table_file import check_out, table_writer
from serving.decision.refusals import Refusals
from serving.decision.rules import house_rules
from serving.decision.send_window import When
from serving.experiments.opening import open_experiments
from serving.offers.house_offers import HouseOffers
from serving.runtime import Runtime, Watcher
from serving.schemas import DecideRequest

REASONS_TOLD: Final = 5
"""How many reasons against an arm the report names."""


@dataclass(frozen=True)
class BulkReport:
    """What was decided, and how long it took."""

    path: Path
    customers: int
    logged: int
    seconds: float
    rules_version: str
    arms: dict[str, int] = field(default_factory=dict)
    not_allowed: dict[str, int] = field(default_factory=dict)
    """The most frequent first reasons why an arm was not allowed, as "arm: reason"."""
    refused: dict[str, int] = field(default_factory=dict)
    """By rule the customers for whom it refused at least one arm."""
    without_any_arm: int = 0
    """Customers who could be contacted in no way."""
    warnings: tuple[str, ...] = ()
    """Rules that refused nearly everybody, with what to do."""
    n_newer_customers: int = 0
    """Who came since the last build, among `customers`; the log told of them."""
    n_refreshed: int = 0
    """Who is of the last build and has newer events; they were decided for as of now."""
    fallbacks: dict[str, int] = field(default_factory=dict)
    """Decisions that rest on what needs no model, as "task: why"; empty where models answered for everybody."""
    cures: list[str] = field(default_factory=list)
    """What is missing, and the command that makes it."""


def decide_all(
    settings: Settings,
    out: Path,
    *,
    keep: bool = True,
    when: When = "best",
    campaign_id: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> BulkReport:
    """Decide for every customer of the timeline and the log and write DECISION_SCHEMA to `out`, Parquet or CSV by its ending.

    `when` is "best" for everybody's likeliest hour or "now" for what may be sent at once. With `keep` the decisions go
    into the event log, so that outcomes can be traced back to them; `campaign_id` names the campaign that they are for.
    Where a model is missing, what needs none decides, and the report says for how many. Raises MissingError where the
    timeline or the online store is missing, StoreError where the timeline is of another log, InputError where `out` cannot
    be written.
    """
    started = time.perf_counter()
    check_out(out)
    log = open_log(settings)
    runtime = Runtime(
        log=log,
        clock=Clock.from_settings(settings),
        rules=house_rules(settings),
        experiments=open_experiments(settings, log),
    )
    try:
        check_of_log(settings, runtime.log)
        runtime.offers = HouseOffers(settings, runtime.log)
        runtime.offers.begin()
        runtime.offers.learn(whole=True)
        progress("loading the models")
        Watcher(settings, runtime).refresh()
        if runtime.not_ready():
            raise MissingError(runtime.not_ready()[0])
        ids = customer_ids(settings)
        progress("reading what is newer than the last build")
        who = everybody(ids, settings, runtime.log)
        settled = None
        if runtime.knowledge.states is not None:
            reader = OnlineReader(settings, runtime.clock)
            settled = SettledStates.open(
                settings, runtime.knowledge.states, reader, runtime.log, problem=runtime.store_problem
            )
        return _decide(runtime, who.ids, out, keep, progress, started, when, who, campaign_id, settled)
    finally:
        runtime.log.close()


def _decide(
    runtime: Runtime,
    ids: Sequence[str],
    out: Path,
    keep: bool,
    progress: Callable[[str], None],
    started: float,
    when: When = "best",
    who: Everybody | None = None,
    campaign_id: str | None = None,
    settled: SettledStates | None = None,
) -> BulkReport:
    """With `settled`, states are read in bulk; without, one by one."""
    who = who or Everybody()
    n_newer = n_refreshed = 0
    known = runtime.knowledge
    suppressions = runtime.log.suppressions().customers()
    offers = None if runtime.offers is None else runtime.offers.offered.in_force
    request, used = _request(campaign_id, when), runtime.log.ledger().used
    crowds = Crowds(known, runtime.rules, request, runtime.clock.now(), suppressions, offers, used, runtime.experiments)

    def read(names: Sequence[str]) -> LiveBatch:
        if settled is not None:
            return settled.get(names)
        return LiveBatch.of([live for one in names if known.states is not None and (live := known.states.get(one))])

    arms: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    fallen: Counter[str] = Counter()
    refusals = Refusals()
    with table_writer(out, DECISION_SCHEMA) as writer:
        for part in parts(ids):
            names: list[str] = []
            for decided in decide_for(part, read, crowds, runtime.log, keep=keep):
                writer.write_table(decided.table())
                for decisions in decided.parts:
                    names += decisions.batch.names
                    arms.update(decisions.arms())
                    refused.update(decisions.refused())
                    refusals.merge(decisions.refusals())
                    fallen.update(decisions.fallen())
            newer, refreshed = who.count(names)
            n_newer, n_refreshed = n_newer + newer, n_refreshed + refreshed
            progress(f"{arms.total():,} of {len(ids):,} customers")
    return BulkReport(
        path=out,
        customers=arms.total(),
        logged=arms.total() if keep else 0,
        seconds=round(time.perf_counter() - started, 3),
        rules_version=runtime.rules.version,
        arms=dict(arms.most_common()),
        not_allowed=dict(refused.most_common(REASONS_TOLD)),
        refused=dict(refusals.by_rule.most_common()),
        without_any_arm=refusals.without_any_arm,
        warnings=tuple(refusals.warnings()),
        n_newer_customers=n_newer,
        n_refreshed=n_refreshed,
        fallbacks=dict(fallen.most_common()),
        cures=list(runtime.fallbacks().values()),
    )


def _request(campaign_id: str | None, when: When) -> DecideRequest:
    """The question that everybody is decided by. Raises InputError for a name that no campaign can have."""
    try:
        return DecideRequest(customer_id="*", campaign_id=campaign_id, when=when)
    except ValidationError as error:
        raise InputError(
            f"{campaign_id!r} is no campaign's name: {error.errors()[0]['msg']}.", repair="Name it as your sends do."
        ) from error
