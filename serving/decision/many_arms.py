"""`weigh_arms` of many customers at once: hours, moments, values as arrays; rules are asked once for all whom they see alike.

What a rule looks at of a customer is a few small numbers (`what_rules_see`), in which most customers are like many others. The
rules themselves are those of `check_arms`, asked of the first of each kind, so that there is one place where they are written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np

from features.arrays import BoolArray, FloatArray, IntArray
from features.log.reservations import NOTHING_HELD
from features.online.many import LiveBatch
from features.state import layout
from features.state.batch import StateBatch
from features.vocabulary import CHANNELS, DAY_S
from serving.decision.arm_weighing import WeighedArms
from serving.decision.contacts import NOTHING_ARM, check_arms, contact_facts
from serving.decision.holdout import hold_back
from serving.decision.policy import choice_chances
from serving.decision.reachable import reached
from serving.decision.reserved import Limits
from serving.decision.rules import Arm, Cap, ContactFacts, Eligibility, Rules, refuse_all
from serving.decision.send_time import best_moment, day_from, many_hours, next_day
from serving.decision.send_window import SendWindow
from serving.decision.zones import by_zone

MOST_KINDS: Final = 10_000
"""Kinds of customers of whom is remembered what the rules say."""
_REFUSED: Final = 0
_CHANNEL_AT: Final = {channel: place for place, channel in enumerate(CHANNELS)}


@dataclass(frozen=True)
class ManyArms:
    """The arms of one question, for any customers: what was found out for some is at hand for the next."""

    arms: Sequence[Arm]
    population_hours: FloatArray  # (168,)
    rules: Rules
    unadvertised: str | None = None
    """Why no product may be advertised, where that is so."""
    _checked: dict[tuple[object, ...], tuple[Eligibility, ...]] = field(default_factory=dict)
    _zones: dict[str, "ManyArms"] = field(default_factory=dict)

    def weigh(
        self,
        states: StateBatch,
        scored: StateBatch,
        as_of_s: FloatArray,
        probabilities: FloatArray,
        gains: FloatArray,
        *,
        names: Sequence[str],
        held_out: Sequence[bool],
        refusals: Sequence[str | None],
        not_before_s: FloatArray,
        windows: Sequence[SendWindow | None],
        limits: Limits | None = None,
        batch: LiveBatch | None = None,
    ) -> list[WeighedArms]:
        """`weigh_arms` of n customers; `probabilities` and `gains` are (n, arms), windows at once or none.

        With `limits` the `batch` tells what the same customers have reserved.
        """
        zones = by_zone(states, self.rules)
        if zones is not None:
            of_row: dict[int, WeighedArms] = {}
            for rules, rows in zones:
                many = self._zones.get(rules.time_zone)
                if many is None:
                    many = self._zones[rules.time_zone] = replace(self, rules=rules, _checked={}, _zones={})
                of_zone = many.weigh(
                    states.take(rows),
                    scored.take(rows),
                    as_of_s[rows],
                    probabilities[rows],
                    gains[rows],
                    names=[names[row] for row in rows],
                    held_out=[held_out[row] for row in rows],
                    refusals=[refusals[row] for row in rows],
                    not_before_s=not_before_s[rows],
                    windows=[windows[row] for row in rows],
                    limits=limits,
                    batch=None if batch is None else batch.take(rows),
                )
                of_row |= dict(zip(rows.tolist(), of_zone, strict=True))
            return [of_row[row] for row in range(len(states))]
        seen = what_rules_see(states, names, as_of_s, self.rules)
        gains = np.where(self._is_refused(seen), np.nan, gains)
        values = np.where(np.isnan(gains), probabilities * self.rules.response_value - self._costs, gains)
        hours = many_hours(scored, self.population_hours)
        moments = self._moments(hours, as_of_s, not_before_s, windows)
        out = []
        for row, (at_s, window, refusal) in enumerate(zip(as_of_s.tolist(), windows, refusals, strict=True)):
            at_best = moments[row].tolist()
            silent = tuple(moment != moment for moment in at_best)
            moment_s = at_s if any(silent) else None  # what an arm is refused for then hangs on the clock
            key = (seen[row].tobytes(), silent, moment_s, refusal, held_out[row], window and window.start_s)
            checked = self._checked.get(key)
            if checked is None:
                if len(self._checked) >= MOST_KINDS:
                    self._checked.clear()
                checked = self._checked[key] = self._check(
                    contact_facts(states.one(row), names[row]), hours[row], at_s, window, held_out[row], refusal
                )
            if limits is not None and batch is not None and (limits.concern_all or names[row] in batch.reserving):
                held = batch.held.get(names[row], NOTHING_HELD)
                checked = tuple(limits.apply(partial(batch.live, row), held, checked, _told(at_best)))
            allowed = {
                item.arm.name: value for item, value in zip(checked, values[row].tolist(), strict=True) if item.eligible
            }
            allowed[NOTHING_ARM.name] = 0.0
            chances = choice_chances(allowed, exploration=self.rules.exploration, temperature=self.rules.temperature)
            out.append(
                WeighedArms(checked, _told(at_best), probabilities[row], gains[row], allowed, chances, self.rules)
            )
        return out

    def _check(
        self,
        facts: ContactFacts,
        hours: FloatArray,
        as_of_s: float,
        window: SendWindow | None,
        held_out: bool,
        refusal: str | None,
    ) -> tuple[Eligibility, ...]:
        checked, _ = check_arms(self.arms, facts, hours, self.rules, as_of_s, window=window)
        if held_out:
            checked = hold_back(checked, self.rules)
        elif refusal is not None:
            checked = refuse_all(checked, refusal)
        elif self.unadvertised is not None:
            checked = refuse_all(checked, self.unadvertised, self.rules.arms_without_product)
        return tuple(checked)

    def _is_refused(self, seen: IntArray) -> BoolArray:
        """Whether a customer said no to each arm's channel (n, arms)."""
        at = [len(CHANNELS) if arm.channel is None else _CHANNEL_AT[arm.channel] for arm in self.arms]
        consent = np.column_stack([seen[:, : len(CHANNELS)], np.full(len(seen), 1)])
        return np.asarray(consent[:, at] == _REFUSED)

    @property
    def _costs(self) -> FloatArray:
        return np.array([arm.cost for arm in self.arms])

    def _moments(
        self, hours: FloatArray, as_of_s: FloatArray, not_before_s: FloatArray, windows: Sequence[SendWindow | None]
    ) -> FloatArray:
        """When each arm is sent best (n, arms), in seconds; NaN where it is silent. Who has the same day goes together."""
        moments = np.full((len(hours), len(self.arms)), np.nan)
        starts = [None if window is None else window.start_s for window in windows]
        days: dict[tuple[float, float, float | None], list[int]] = {}
        for row, day in enumerate(zip(as_of_s.tolist(), not_before_s.tolist(), starts, strict=True)):
            days.setdefault(day, []).append(row)
        for (from_s, earliest_s, start_s), rows in days.items():
            if start_s is not None:
                window = windows[rows[0]]
                found = check_arms(
                    self.arms, contact_facts(StateBatch.empty(1)), hours[rows[0]], self.rules, from_s, window=window
                )
                moments[rows] = [np.nan if at_s is None else at_s for at_s in found[1]]
                continue
            of_day = self._best(hours[rows], from_s)
            early = of_day < earliest_s
            if early.any():
                of_day = np.where(early, self._best(hours[rows], earliest_s), of_day)
            moments[rows] = of_day
        return moments

    def _best(self, hours: FloatArray, from_s: float) -> FloatArray:
        """`Plan.moment` of n customers, likely active in `hours` (n, 168), for every arm (n, arms)."""
        best = np.full((len(hours), len(self.arms)), np.nan)
        for start_s in (from_s, next_day(from_s)):
            of_week, coming = day_from(start_s, self.rules.zone)
            likely = hours[:, of_week]  # (n, 24)
            for place, arm in enumerate(self.arms):
                if arm.channel is None or not np.isnan(best[:, place]).any():
                    continue
                opens = [best_moment([hour], arm.channel, self.rules, arm.hours) for hour in coming]
                moments = np.array([np.nan if at_s is None else at_s for at_s in opens])
                if np.isnan(moments).all():
                    continue
                hour = np.where(np.isnan(moments), -np.inf, likely).argmax(axis=1)
                best[:, place] = np.where(np.isnan(best[:, place]), moments[hour], best[:, place])
        return best


def _told(moments: Sequence[float]) -> tuple[float | None, ...]:
    """Moments with None where there is none (NaN)."""
    return tuple(None if moment != moment else moment for moment in moments)


def what_rules_see(states: StateBatch, names: Sequence[str], as_of_s: FloatArray, rules: Rules) -> IntArray:
    """All that `check_arms` looks at of n customers beside their hours, as whole numbers (n, K); the consents first.

    Two customers with the same numbers are answered the same, in the same words.
    """
    n, n_channels = len(states), len(CHANNELS)
    consent = states.channels[:, :, layout.CONSENT]
    said = np.where(consent < 0, -1, np.where(consent > 0.5, 1, _REFUSED)).astype(np.int64)
    rows, (channel, at_s) = states.contacts.rows(), states.contacts.values.reshape(-1, 2).T
    cell = rows * n_channels + channel.astype(np.int64)

    def counted(cap: Cap | None) -> IntArray:
        if cap is None:
            return np.zeros((n, n_channels), np.int64)
        within = (as_of_s[rows] - cap.days * DAY_S < at_s) & (at_s <= as_of_s[rows])
        return np.bincount(cell[within], minlength=n * n_channels).reshape(n, n_channels)

    capped = np.zeros((n, n_channels), np.int64)
    for place, name in enumerate(CHANNELS):
        cap = rules.channel_caps.get(name)
        if cap is not None:
            capped[:, place] = counted(cap)[:, place] >= cap.max
    overall = counted(rules.overall_cap).sum(axis=1) >= rules.overall_cap.max
    unanswered = states.channels[:, :, layout.UNANSWERED].astype(np.int64)
    last_s = np.full(n * n_channels, -np.inf)
    np.maximum.at(last_s, cell, at_s)
    rests = as_of_s[:, None] - last_s.reshape(n, n_channels) < rules.rest_days * DAY_S
    tired = np.where((unanswered >= rules.max_unanswered) & rests, unanswered, 0)
    by_some_way = reached(states, names, said, rules.reachable).astype(np.int64)
    return np.column_stack([said, capped, overall.astype(np.int64), tired, by_some_way])
