"""A customer's state in, what the rules need to know about reaching them out; arms in, their values out."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from features import fold_kernel as kernel
from features.state import StateBatch
from features.vocabulary import CHANNELS, Channel
from serving.rules import NOTHING, Arm, ContactFacts, Eligibility, Rules
from serving.schemas import ArmScore

NOTHING_ARM = Arm(NOTHING, None)


def consents(state: StateBatch) -> dict[Channel, bool]:
    """Channels on which the customer (n = 1) said yes or no."""
    said = state.channels[0, :, kernel.CONSENT]
    return {channel: bool(said[i] > 0.5) for i, channel in enumerate(CHANNELS) if said[i] >= 0}


def contact_facts(state: StateBatch) -> ContactFacts:
    """What the rules look at, from a state (n = 1)."""
    unanswered = state.channels[0, :, kernel.UNANSWERED]
    return ContactFacts(
        consents=consents(state),
        contacts=tuple((CHANNELS[int(channel)], float(at_s)) for channel, at_s in state.contacts.values),
        unanswered={channel: int(unanswered[i]) for i, channel in enumerate(CHANNELS) if unanswered[i] > 0},
    )


def arm_value(arm: Arm, response_probability: float, rules: Rules) -> float:
    """Expected value of using an arm, in money; nothing is worth 0."""
    return 0.0 if arm.channel is None else response_probability * rules.response_value - arm.cost


def score_arms(
    checked: Sequence[Eligibility],
    probabilities: NDArray[np.float64],
    rules: Rules,
    chances: Mapping[str, float] | None = None,
) -> list[ArmScore]:
    """Arms with `probabilities` (arms,), and nothing, ordered best first: allowed before refused, then by value.

    With `chances` every arm also tells the policy's chance of it.
    """
    rows = [
        _arm_score(item, float(probability), rules) for item, probability in zip(checked, probabilities, strict=True)
    ]
    rows.append(_arm_score(Eligibility(NOTHING_ARM, True), None, rules))
    if chances is not None:
        rows = [row.model_copy(update={"chance": chances.get(row.arm, 0.0)}) for row in rows]
    return sorted(rows, key=lambda row: (not row.eligible, -row.value, row.arm))


def _arm_score(item: Eligibility, probability: float | None, rules: Rules) -> ArmScore:
    return ArmScore(
        arm=item.arm.name,
        channel=item.arm.channel,
        response_probability=probability,
        cost=item.arm.cost,
        value=arm_value(item.arm, probability or 0.0, rules),
        eligible=item.eligible,
        reasons=list(item.reasons),
    )
