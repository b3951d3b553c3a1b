"""Logged contacts, what customers did and, for a simulated world, the truth in; who is kept per contact out.

Aiming by uplift, by risk and at random is compared at the same number of contacts: estimated from the log itself by
doubly robust scores of customers that the models did not see, and, where it is known, from the truth.
"""

import time
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.arrays import FloatArray
from features.errors import InputError
from features.vocabulary import CUSTOMER_KINDS, NOTHING, Columns, EventKind, Task
from training.benchmarks.report import BenchmarkReport
from training.benchmarks.winback_model import (
    CONTACT,
    LEAVE_ALONE,
    Contacts,
    Winback,
    WinbackConfig,
    estimated_chance,
    feature_matrix,
    fit_winback,
)
from training.data.decisions import ELIGIBLE_PREFIX
from training.data.frames import moments, names, numbers, read_frame
from training.evaluation.metrics import Metric, Sampled, Statistic, mean, resample
from training.task import Progress

SHARES: Final = (0.1, 0.2, 0.3)
"""Shares of the moments at which somebody is contacted."""
CAUTION: Final = (
    "The log says no chances (pscore) of its contacts, so they were estimated: the figures hold only if everything that "
    "decided about contacts is among the x_ columns. Randomise a small share of contacts to know."
)
EVIDENCE: Final = "contacts keep some customers more than others, and the model says whom"
NO_EVIDENCE: Final = (
    "the log does not show whom contacts keep: the advice is to leave everybody alone until more moments without a "
    "contact are logged"
)
_DAY_US: Final = 86_400_000_000


def benchmark(
    events: Path,
    decisions: Path,
    truth: Path | None = None,
    *,
    out: Path | None = None,
    config: WinbackConfig | None = None,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> BenchmarkReport:
    """The win-back report; with `out` also a table with the advice, contact or leave alone, for every moment.

    Raises InputError for a log without contacts, without moments left alone, or without x_ columns.
    """
    config = config or WinbackConfig()
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
    found = fit_winback(contacts, config, seed)
    fit_s = time.perf_counter() - started - prepared_s
    effect = None if known_truth is None else known_truth["retention_uplift"].to_numpy(np.float64)
    metrics, baselines, gains = _measure(found, contacts.customers, effect, seed)
    told = metrics["effect_slope"].low > 0
    advice = found.advice(config.min_uplift) if told else np.full(len(log), LEAVE_ALONE)
    if out is not None:
        table = log[[Columns.CUSTOMER_ID, Columns.AS_OF]].assign(uplift=found.uplift, risk=found.risk, advice=advice)
        table.to_csv(out, index=False) if out.suffix.lower() == ".csv" else table.to_parquet(out, index=False)
    return BenchmarkReport(
        task=Task.CHURN,
        metrics=metrics,
        baselines=baselines,
        gains=gains,
        seconds={"prepare": prepared_s, "fit": fit_s},
        protocol={
            "kept": f"an action of the customer's own in {config.horizon_days:g} days, {config.wait_days:g} days later",
            "kept_per_contact@k": "mean effect on being kept among the k contacted, from the log (doubly robust)",
            "true_kept_per_contact@k": "the same from the simulator's truth",
            "effect_slope": "slope of the doubly robust scores on the predicted uplift of customers not seen; 1 is right",
            "evidence": EVIDENCE if told else NO_EVIDENCE,
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


def kept(log: pd.DataFrame, events: pd.DataFrame, config: WinbackConfig) -> FloatArray:
    """Whether (n,) each moment's customer acted on their own in the window that begins `wait_days` later."""
    own = events[events[Columns.KIND].isin([kind.value for kind in CUSTOMER_KINDS])]
    own = own.dropna(subset=[Columns.CUSTOMER_ID, Columns.OCCURRED_AT])
    times = {
        customer: np.sort(rows.to_numpy())
        for customer, rows in _micros(own[Columns.OCCURRED_AT]).groupby(own[Columns.CUSTOMER_ID].astype(str))
    }
    begin = _micros(log[Columns.AS_OF]).to_numpy() + round(config.wait_days * _DAY_US)
    end = begin + round(config.horizon_days * _DAY_US)
    nobody = np.zeros(0, dtype=np.int64)
    found = np.zeros(len(log))
    for i, customer in enumerate(log[Columns.CUSTOMER_ID].astype(str)):
        first, last = np.searchsorted(times.get(customer, nobody), [begin[i], end[i]])
        found[i] = float(last > first)
    return found


def reachable(log: pd.DataFrame) -> pd.DataFrame:
    """Whether a contact by each action of the log would be sent, (n, actions): what `eligible_<action>` says, else true."""
    arms = sorted(set(log["action"].astype(str)) - {NOTHING})
    flags = {arm: log.get(ELIGIBLE_PREFIX + arm) for arm in arms}
    return pd.DataFrame({arm: True if flag is None else flag.astype(bool) for arm, flag in flags.items()}, log.index)


def contacts_of(log: pd.DataFrame, outcome: FloatArray, config: WinbackConfig, seed: int) -> Contacts:
    """The log as `fit_winback` wants it: a contact is what was sent, so an action that could not reach the customer left
    them alone, and whom an action could reach is among the features, since it decides about the chance of a contact.
    """
    columns = [name for name in log.columns if name.startswith("x_")]
    can = reachable(log)
    action = log["action"].astype(str)
    treated = sum(((action == arm) & can[arm]).to_numpy(np.float64) for arm in can.columns) + np.zeros(len(log))
    if not columns:
        raise InputError("The decisions have no x_ column.", repair="Give what was known as columns x_NAME.")
    if min(treated.sum(), (1 - treated).sum()) < 2 * config.min_data_in_leaf:
        raise InputError(
            f"{int(treated.sum())} contacts and {int((1 - treated).sum())} moments left alone cannot be compared.",
            repair=f"Log at least {2 * config.min_data_in_leaf} of each; action {NOTHING!r} means left alone.",
        )
    varying = can.loc[:, can.nunique() > 1].add_prefix(ELIGIBLE_PREFIX)
    features = feature_matrix(pd.concat([log[columns], varying], axis=1))
    customers = log[Columns.CUSTOMER_ID].astype(str).to_numpy(object)
    chance = estimated_chance(features, treated, customers, config, seed)
    randomised = "pscore" in log.columns
    if randomised:
        # The log gives the chance of what was done: of a contact it is that of one arm, so only nothing's says it whole,
        # and only where every arm would have been sent.
        whole = ((action == NOTHING) & can.all(axis=1)).to_numpy()
        chance = np.where(whole, 1 - log["pscore"].to_numpy(np.float64), chance)
    return Contacts(features, treated, outcome, chance, customers, randomised)


def _measure(
    found: Winback, customers: NDArray[np.object_], effect: FloatArray | None, seed: int
) -> tuple[dict[str, Metric], dict[str, dict[str, Metric]], dict[str, Metric]]:
    ways = {"uplift": found.within_folds(found.uplift), "risk": found.within_folds(found.risk)}
    sources = {"": found.scores} | ({} if effect is None else {"true_": effect})
    statistics: dict[str, Statistic] = {}
    for prefix, values in sources.items():
        for share in SHARES:
            for way, order in ways.items():
                statistics[f"{way} {prefix}kept_per_contact@{share:.0%}"] = _among(order, share, values)
            statistics[f"random {prefix}kept_per_contact@{share:.0%}"] = mean(values)
    statistics["uplift effect_slope"] = _slope(found)
    sampled = resample(statistics, customers, n_bootstrap=300, seed=seed)

    def of(way: str) -> dict[str, Sampled]:
        return {key.split(" ")[1]: one for key, one in sampled.items() if key.startswith(f"{way} ")}

    ours = of("uplift")
    baselines = {way: {name: one.metric() for name, one in of(way).items()} for way in ("risk", "random")}
    gains = {
        f"{way} {name}": ours[name].minus(of(way)[name]).metric() for way in ("risk", "random") for name in of(way)
    }
    return {name: one.metric() for name, one in ours.items()}, baselines, gains


def _slope(found: Winback) -> Statistic:
    """Of the scores on the predicted uplift, both less their mean in the fold."""
    predicted = pd.Series(found.uplift)
    centred = (predicted - predicted.groupby(found.folds).transform("mean")).to_numpy(np.float64)
    return lambda w: float((w * centred) @ found.scores / max(float((w * centred) @ centred), 1e-12))


def _among(order: FloatArray, share: float, values: FloatArray) -> Statistic:
    chosen = (order >= np.quantile(order, 1 - share)).astype(np.float64)
    return lambda w: float((w * chosen) @ values / (w @ chosen)) if w @ chosen > 0 else float("nan")


def _read(path: Path) -> pd.DataFrame:
    log = read_frame(path)
    _need(log, path, (Columns.CUSTOMER_ID, Columns.AS_OF, "action"), "customer_id, as_of, action, x_*, pscore")
    found = log.assign(customer_id=names(log[Columns.CUSTOMER_ID]), as_of=moments(log[Columns.AS_OF], f"{path}: as_of"))
    blank = found[[Columns.CUSTOMER_ID, Columns.AS_OF, "action"]].isna().any(axis=1)
    if blank.any():
        raise InputError(
            f"{path}: row {int(np.flatnonzero(blank)[0]) + 1} has no customer_id, as_of or action.",
            repair="Fill it, or leave such rows out.",
        )
    if "pscore" in log.columns:
        found["pscore"] = numbers(log["pscore"], f"{path}: pscore")
        wrong = ~((found["pscore"] > 0) & (found["pscore"] <= 1))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"{path}: pscore is {found['pscore'].iloc[row]} in row {row + 1} ({int(wrong.sum())} such rows).",
                repair="It must be a chance above 0 and up to 1; without the column it is estimated.",
            )
    return found


def _actions(path: Path) -> pd.DataFrame:
    """Who did what when; a file without `kind` holds purchases."""
    events = read_frame(path)
    _need(events, path, (Columns.CUSTOMER_ID, Columns.OCCURRED_AT), "customer_id, occurred_at, kind")
    return pd.DataFrame(
        {
            Columns.CUSTOMER_ID: names(events[Columns.CUSTOMER_ID]),
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
