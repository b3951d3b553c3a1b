"""Customers' states in, one decision each and the event that records it out; nothing is written here.

A decision depends on the customer, their behaviour, the stretch of time, the models, the rules and the question, and on
nothing else: whichever worker is asked by whichever channel, the answer and its `decision_id` are the same.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from features.arrays import Float32Array, FloatArray
from features.events.schema import Event
from features.log.reservations import Claim
from features.online.live import LiveState
from features.signals import compute_signals
from features.vocabulary import CORE_TASKS, NOTHING, Channel, EventKind, Task
from serving.decision.arm_weighing import WeighedArms, weigh_arms
from serving.decision.contacts import exposure_history
from serving.decision.holdout import holdout_reason, is_held_out
from serving.decision.policy import Choice
from serving.decision.record import (
    MODELS_ALONE,
    NO_VARIANTS,
    Drawn,
    decision_properties,
    draw_arm,
    limits_basis,
    question_of,
)
from serving.decision.reserved import Limits, Used
from serving.decision.rests import campaign_refusal
from serving.decision.rules import Eligibility, Rules, not_personal
from serving.decision.send_time import earliest_moment, step_start
from serving.decision.send_window import SendWindow, send_window
from serving.decision.zones import rules_of
from serving.fallback.choice import MODELS, Chosen
from serving.limits.claims import claim_of, taken_of
from serving.offers.customer_products import CustomerProducts, customer_products
from serving.offers.in_force import Asked, OffersInForce
from serving.products.catalogue import Catalogue
from serving.products.eligibility import nothing_to_advertise, product_table
from serving.products.ranking import Offer, product_to_offer
from serving.schemas import (
    CustomerInfo,
    DecideRequest,
    DecisionAnswer,
    Status,
)
from serving.scorers.bundle import Bundle
from serving.scorers.churn import status_of
from serving.timing.stages import UNTIMED, StageTimer


@dataclass(frozen=True)
class Decision:
    """The answer, and the event that goes into the log (once: its event_id is the decision's)."""

    answer: DecisionAnswer
    event: Event
    checked: tuple[Eligibility, ...] = ()
    """Every arm, and what the rules say of it."""
    claim: Claim | None = None
    """What it reserves; None where it says `nothing`."""


@dataclass(frozen=True)
class _Scores:
    """What the models say of one customer."""

    signals: Float32Array  # (F,)
    arms: FloatArray  # (arms,) chance of a response
    gains: FloatArray  # (arms,) over nothing; NaN where not known
    churn: float | None
    offer: Offer
    products: CustomerProducts | None = None
    """What offers are made with, where any is in force; `offer` is then found last."""


@dataclass(frozen=True)
class Moments:
    """What time it is for one decision, in seconds since the epoch; `now_s` alone differs within a step of the stretch."""

    as_of_s: float
    now_s: float
    step_s: float
    """Where the step that is asked in begins."""
    earliest_s: float
    """Where it ends: the first moment that all who ask in it could send at."""

    @classmethod
    def of(cls, now_s: float, as_of_s: float, bucket_s: float) -> "Moments":
        """The moments of a customer whose state is of `as_of_s`, asked about at `now_s`."""
        earliest_s = max(earliest_moment(now_s, bucket_s), as_of_s)
        return cls(as_of_s, max(now_s, as_of_s), step_start(now_s, bucket_s), earliest_s)


@dataclass(frozen=True)
class Decider:
    """Everything a decision needs beside the customer."""

    bundle: Bundle
    catalogue: Catalogue
    rules: Rules
    population_hours: FloatArray  # (168,)
    timer: StageTimer = UNTIMED
    chosen: Chosen = MODELS
    """Whose bundle it is, and why where no model answers."""
    offers: OffersInForce | None = None
    """What there is to offer; None: the customer's best product, by whatever way."""
    used: Used | None = None
    """Asks how much of volumes is used up; None: nobody looks at them."""
    stop: str | None = None
    """Why nobody may be contacted at all, whatever else allows it."""
    variants: Mapping[str, str] = field(default_factory=lambda: NO_VARIANTS)
    """Whose rules and models these are: experiment to variant."""

    def decide(self, live: LiveState, request: DecideRequest, now: datetime) -> Decision:
        """One decision for one customer; `Crowd` makes those of many. Raises MissingError where a model is missing."""
        as_of_s = self._as_of_s(live, now)
        scores = self._score(live, as_of_s, request)
        moments = Moments.of(now.timestamp(), as_of_s, self.rules.bucket_minutes * 60.0)
        decision = self._decide_one(live, moments, scores, request, self.versions(), question_of(request), now)
        self.timer.lap("arms")
        return decision

    def _as_of_s(self, live: LiveState, now: datetime) -> float:
        """Start of the stretch of time that `now` lies in, or the customer's newest event where that is later."""
        bucket_s = self.rules.bucket_minutes * 60
        start = now.timestamp() // bucket_s * bucket_s
        return max(start, live.last_event_s)

    def _score(self, live: LiveState, as_of_s: float, request: DecideRequest) -> _Scores:
        channel, product = self.bundle.need_channel(), self.bundle.need_product()
        as_of = np.array([as_of_s])
        signals = compute_signals(live.scored, as_of)
        self.timer.lap("signals")
        arms, gains = channel.probabilities(signals), channel.gains(signals)
        churn = math.nan if self.bundle.churn is None else float(self.bundle.churn.chances(signals)[0])
        self.timer.lap("scores")
        scored = product.score(live.scored, as_of)
        offer, products = Offer(None), None
        if self.offers is None or not self.offers.any_on(as_of_s):
            offer = product_to_offer(
                product, scored, live, as_of_s, wanted=request, catalogue=self.catalogue, rules=self.rules
            )
        else:
            products = customer_products(
                product, scored, live, as_of_s, wanted=request, catalogue=self.catalogue, rules=self.rules
            )
        self.timer.lap("products")
        return _Scores(signals[0], arms[0], gains[0], None if math.isnan(churn) else churn, offer, products)

    def _decide_one(
        self,
        live: LiveState,
        at: Moments,
        scores: _Scores,
        request: DecideRequest,
        models: dict[str, str],
        question: str,
        now: datetime,
    ) -> Decision:
        channel, as_of_s = self.bundle.need_channel(), at.as_of_s
        held_out = is_held_out(live.customer_id, self.rules)
        window = send_window(
            request.when,
            request.not_before,
            request.not_after,
            live.scored,
            rules_of(live.state, self.rules),
            now_s=at.now_s,
            step_s=at.step_s,
            earliest_s=at.earliest_s,
        )
        campaign, refusal = request.campaign_id, None
        if self.chosen.refusal is not None or self.stop is not None:
            refusal = self.chosen.refusal or self.stop
        elif campaign is not None:
            refusal = campaign_refusal(exposure_history(live, as_of_s), campaign, self.rules)
        limits = Limits(self.rules, campaign, self.used)
        weighed = weigh_arms(
            live,
            as_of_s,
            channel.arms,
            scores.arms,
            scores.gains,
            self.population_hours,
            self.rules,
            channels=request.channels,
            held_out=held_out,
            refusal=refusal,
            unadvertised=self.unadvertised(),
            not_before_s=at.earliest_s,
            window=window,
            limits=limits,
        )
        basis = [*self.chosen.basis, *limits_basis(live.held, weighed, limits)]
        marks, made = self.chosen.marks(Task.NEXT_PRODUCT, Task.BEST_CHANNEL), None
        if self.offers is not None and scores.products is not None:
            asked = Asked(live, as_of_s, scores.signals, scores.churn, request)
            full = self.offers.full_by(self.rules, self.used)(live, as_of_s)
            made = self.offers.weigh(asked, scores.products, weighed, channel.arms, self.bundle, full)
            weighed, basis = made.weighed, [*basis, made.options.version, *sorted(full)]
        of_whom = live.customer_id, live.version, as_of_s
        drawn = draw_arm(*of_whom, request, question, models, weighed, window, basis, self.variants)
        number, send_at_s = drawn.number, drawn.send_at_s
        offer = scores.offer if made is None else made.product(drawn.choice.offer, explain=request.explain)
        sends, status, is_known = number is not None, status_of(live), not math.isnan(live.last_event_s)
        reasons: list[str] = []
        if request.explain:
            reasons = not_personal(live.may_profile)
            of_offers = [] if made is None or held_out else made.reasons(drawn.choice, number)
            reasons += self.reasons(drawn, weighed, offer, scores.churn, status, window, held_out=held_out) + of_offers
        answer = DecisionAnswer(
            customer=CustomerInfo(customer_id=live.customer_id, known=is_known, personal=live.may_profile),
            as_of=datetime.fromtimestamp(as_of_s, UTC),
            feature_age_s=as_of_s - live.last_event_s if is_known else None,
            models=models,
            rules_version=self.rules.version,
            decision_id=drawn.decision_id,
            action="send" if sends else NOTHING,
            arm=drawn.arm.name,
            channel=drawn.arm.channel,
            pscore=drawn.choice.pscore,
            send_at=None if send_at_s is None else datetime.fromtimestamp(send_at_s, UTC),
            when="now" if window is not None and window.at_once else "best",
            product=offer.product if sends else None,
            response_probability=None if number is None else float(scores.arms[number]),
            customer_status=status,
            churn_probability=scores.churn,
            reasons=reasons,
            arms=weighed.scores(explain=request.explain),
            taken=taken_of(live.held),
            experiments=dict(self.variants) or None,
            **marks,
            **({} if made is None else made.told(drawn.choice, number, request.language, explain=request.explain)),
        )
        kept = {} if made is None else made.kept(drawn.choice, number)
        claim = claim_of(
            drawn,
            live.customer_id,
            answer.product,
            campaign,
            self.rules,
            now,
            None if made is None else made.offer_of(drawn.choice, number),
        )
        event = self._event(answer, live, scores, drawn.choice, request, kept)
        return Decision(answer, event, weighed.checked, claim)

    def unadvertised(self) -> str | None:
        """Why no product may be advertised at all, in words; None where some may."""
        if self.rules.never.is_empty:
            return None
        return nothing_to_advertise(
            product_table(self.bundle.need_product().product_ids, self.catalogue), self.rules.never
        )

    def versions(self) -> dict[str, str]:
        """Version of each model that a decision hangs on."""
        return Chosen(self.bundle, self.chosen.why).versions(*CORE_TASKS)

    def reasons(
        self,
        drawn: Drawn,
        weighed: WeighedArms,
        offer: Offer,
        churn: float | None,
        status: Status,
        window: SendWindow | None,
        *,
        held_out: bool,
    ) -> list[str]:
        """The decision in sentences: why this way, this product and this hour, and what was ruled out."""
        if held_out:
            return [holdout_reason(self.rules)]
        choice, arm = drawn.choice, drawn.arm
        values = weighed.values
        best = max(values, key=lambda name: (values[name], name))
        ways = f"{len(values)} allowed ways, nothing among them"
        if arm.name == best:
            reasons = [f"{arm.name} has the highest expected value ({values[best]:.2f}) of {ways}"]
        else:
            reasons = [
                f"{arm.name} (expected value {values[arm.name]:.2f}) was drawn with chance {choice.pscore:.0%} to keep "
                f"learning; {best} has the highest of {ways} ({values[best]:.2f})"
            ]
        if arm.channel is not None:
            product = offer.product
            if product is not None:
                reasons.append(f"{product.name or product.product_id}: {', '.join(product.reasons)}")
            reasons += offer.passed_over
            if window is not None and window.at_once:
                reasons.append(f"to be sent at once: {window.why}")
            elif drawn.send_at_s is not None:
                reasons.append(
                    f"likely active around {weighed.rules.local(drawn.send_at_s):%H}:00 ({weighed.rules.time_zone})"
                )
        if churn is not None:
            reasons.append(f"churn probability {churn:.0%}")
        elif status == "prospect":
            reasons.append("a prospect: never bought, so there is no churn")
        reasons += [f"not {item.arm.name}: {'; '.join(item.reasons)}" for item in weighed.checked if not item.eligible]
        return reasons

    def _event(
        self,
        answer: DecisionAnswer,
        live: LiveState,
        scores: _Scores,
        choice: Choice,
        request: DecideRequest,
        of_offers: Mapping[str, Any],
    ) -> Event:
        """The decision as an event; `of_offers` is what it holds of them."""
        probabilities = {
            row.arm: row.response_probability for row in answer.arms if row.response_probability is not None
        }
        properties = decision_properties(
            live.customer_id,
            live.version,
            choice,
            request,
            scores.signals,
            probabilities,
            status=answer.customer_status,
            churn=answer.churn_probability,
            models=answer.models,
            feature_service=self.bundle.need_channel().card.feature_service,
            when=answer.when,
            send_at=answer.send_at,
            rules=self.rules,
            served={"served_by": answer.served_by, "fallbacks": answer.fallbacks} if answer.fallbacks else MODELS_ALONE,
            variants=self.variants,
        )
        properties |= of_offers
        return Event.of_ours(
            event_id=answer.decision_id,
            occurred_at=answer.as_of,
            kind=EventKind.DECISION,
            channel=Channel(answer.channel) if answer.channel else request.asked_by or Channel.WEB,
            customer_id=live.customer_id,
            product_id=answer.product.product_id if answer.product else None,
            decision_id=answer.decision_id,
            campaign_id=request.campaign_id,
            properties=properties,
        )
