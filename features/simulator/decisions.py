"""A simulated world's decisions day by day in, the logged table and the table of the truth out; and the policy behind them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from features.arrays import BoolArray, FloatArray, IntArray
from features.simulator.arms import ACTION_ARMS, ARM_CHANNEL
from features.vocabulary import KIND_CODES, Columns, EventKind


@dataclass
class DecisionBuffer:
    """Decisions in parts, one a day, in order; the number of a decision is its row."""

    parts: list[dict[str, Any]] = field(default_factory=list)
    n: int = 0

    def add(
        self,
        who: IntArray,
        time_us: IntArray,
        arm: IntArray,
        pscore: FloatArray,
        reward: FloatArray,
        features: dict[str, np.ndarray],
        reachable: BoolArray,
        expected: FloatArray,
        probability: FloatArray,
        margin: FloatArray,
        retention_nothing: FloatArray,
        retention_contact: FloatArray,
    ) -> IntArray:
        """One day's decisions; answers their numbers. See `simulator` for what each array holds."""
        numbers = np.arange(self.n, self.n + len(who))
        self.n += len(who)
        self.parts.append(
            {
                "who": who,
                "time_us": time_us,
                "arm": arm,
                "pscore": pscore,
                "reward": reward,
                "reachable": reachable,
                "expected": expected,
                "probability": probability,
                "margin": margin,
                "retention_nothing": retention_nothing,
                "retention_contact": retention_contact,
                **{f"x_{name}": values for name, values in features.items()},
            }
        )
        return numbers

    def describe(self, texts: dict[tuple[int, int], str], numbers: IntArray, arm: IntArray, pscore: FloatArray) -> None:
        """Put the properties of the decisions' events into `texts`."""
        code = KIND_CODES[EventKind.DECISION]
        for number, a, p in zip(numbers.tolist(), arm.tolist(), pscore.tolist(), strict=True):
            texts[code, number] = f'{{"arm": "{ACTION_ARMS[a]}", "pscore": {p:.9g}}}'

    def tables(self, start: datetime, customer_ids: np.ndarray) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The log and the truth, a row per decision, in the same order."""
        if not self.parts:
            empty = [Columns.DECISION_ID, Columns.CUSTOMER_ID, Columns.AS_OF]
            return pd.DataFrame(columns=[*empty, "action", "pscore", "reward"]), pd.DataFrame(columns=empty)
        c = {name: np.concatenate([part[name] for part in self.parts]) for name in self.parts[0]}
        moments = pd.Timestamp(start) + pd.to_timedelta(c["time_us"], unit="us")
        key = {
            Columns.DECISION_ID: [f"d-{i:08d}" for i in range(self.n)],
            Columns.CUSTOMER_ID: customer_ids[c["who"]],
            Columns.AS_OF: moments,
        }
        log = pd.DataFrame(
            {
                **key,
                "timestamp": moments,
                "action": np.array(ACTION_ARMS, dtype=object)[c["arm"]],
                "pscore": c["pscore"],
                "reward": c["reward"],
                **{f"eligible_{arm}": c["reachable"][:, i] for i, arm in enumerate(ACTION_ARMS)},
                **{name: values for name, values in c.items() if name.startswith("x_")},
            }
        )
        truth = pd.DataFrame(
            {
                **key,
                **{f"expected_{arm}": c["expected"][:, i] for i, arm in enumerate(ACTION_ARMS)},
                **{f"probability_{arm}": c["probability"][:, i] for i, arm in enumerate(ACTION_ARMS)},
                "margin": c["margin"],
                "retention_nothing": c["retention_nothing"],
                "retention_contact": c["retention_contact"],
                "retention_uplift": c["retention_contact"] - c["retention_nothing"],
            }
        )
        return log, truth


def logging_chances(open_rates: FloatArray, exploration: float) -> FloatArray:
    """The policy that made the log, (n, arms): a share uniform over all arms, the rest on the most opened channel.

    `open_rates` (n, contact channels); the arms of the channel share its part evenly.
    """
    n_arms = len(ACTION_ARMS)
    favourite = np.argmax(open_rates, axis=1)
    of_channel = ARM_CHANNEL[None, :] == favourite[:, None]
    return np.asarray(exploration / n_arms + (1 - exploration) * of_channel / of_channel.sum(axis=1, keepdims=True))
