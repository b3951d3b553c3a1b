"""A customer's state in, what the rules need to know about reaching them out; arms in, their values out."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.online.live import LiveState
from features.state import layout
from features.state.batch import StateBatch
from features.state.exposed import Exposures
from features.vocabulary import CHANNELS, DAY_S, NOTHING, Channel
from serving.decision.reachable import reach
from serving.decision.reserved import reserved_exposures, sent_contacts
from serving.decision.rests import Exposure, ExposureHistory
from serving.decision.rules import Arm, ContactFacts, Eligibility, Rules, check_arm
from serving.decision.send_time import Plan, is_open
from serving.decision.send_window import SendWindow
from serving.decision.state_rows import StateRows
from serving.schemas import ArmScore

NOTHING_ARM = Arm(NOTHING, None)


def consents(state: StateBatch) -> dict[Channel, bool]:
    """Channels on which the customer (n = 1) said yes or no."""
    said = state.channels[0, :, layout.CONSENT]
    return {channel: bool(said[i] > 0.5) for i, channel in enumerate(CHANNELS) if said[i] >= 0}


def contact_facts(state: StateBatch, customer_id: str | None = None) -> ContactFacts:
    """What the rules look at, from a state (n = 1); without the customer's id, as of somebody who can be reached anywhere."""
    unanswered = state.channels[0, :, layout.UNANSWERED]
    return ContactFacts(
        consents=consents(state),
        contacts=tuple(sent_contacts(state)),
        unanswered={channel: int(unanswered[i]) for i, channel in enumerate(CHANNELS) if unanswered[i] > 0},
        reach=None if customer_id is None else reach(state, customer_id),
    )


def exposure_history(live: LiveState, as_of_s: float) -> ExposureHistory:
    """What a customer was contacted about, as of a moment, whether or not they refused profiling: it is about messages."""
    state = live.state
    stats = state.exposure_stats.values
    until_s = float(state.scalar("exposures_until")[0])
    history = ExposureHistory(
        _exposures(
            state.exposure_code.values,
            stats[:, layout.EXPOSURE_LAST],
            stats[:, layout.EXPOSURE_IGNORED],
            stats[:, layout.EXPOSURE_CHANNEL],
            stats[:, layout.EXPOSURE_EARLIER],
            as_of_s,
        ),
        math.inf if math.isnan(until_s) else (as_of_s - until_s) / DAY_S,
        None if live.exposed is None else partial(_ask, live.exposed, as_of_s),
    )
    return history.with_these(reserved_exposures(live.held, as_of_s)) if live.held.reservations else history


def check_arms(
    arms: Sequence[Arm],
    facts: ContactFacts,
    hours: FloatArray,
    rules: Rules,
    as_of_s: float,
    *,
    channels: Collection[Channel] | None = None,
    not_before_s: float | None = None,
    window: SendWindow | None = None,
) -> tuple[list[Eligibility], list[float | None]]:
    """Whether each arm is allowed at its best moment from `as_of_s` on, and when to send it; see `check_arm`.

    `hours` (168,) is how likely the customer is active. An arm that is silent in all of its own hours is refused. Where the
    best moment lies before `not_before_s`, in seconds, the best one from then on is answered: whether an arm is allowed
    hangs on `as_of_s` alone. With a `window` an arm is allowed at a moment within it or not at all.
    """
    plan = Plan(hours, rules)
    standing: dict[Channel, list[str]] = {}
    if window is not None:
        pairs = [_within(arm, facts, plan, as_of_s, channels, window, standing) for arm in arms]
        return [item for item, _ in pairs], [at_s for _, at_s in pairs]
    moments = [plan.moment(arm, as_of_s) for arm in arms]
    checked = []
    for arm, at_s in zip(arms, moments, strict=True):
        found = check_arm(arm, facts, rules, as_of_s, send_at_s=at_s, channels=channels, standing=standing)
        if at_s is None and arm.hours is not None and found.eligible:
            found = Eligibility(
                arm, False, (f"{arm.channel} is silent in all hours from {arm.hours[0]} to {arm.hours[1]}",)
            )
        checked.append(found)
    if not_before_s is not None:
        moments = [
            at_s if at_s is None or at_s >= not_before_s else plan.moment(arm, not_before_s)
            for arm, at_s in zip(arms, moments, strict=True)
        ]
    return checked, moments


def known_gains(arms: Sequence[Arm], gains: FloatArray, facts: ContactFacts) -> FloatArray:
    """Gains (arms,) without those of channels that the customer refused: no log tells what sending there would do."""
    refused = [i for i, arm in enumerate(arms) if arm.channel is not None and facts.consents.get(arm.channel) is False]
    if not refused:
        return gains
    known = gains.copy()
    known[refused] = np.nan
    return known


def arm_value(arm: Arm, response_probability: float, rules: Rules, gain: float = math.nan) -> float:
    """Expected value of using an arm, in money; nothing is worth 0.

    `gain` is what the arm is known to bring over nothing, costs included; where it is not known (NaN), the value is
    what a response is worth, times its probability, less the cost.
    """
    if arm.channel is None:
        return 0.0
    return response_probability * rules.response_value - arm.cost if math.isnan(gain) else gain


def score_arms(
    checked: Sequence[Eligibility],
    probabilities: FloatArray,
    gains: FloatArray,
    rules: Rules,
    chances: Mapping[str, float] | None = None,
    *,
    explain: bool = True,
    values: Mapping[str, float] | None = None,
) -> list[ArmScore]:
    """Arms with `probabilities` and `gains` (arms,), and nothing, best first: allowed before refused, then by value.

    With `chances` every arm also tells the policy's chance of it, and where it is to `explain`, why it is refused. `values`
    are those of arms whose worth hangs on more than the models.
    """
    rows = [
        _arm_score(item, probability, gain, rules, chances, explain=explain)
        for item, probability, gain in zip(checked, probabilities.tolist(), gains.tolist(), strict=True)
    ]
    rows.append(_arm_score(Eligibility(NOTHING_ARM, True), None, math.nan, rules, chances))
    if values is not None:
        rows = [row.model_copy(update={"value": values.get(row.arm, row.value)}) for row in rows]
    return sorted(rows, key=lambda row: (not row.eligible, -row.value, row.arm))


def allowed_values(
    checked: Sequence[Eligibility], probabilities: FloatArray, gains: FloatArray, rules: Rules
) -> dict[str, float]:
    """Expected value of every allowed arm, nothing among them."""
    values = {
        item.arm.name: arm_value(item.arm, probability, rules, gain)
        for item, probability, gain in zip(checked, probabilities.tolist(), gains.tolist(), strict=True)
        if item.eligible
    }
    return {**values, NOTHING: 0.0}


def best_arm_reasons(best: ArmScore, n_allowed: int, *, personal: bool = True) -> list[str]:
    """The best of `n_allowed` arms in sentences: why it is, and what its value rests on.

    `personal`: whether effects differ between customers.
    """
    reasons = [
        f"{best.arm} has the highest expected value ({best.value:.2f}) of {n_allowed} allowed ways, nothing among them"
    ]
    if best.effect is not None:
        reasons.append(
            "the value is its effect against sending nothing, its cost taken off, learned from decisions that were drawn "
            "by chance"
        )
        if not personal:
            reasons.append("the effect is everybody's: customers are not proven to differ in it")
    elif best.channel is not None:
        reasons.append(
            "the value rests on how likely an answer is, not on an effect: no drawn decisions have been learned from yet"
        )
    return reasons


def _within(
    arm: Arm,
    facts: ContactFacts,
    plan: Plan,
    as_of_s: float,
    channels: Collection[Channel] | None,
    window: SendWindow,
    standing: dict[Channel, list[str]],
) -> tuple[Eligibility, float | None]:
    """Whether an arm is allowed at some moment of the window, and at which."""
    rules = plan.rules
    if arm.channel is None:
        return Eligibility(arm, True), None
    at_s = None if window.refusal else _moment_within(arm, arm.channel, plan, window)
    start_s = as_of_s if window.refusal else window.start_s
    moment_s = start_s if at_s is None else at_s
    found = check_arm(arm, facts, rules, as_of_s, send_at_s=moment_s, channels=channels, standing=standing)
    if at_s is not None:
        return found, at_s
    return Eligibility(arm, False, (*found.reasons, *_missed(arm, found, rules, window))), None


def _moment_within(arm: Arm, channel: Channel, plan: Plan, window: SendWindow) -> float | None:
    if not window.at_once:
        return plan.moment(arm, window.start_s, window.end_s)
    return window.start_s if is_open(channel, plan.rules, plan.rules.local(window.start_s), arm.hours) else None


def _missed(arm: Arm, found: Eligibility, rules: Rules, window: SendWindow) -> list[str]:
    """Why an arm has no moment in the window; for one that is quiet just then `found` says it already."""
    if window.refusal:
        return [window.refusal]
    if not window.at_once and math.isinf(window.end_s):
        return [f"{arm.channel} is silent in all hours that it may be used in"]
    if not window.at_once:
        return [f"no moment before the offer's end, {rules.local(window.end_s):%Y-%m-%d %H:%M} ({rules.time_zone})"]
    local = rules.local(window.start_s)
    if arm.hours is not None and not arm.hours[0] <= local.hour < arm.hours[1]:
        return [f"sent from {arm.hours[0]} to {arm.hours[1]} o'clock, and it is {local:%H:%M} ({rules.time_zone})"]
    return []


def _arm_score(
    item: Eligibility,
    probability: float | None,
    gain: float,
    rules: Rules,
    chances: Mapping[str, float] | None,
    *,
    explain: bool = True,
) -> ArmScore:
    return ArmScore(
        arm=item.arm.name,
        channel=item.arm.channel,
        response_probability=probability,
        effect=None if math.isnan(gain) else gain,
        cost=item.arm.cost,
        value=arm_value(item.arm, probability or 0.0, rules, gain),
        eligible=item.eligible,
        reasons=list(item.reasons) if explain else [],
        chance=None if chances is None else chances.get(item.arm.name, 0.0),
    )


def _ask(exposed: Callable[[], Exposures], as_of_s: float) -> StateRows[Exposure]:
    rows = exposed()
    return _exposures(rows.code, rows.last_s, rows.ignored, rows.channel, np.zeros(len(rows.code)), as_of_s)


def _exposures(
    codes: IntArray,
    last_s: FloatArray,
    ignored: FloatArray | IntArray,
    channels: FloatArray | IntArray,
    earlier: FloatArray,
    as_of_s: float,
) -> StateRows[Exposure]:

    def columns() -> Sequence[NDArray[Any]]:
        return np.maximum(0.0, (as_of_s - last_s) / DAY_S), ignored, channels, earlier

    return StateRows(codes, columns, _exposure)


def _exposure(last_days: float, ignored: float, channel: float, earlier: float) -> Exposure:
    return Exposure(last_days, int(ignored), CHANNELS[int(channel)], earlier > 0)
