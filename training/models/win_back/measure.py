"""Cross-fitted effects and the log's own doubly robust scores in, what aiming by uplift, by risk or at random brings out.

Every way is judged on customers whose models did not see them; a truth that is known (of a simulated world) can stand
beside the log's own estimate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from features.arrays import FloatArray
from features.evaluation.off_policy import DecisionLog
from features.evaluation.resampling import Metric, Sampled, Statistic, mean, resample
from features.scoring.win_back import CONTACT
from training.evaluation.metrics import top_share
from training.evaluation.qini import auuc, qini, qini_curve
from training.models.win_back.learner import Contacts, Winback

PRIMARY: Final = "policy_value"
SHARES: Final = (0.1, 0.2, 0.3)
"""Shares of the moments at which somebody is contacted."""
SLOPE: Final = "effect_slope"
N_BOOTSTRAP: Final = 300


@dataclass(frozen=True)
class Measured:
    """Metrics of aiming by uplift, those of the other ways, and paired gains over these per metric."""

    metrics: dict[str, Metric]
    baselines: dict[str, dict[str, Metric]]
    gains: dict[str, dict[str, Metric]]

    @property
    def proven(self) -> bool:
        """Whether the log shows whom a contact keeps: those with a higher uplift gain surely more from it."""
        return self.metrics[SLOPE].low > 0


def measure(
    found: Winback, contacts: Contacts, min_uplift: float, seed: int, truth: FloatArray | None = None
) -> Measured:
    """The figures; every way of aiming sends as many contacts as aiming by uplift does.

    policy_value: customers kept more per moment than if nobody were contacted. kept_per_contact@k: the same per contact,
    where the first k are contacted; with `truth` (n,) also true_… by it. qini, auuc: of ordering by uplift, see
    training/evaluation/qini.py. effect_slope: of the scores on the predicted uplift; 1 is right.
    """
    ways = {"uplift": found.within_folds(found.uplift), "risk": found.within_folds(found.risk)}
    advised = (found.advice(min_uplift) == CONTACT).astype(np.float64)
    chosen = {
        "uplift": advised,
        "risk": top_share(ways["risk"], advised.mean()),
        "random": np.full(len(advised), advised.mean()),
        "everybody": np.ones(len(advised)),
        "nobody": np.zeros(len(advised)),
    }
    statistics: dict[str, Statistic] = {}
    for prefix, values in ({"": found.scores} | ({} if truth is None else {"true_": truth})).items():
        statistics |= {f"{way} {prefix}{PRIMARY}": mean(rows * values) for way, rows in chosen.items()}
        for share in SHARES:
            name = f"{prefix}kept_per_contact@{share:.0%}"
            statistics |= {f"{way} {name}": _among(order, share, values) for way, order in ways.items()}
            statistics[f"random {name}"] = mean(values)
    log = as_log(contacts)
    for way, order in ways.items():
        statistics |= {f"{way} qini": qini(log, order, 1, 0), f"{way} auuc": _auuc(log, order)}
    statistics[f"uplift {SLOPE}"] = _slope(found)
    sampled = resample(statistics, contacts.customers, n_bootstrap=N_BOOTSTRAP, seed=seed)
    tables: dict[str, dict[str, Sampled]] = {}
    for key, value in sampled.items():
        way, name = key.split(" ")
        tables.setdefault(way, {})[name] = value
    ours = tables.pop("uplift")
    gains = {
        way: {name: ours[name].minus(value).metric() for name, value in table.items()} for way, table in tables.items()
    }
    return Measured(_metrics(ours), {way: _metrics(table) for way, table in tables.items()}, gains)


def as_log(contacts: Contacts) -> DecisionLog:
    """The moments as decisions between leaving alone (0) and a contact (1)."""
    treated = contacts.treated.astype(np.int64)
    chance = np.clip(contacts.chance, 1e-3, 1 - 1e-3)
    pscore = np.where(treated == 1, chance, 1 - chance)
    return DecisionLog(treated, pscore, contacts.kept, 2, contacts.customers.astype(str))


def _metrics(table: Mapping[str, Sampled]) -> dict[str, Metric]:
    return {name: value.metric() for name, value in table.items()}


def _slope(found: Winback) -> Statistic:
    """Of the scores on the predicted uplift, both less their mean in the fold."""
    predicted = pd.Series(found.uplift)
    centred = (predicted - predicted.groupby(found.folds).transform("mean")).to_numpy(np.float64)
    return lambda w: float((w * centred) @ found.scores / max(float((w * centred) @ centred), 1e-12))


def _among(order: FloatArray, share: float, values: FloatArray) -> Statistic:
    chosen = top_share(order, share)
    return lambda w: float((w * chosen) @ values / (w @ chosen)) if w @ chosen > 0 else float("nan")


def _auuc(log: DecisionLog, order: FloatArray) -> Statistic:
    curve = qini_curve(log, order, 1, 0)
    return lambda w: auuc(curve(w))
