"""Somebody's file of contacts, what customers did and, for a simulated world, the truth in; who is kept per contact out.

Aiming by uplift, by risk and at random is compared at the same number of contacts: estimated from the log itself by
doubly robust scores of customers that the models did not see, and, where it is known, from the truth.
"""

import time
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from features.arrays import FloatArray
from features.errors import InputError
from features.scoring.win_back import CONTACT, LEAVE_ALONE
from features.spreadsheet import guarded
from features.vocabulary import CUSTOMER_KINDS, DAY_US, NOTHING, Columns, EventKind, Task
from training.benchmarks.report import BenchmarkReport
from training.data.decisions import ELIGIBLE_PREFIX
from training.data.frames import customer_names, moments, numbers, read_frame
from training.models.win_back.learner import Contacts, LearnerConfig, assemble, feature_matrix, fit_winback
from training.models.win_back.measure import SLOPE, measure
from training.task import Progress

CAUTION: Final = (
    "The log says no chances (pscore) of its contacts, so they were estimated: the figures hold only if everything that "
    "decided about contacts is among the x_ columns. Randomise a small share of contacts to know."
)
EVIDENCE: Final = "contacts keep some customers more than others, and the model says whom"
NO_EVIDENCE: Final = (
    "the log does not show whom contacts keep: the advice is to leave everybody alone until more moments without a "
    "contact are logged"
)


def benchmark(
    events: Path,
    decisions: Path,
    truth: Path | None = None,
    *,
    out: Path | None = None,
    config: LearnerConfig | None = None,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> BenchmarkReport:
    """The win-back report; with `out` also a table with the advice, contact or leave alone, for every moment.

    Raises InputError for a log without contacts, without moments left alone, or without x_ columns.
    """
    config = config or LearnerConfig()
    started = time.perf_counter()
    log = _read(decisions)
    actions = _actions(events)
    complete = reachable(log).any(axis=1) & (
        log[Columns.AS_OF] + pd.Timedelta(days=config.wait_days + config.horizon_days)
        <= actions[Columns.OCCURRED_AT].max()
    )
    days = config.wait_days + config.horizon_days
    if not complete.any():
        raise InputError(
            f"No moment of {decisions} that a contact could reach has {days:g} days of {events} after it.",
            repair="Give events that go on for longer.",
        )
    if not set(log[Columns.CUSTOMER_ID]) & set(actions[Columns.CUSTOMER_ID]):
        raise InputError(f"No customer of {decisions} is in {events}.", repair="Write customer_id alike in both.")
    known_truth = None if truth is None else read_frame(truth)
    if known_truth is not None:
        known_truth = known_truth[complete.to_numpy()].reset_index(drop=True)
    log = log[complete.to_numpy()].reset_index(drop=True)
    contacts = contacts_of(log, kept(log, actions, config), config, seed)
    progress(f"win-back: {len(log):,} moments, {int((1 - contacts.treated).sum()):,} of them left alone")
    prepared_s = time.perf_counter() - started
    effects = fit_winback(contacts, config, seed)
    fit_s = time.perf_counter() - started - prepared_s
    effect = None if known_truth is None else known_truth["retention_uplift"].to_numpy(np.float64)
    report = measure(effects, contacts, config.min_uplift, seed, effect)
    advice = effects.advice(config.min_uplift) if report.proven else np.full(len(log), LEAVE_ALONE)
    if out is not None:
        table = log[[Columns.CUSTOMER_ID, Columns.AS_OF]].assign(
            uplift=effects.uplift, risk=effects.risk, advice=advice
        )
        guarded(table).to_csv(out, index=False) if out.suffix.lower() == ".csv" else table.to_parquet(out, index=False)
    return BenchmarkReport(
        task=Task.WIN_BACK,
        metrics=report.metrics,
        baselines=report.baselines,
        gains={f"{way} {name}": gain for way, gains in report.gains.items() for name, gain in gains.items()},
        seconds={"prepare": prepared_s, "fit": fit_s},
        protocol={
            "kept": f"an action of the customer's own in {config.horizon_days:g} days, {config.wait_days:g} days later",
            "kept_per_contact@k": "mean effect on being kept among the k contacted, from the log (doubly robust)",
            "true_kept_per_contact@k": "the same from the simulator's truth",
            "policy_value": "customers kept more per moment, where the advice is followed, than if nobody were contacted",
            SLOPE: "slope of the doubly robust scores on the predicted uplift of customers not seen; 1 is right",
            "evidence": EVIDENCE if report.proven else NO_EVIDENCE,
            "randomised": contacts.randomised,
            **({} if contacts.randomised else {"caution": CAUTION}),
        },
        rows={
            "moments": len(log),
            "contacts": int(contacts.treated.sum()),
            "left_alone": int((1 - contacts.treated).sum()),
            "advice_contact": int((advice == CONTACT).sum()),
            "advice_leave_alone": int((advice != CONTACT).sum()),
        },
        seed=seed,
    )


def kept(log: pd.DataFrame, events: pd.DataFrame, config: LearnerConfig) -> FloatArray:
    """Whether (n,) each moment's customer acted on their own in the window that begins `wait_days` later."""
    actions = events[events[Columns.KIND].isin([kind.value for kind in CUSTOMER_KINDS])]
    actions = actions.dropna(subset=[Columns.CUSTOMER_ID, Columns.OCCURRED_AT])
    times = {
        customer: np.sort(rows.to_numpy())
        for customer, rows in _micros(actions[Columns.OCCURRED_AT]).groupby(
            customer_names(actions[Columns.CUSTOMER_ID])
        )
    }
    begin = _micros(log[Columns.AS_OF]).to_numpy() + round(config.wait_days * DAY_US)
    end = begin + round(config.horizon_days * DAY_US)
    nobody = np.zeros(0, dtype=np.int64)
    returned = np.zeros(len(log))
    for i, customer in enumerate(customer_names(log[Columns.CUSTOMER_ID])):
        first, last = np.searchsorted(times.get(customer, nobody), [begin[i], end[i]])
        returned[i] = float(last > first)
    return returned


def reachable(log: pd.DataFrame) -> pd.DataFrame:
    """Whether a contact by each action of the log would be sent, (n, actions): what `eligible_<action>` says, else true."""
    arms = sorted(set(log["action"].astype(str)) - {NOTHING})
    flags = {arm: log.get(ELIGIBLE_PREFIX + arm) for arm in arms}
    return pd.DataFrame({arm: True if flag is None else flag.astype(bool) for arm, flag in flags.items()}, log.index)


def contacts_of(log: pd.DataFrame, outcome: FloatArray, config: LearnerConfig, seed: int) -> Contacts:
    """The log as `fit_winback` wants it; whom an action could reach is among the features, since it decides about the
    chance of a contact.
    """
    columns = [name for name in log.columns if name.startswith("x_")]
    if not columns:
        raise InputError("The decisions have no x_ column.", repair="Give what was known as columns x_NAME.")
    can = reachable(log)
    varying = can.loc[:, can.nunique() > 1].add_prefix(ELIGIBLE_PREFIX)
    return assemble(
        feature_matrix(pd.concat([log[columns], varying], axis=1)),
        log["action"].astype(str).to_numpy(object),
        can,
        outcome,
        customer_names(log[Columns.CUSTOMER_ID]).to_numpy(object),
        config,
        seed,
        pscore=log["pscore"].to_numpy(np.float64) if "pscore" in log.columns else None,
    )


def _read(path: Path) -> pd.DataFrame:
    log = read_frame(path)
    _need(log, path, (Columns.CUSTOMER_ID, Columns.AS_OF, "action"), "customer_id, as_of, action, x_*, pscore")
    decisions = log.assign(
        customer_id=customer_names(log[Columns.CUSTOMER_ID]), as_of=moments(log[Columns.AS_OF], f"{path}: as_of")
    )
    blank = decisions[[Columns.CUSTOMER_ID, Columns.AS_OF, "action"]].isna().any(axis=1)
    if blank.any():
        raise InputError(
            f"{path}: row {int(np.flatnonzero(blank)[0]) + 1} has no customer_id, as_of or action.",
            repair="Fill it, or leave such rows out.",
        )
    if "pscore" in log.columns:
        decisions["pscore"] = numbers(log["pscore"], f"{path}: pscore")
        wrong = ~((decisions["pscore"] > 0) & (decisions["pscore"] <= 1))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"{path}: pscore is {decisions['pscore'].iloc[row]} in row {row + 1} ({int(wrong.sum())} such rows).",
                repair="It must be a chance above 0 and up to 1; without the column it is estimated.",
            )
    return decisions


def _actions(path: Path) -> pd.DataFrame:
    """Who did what when; a file without `kind` holds purchases."""
    events = read_frame(path)
    _need(events, path, (Columns.CUSTOMER_ID, Columns.OCCURRED_AT), "customer_id, occurred_at, kind")
    return pd.DataFrame(
        {
            Columns.CUSTOMER_ID: customer_names(events[Columns.CUSTOMER_ID]),
            Columns.OCCURRED_AT: moments(events[Columns.OCCURRED_AT], f"{path}: occurred_at"),
            Columns.KIND: events.get(Columns.KIND, pd.Series(EventKind.PURCHASE.value, index=events.index)),
        }
    )


def _need(table: pd.DataFrame, path: Path, columns: tuple[str, ...], all_columns: str) -> None:
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r}.", repair=f"Columns: {all_columns}.")


def _micros(times: pd.Series) -> pd.Series:
    return times.astype("datetime64[us, UTC]").astype(np.int64)
