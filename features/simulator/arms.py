"""The ways of contacting a simulated customer, what each costs and does on average, and the expected reward of each."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import expit

from features.arrays import BoolArray, FloatArray, IntArray
from features.simulator.people import CONTACT, People
from features.vocabulary import NOTHING, Channel

SLOT_HOURS: Final = {"morning": 8.0, "evening": 19.0}
TIMED: Final = (Channel.EMAIL, Channel.PUSH, Channel.SMS)
"""Channels for which the hour can be chosen; the others reach people when they do."""
_ROWS: Final = tuple(
    (
        f"{channel.value}_{slot}" if channel in TIMED else channel.value,
        i,
        SLOT_HOURS[slot] if channel in TIMED else np.nan,
    )
    for i, channel in enumerate(CONTACT)
    for slot in (SLOT_HOURS if channel in TIMED else ("",))
)
ACTION_ARMS: Final = (NOTHING, *(name for name, _, _ in _ROWS))
ARM_CHANNEL: Final = np.array([-1, *(channel for _, channel, _ in _ROWS)])
"""Index into CONTACT of every arm; -1 for nothing."""
ARM_HOUR: Final = np.array([np.nan, *(hour for _, _, hour in _ROWS)])
LEVELS: Final = np.array([0.8, 0.7, 0.9, 0.5, 1.1])
"""Mean effect on the log-odds per channel of CONTACT."""
COSTS: Final = np.array([0.02, 0.01, 0.08, 0.12, 0.55])
UNSUBSCRIBE_PENALTY: Final = 4.0


@dataclass(frozen=True)
class Arms:
    """Turns customers and their present state into the truth about every arm."""

    contact_effect: float
    timing: float
    costs: float

    def probabilities(
        self, people: People, who: IntArray, due: FloatArray, pressure: FloatArray, reachable: BoolArray
    ) -> FloatArray:
        """Chance that each arm converts, (n, arms); `reachable` (n, arms) says whether it would be sent at all."""
        channel = ARM_CHANNEL[1:]
        base = people.base_logit[who] + due
        fit = np.cos(2 * np.pi * (ARM_HOUR[1:] - people.peak_hour[who, None]) / 24)
        moved = (
            self.contact_effect * LEVELS[channel]
            + people.effect[who][:, channel]
            + self.timing * np.nan_to_num(fit)
            - (people.tires[who] * pressure)[:, None]
        )
        logits = np.column_stack([base, base[:, None] + np.where(reachable[:, 1:], moved, 0.0)])
        return np.asarray(expit(logits))

    def unsubscribes(self, people: People, who: IntArray, pressure: FloatArray, reachable: BoolArray) -> FloatArray:
        """Chance that each arm costs a consent, (n, arms)."""
        if self.costs == 0:
            return np.zeros((len(who), len(ACTION_ARMS)))
        logits = -6.0 + 0.7 * pressure[:, None] - 0.3 * people.effect[who][:, ARM_CHANNEL[1:]]
        timed = np.isfinite(ARM_HOUR[1:]) & reachable[:, 1:]
        return np.column_stack([np.zeros(len(who)), np.where(timed, expit(logits), 0.0)])

    def rewards(
        self, probability: FloatArray, unsubscribe: FloatArray, margin: FloatArray, reachable: BoolArray
    ) -> FloatArray:
        """Expected reward of each arm, (n, arms)."""
        return np.asarray(probability * margin[:, None] - self.cost(reachable) - self.penalty * unsubscribe)

    def cost(self, reachable: BoolArray) -> FloatArray:
        """What each arm costs where it is sent, (n, arms)."""
        per_arm = np.concatenate([[0.0], self.costs * COSTS[ARM_CHANNEL[1:]]])
        return np.asarray(np.where(reachable, per_arm, 0.0))

    @property
    def penalty(self) -> float:
        """What losing a consent costs."""
        return self.costs * UNSUBSCRIBE_PENALTY


def reachable_arms(consent: BoolArray) -> BoolArray:
    """Whether each arm would be sent, (n, arms), from consent per channel of CONTACT (n, channels)."""
    return np.column_stack([np.ones(len(consent), bool), consent[:, ARM_CHANNEL[1:]]])
