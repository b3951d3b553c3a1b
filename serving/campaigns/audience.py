"""A condition in, the customers who fulfil it out, as a Parquet or CSV file for campaign tools."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from features import atomic
from features.clock import Clock
from features.errors import MissingError
from features.log.engines import open_log
from features.offline.build_note import check_of_log
from features.online.live import LiveState, state_version
from features.settings import Settings
from features.signals import compute_signals
from features.spreadsheet import guarded
from features.state.batch import StateBatch
from features.vocabulary import Columns
from serving.answers import Knowledge
from serving.campaigns.condition import Condition
from serving.campaigns.customers import customer_ids, everybody, parts
from serving.campaigns.likely import COLUMN, Wanted, chances
from serving.campaigns.segments import CHURN_COLUMNS, WIN_BACK_COLUMNS, add_deciles, segment_table
from serving.campaigns.table_file import check_out
from serving.campaigns.taste_columns import TasteColumns
from serving.decision.holdout import is_held_out
from serving.decision.rules import house_rules
from serving.runtime import Runtime, Watcher


@dataclass(frozen=True)
class AudienceReport:
    """Who was chosen of how many; `held_out` and `suppressed` fulfil the condition, and nobody may contact them."""

    path: Path
    where: str
    customers: int
    chosen: int
    held_out: int
    seconds: float
    suppressed: int = 0
    """Who is on the suppression list."""
    lifecycle: dict[str, int] = field(default_factory=dict)
    n_newer_customers: int = 0
    """Who came since the last build, among `customers`; the log told of them."""
    n_refreshed: int = 0
    """Who is of the last build and has newer events; they were looked at as of now."""


def export_audience(
    settings: Settings,
    where: str,
    out: Path,
    *,
    likely_to_buy: str | None = None,
    raw: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> AudienceReport:
    """Write everybody of the timeline and the log who fulfils `where` and is in no hold-out to `out`.

    It is Parquet or CSV by its ending; text of a CSV is guarded against spreadsheets (features/spreadsheet.py) unless it
    is asked for `raw`. `likely_to_buy` (such as category:WINE) adds the column of that name, the likeliest first. Raises
    InputError for a condition or a path that cannot be used, MissingError where timeline or store is missing.
    """
    started = time.perf_counter()
    check_out(out)
    condition = Condition.parse(where)
    wanted = None if likely_to_buy is None else Wanted.parse(likely_to_buy)
    ids = customer_ids(settings)
    runtime = Runtime(log=open_log(settings), clock=Clock.from_settings(settings), rules=house_rules(settings))
    try:
        check_of_log(settings, runtime.log)
        Watcher(settings, runtime).refresh()
        _check(condition, runtime.knowledge, wanted, ids[:1] + ids[-1:] or ["nobody"])
        progress("reading what is newer than the last build")
        who = everybody(ids, settings, runtime.log)
        table = audience_table(runtime, who.ids, progress, wanted, condition.columns)
        suppressions = runtime.log.suppressions().customers()
    finally:
        runtime.log.close()
    matching = table[condition.select(table)]
    held_out = [is_held_out(customer_id, runtime.rules) for customer_id in matching[Columns.CUSTOMER_ID]]
    kept_back = np.array(held_out, dtype=np.bool_)
    suppressed = matching[Columns.CUSTOMER_ID].isin(suppressions).to_numpy() & ~kept_back
    chosen = matching[~(kept_back | suppressed)]
    if wanted is not None:
        chosen = chosen.sort_values(COLUMN, ascending=False, kind="stable")
    write(chosen, out, raw=raw)
    newer, refreshed = who.count(table[Columns.CUSTOMER_ID])
    return AudienceReport(
        path=out,
        where=where,
        customers=len(table),
        chosen=len(chosen),
        held_out=int(kept_back.sum()),
        suppressed=int(suppressed.sum()),
        seconds=round(time.perf_counter() - started, 3),
        lifecycle=dict(Counter(chosen["lifecycle"]).most_common()),
        n_newer_customers=newer,
        n_refreshed=refreshed,
    )


def _check(condition: Condition, known: Knowledge, wanted: Wanted | None, ids: list[str]) -> None:
    """Try the condition on the customers `ids`, of whom nothing else is known, before everybody is scored.

    The ids are real ones: whether `customer_id = 1` can be asked depends on their form.
    """
    bundle, tastes = known.bundle, TasteColumns(known.catalogue, condition.columns)
    names = {column.lower() for column in condition.columns}  # as SQL compares them
    if bundle.churn is None and names.intersection(CHURN_COLUMNS):
        bundle.need_churn()  # raises, with the reason
    if bundle.win_back is None and names.intersection(WIN_BACK_COLUMNS):
        bundle.need_win_back()  # raises, with the reason
    nothing = StateBatch.empty(1)
    lives = [LiveState(customer_id, nothing, None, 0, state_version(nothing)) for customer_id in ids]
    signals = compute_signals(StateBatch.concat([live.scored for live in lives]), np.zeros(len(lives)))
    table = add_deciles(segment_table(lives, signals, bundle.churn, bundle.win_back))
    if wanted is not None:
        wanted.rows(bundle.need_product(), known.catalogue)  # raises, with the reason
        table[COLUMN] = 0.0
    tastes.add(lives, np.zeros(len(lives)))
    condition.select(tastes.beside(table))


def audience_table(
    runtime: Runtime,
    ids: Sequence[str],
    progress: Callable[[str], None] = lambda _: None,
    wanted: Wanted | None = None,
    named: Sequence[str] = (),
) -> pd.DataFrame:
    """Everybody's columns now, and those tastes that are `named`.

    See segments.py for what they mean, likely.py for that of `wanted`, taste_columns.py for tastes.
    """
    known, tables = runtime.knowledge, []
    tastes = TasteColumns(known.catalogue, named)
    if known.states is None:
        raise MissingError(known.store_problem or "The online store is missing.", repair="Run `omni features build`.")
    now_s, done = runtime.clock.now().timestamp(), 0
    for part in parts(ids):
        lives = [live for customer_id in part if (live := known.states.get(customer_id))]
        done += len(part)
        progress(f"{done:,} of {len(ids):,} customers")
        if not lives:
            continue
        as_of = np.array([max(now_s, live.last_event_s) for live in lives])
        tastes.add(lives, as_of)
        states = StateBatch.concat([live.scored for live in lives])
        signals = compute_signals(states, as_of)
        table = segment_table(lives, signals, known.bundle.churn, known.bundle.win_back)
        if wanted is not None:
            scorer = known.bundle.need_product()
            table[COLUMN] = chances(scorer, states, as_of, wanted.rows(scorer, known.catalogue))
        tables.append(table)
    if not tables:
        raise MissingError("No customer has any behaviour yet.", repair="Ingest events first: omni ingest SOURCE")
    return tastes.beside(add_deciles(pd.concat(tables, ignore_index=True)))


def write(table: pd.DataFrame, out: Path, *, raw: bool = False) -> None:
    """Put a table where `out` says, whole or not at all; `raw`: a CSV's text as it is, for machines."""
    with atomic.replacing(out) as part:
        if out.suffix.lower() == ".csv":
            (table if raw else guarded(table)).to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
