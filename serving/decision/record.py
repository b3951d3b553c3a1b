"""The chances of one customer's arms in, the arm that is drawn and what the event of the decision holds out; pure."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from features.arrays import Float32Array
from features.log.reservations import Held
from serving.decision.arm_weighing import WeighedArms
from serving.decision.holdout import holdout_flag
from serving.decision.policy import Choice
from serving.decision.reserved import Limits
from serving.decision.rules import Arm, Rules
from serving.decision.send_window import SendWindow, When
from serving.schemas import CustomerRef, DecideRequest, ProductFilter, Status

_ASKED: Final = ({*ProductFilter.model_fields, "channels"} - set(CustomerRef.model_fields)) - {"explain"}
"""What of a question the decision hangs on, beside the customer, the campaign and the time of the offer."""

MODELS_ALONE: Final[Mapping[str, Any]] = MappingProxyType({})
"""What there is to say of an answer that models alone give."""
NO_VARIANTS: Final[Mapping[str, str]] = MappingProxyType({})
"""Of who is in no experiment."""


@dataclass(frozen=True)
class Drawn:
    """What the policy chose."""

    decision_id: str
    choice: Choice
    arm: Arm
    number: int | None
    """The arm's number; nothing has none."""
    send_at_s: float | None


def draw_arm(
    customer_id: str,
    version: str,
    as_of_s: float,
    request: DecideRequest,
    question: str,
    models: Mapping[str, str],
    weighed: WeighedArms,
    window: SendWindow | None,
    basis: Sequence[str] = (),
    variants: Mapping[str, str] = NO_VARIANTS,
) -> Drawn:
    """One of the weighed arms for a customer whose behaviour has this `version`; `question` is what `question_of` says.

    `basis` is what else the chances rest on where models do not give all of them, `variants` what the customer is given of
    experiments: an answer from before one began is another decision.
    """
    parts = [customer_id, f"{as_of_s:.6f}", version, str(sorted(models.items())), question]
    if window is not None:  # what may be sent in it can change within the stretch of time: then it is another draw
        parts += [str(window.at_once), f"{request.not_before}", f"{request.not_after}", *sorted(weighed.values)]
    parts += [f"{experiment}={variant}" for experiment, variant in variants.items()]
    digest = hashlib.blake2b("\x1f".join([*parts, *basis, weighed.rules.text]).encode(), digest_size=12)
    decision_id = f"d-{digest.hexdigest()}"
    choice = weighed.best() if request.dry_run else weighed.draw(decision_id)
    arm, number = weighed.chosen(choice)
    return Drawn(decision_id, choice, arm, number, None if number is None else weighed.moments[number])


def limits_basis(held: Held, weighed: WeighedArms, limits: Limits) -> list[str]:
    """What of the ledger a decision rests on; nothing where it knows nothing of the customer, and nothing else is limited."""
    return [
        *([f"held {held.version}"] if held.version else []),
        *(["limited", *sorted(weighed.values)] if held.version or limits.concern_all else []),
    ]


def question_of(request: DecideRequest) -> str:
    """What of it a decision hangs on, as JSON."""
    return request.model_dump_json(include=_ASKED if request.campaign_id is None else {*_ASKED, "campaign_id"})


def decision_properties(
    customer_id: str,
    version: str,
    choice: Choice,
    request: DecideRequest,
    signals: Float32Array,
    probabilities: Mapping[str, float],
    *,
    status: Status,
    churn: float | None,
    models: Mapping[str, str],
    feature_service: str,
    when: When,
    send_at: datetime | None,
    rules: Rules,
    served: Mapping[str, Any] = MODELS_ALONE,
    variants: Mapping[str, str] = NO_VARIANTS,
) -> dict[str, Any]:
    """What a decision's event holds beside who, when and what: chances, models, the inputs frozen as the models saw them.

    `probabilities` are of a response to each arm, best first; `signals` (F,); `served` what the answer says of who gave it;
    `variants` by experiment.
    """
    properties: dict[str, Any] = {
        "arm": choice.arm,
        "pscore": choice.pscore,
        "chances": {name: round(chance, 9) for name, chance in choice.chances.items()},
        "response_probabilities": {arm: round(chance, 9) for arm, chance in probabilities.items()},
        "customer_status": status,
        "churn_probability": churn,
        "models": models,
        "rules_version": rules.version,
        "feature_service": feature_service,
        "state_version": version,
        "when": when,
        "signals_float32_base64": base64.b64encode(signals.astype("<f4").tobytes()).decode(),
        **holdout_flag(customer_id, rules),
    }
    for name in ("served_by", "fallbacks"):
        if name in served:
            properties[name] = served[name]
    if variants:
        properties["experiments"] = dict(variants)
    if send_at is not None:
        properties["send_at"] = send_at.isoformat()
    if request.asked_by is not None:
        properties["asked_by"] = request.asked_by.value
    return properties
