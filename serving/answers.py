"""A checked question in, its answer out: who is it about, what do we know, what do the models say."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from features.arrays import FloatArray, shown
from features.clock import Clock
from features.errors import MissingError, RequestError, StoreError, UnavailableError, UnknownCustomerError
from features.events.placeholders import Placeholders
from features.events.rules import NOBODY, placeholder_reason
from features.events.schema import Event
from features.identity.identifiers import PLAIN, Identifiers
from features.identity.resolution import ANONYMOUS, sighting_nodes
from features.log.reservations import NOTHING_HELD
from features.online.live import LiveState, state_version
from features.online.visit import in_visit
from features.signals import compute_signals
from features.state.batch import StateBatch
from features.vocabulary import DAY_S, Task
from serving.churn_reasons import churn_reasons
from serving.decider import Decider, Decision
from serving.decision.arm_weighing import weigh_arms
from serving.decision.contacts import best_arm_reasons
from serving.decision.rules import Rules, not_personal
from serving.decision.send_time import moment_of
from serving.experiments.in_force import NO_EXPERIMENTS, Assigned, Experiments
from serving.fallback.choice import Chosen
from serving.fallback.knowledge import Knowledge as Knowledge
from serving.fallback.population import HORIZON_DAYS
from serving.guard.reliance import EVENT_LOG, Named
from serving.limits.claims import held_now
from serving.offers.in_force import OffersInForce
from serving.offers.offered import no_offers, nobody_suppressed
from serving.products.exploration import shelf_event
from serving.products.ranking import rank_products
from serving.profile import build_profile
from serving.schemas import (
    BestChannelAnswer,
    BestChannelRequest,
    ChurnAnswer,
    ChurnRequest,
    CustomerInfo,
    CustomerRef,
    DecideRequest,
    HorizonProbability,
    NextProductsAnswer,
    NextProductsRequest,
    ProfileAnswer,
    Reason,
    Status,
)
from serving.scorers.churn import cannot_leave, status_of
from serving.timing.stages import UNTIMED, StageTimer


@dataclass(frozen=True)
class Answers:
    """Answers every question of the HTTP contract; `knowledge()` is asked once per question."""

    log: Named
    clock: Clock
    rules: Rules
    knowledge: Callable[[], Knowledge]
    nobody: Placeholders = NOBODY
    """What no customer is asked about by."""
    unheard_s: Callable[[], float] | None = None
    """How long the log has not answered; None: then nobody is answered without it."""
    timer: StageTimer = UNTIMED
    identifiers: Identifiers = PLAIN
    """The form in which identifiers are kept, and so what somebody is called whom they name and nobody knows."""
    offers: Callable[[], OffersInForce | None] = no_offers
    """What there is to offer at the moment."""
    suppressed: Callable[[str], str | None] = nobody_suppressed
    """Why a customer, by the log's name of them, is sent nothing whatever they consent to."""
    experiments: Experiments = NO_EXPERIMENTS
    """By which variants decisions are made."""
    hurried: bool = False
    """There is no time to look at anybody: what is known of everybody is answered."""

    def in_haste(self) -> "Answers":
        """What answers where the answer was not there in time."""
        return replace(self, hurried=True, timer=UNTIMED)

    def next_products(self, request: NextProductsRequest) -> tuple[NextProductsAnswer, Event | None]:
        """The products that a customer buys next, and, where new ones are explored, the event that keeps their chances."""
        known = self.knowledge()
        if self.hurried and request.explore_share > 0:  # what is explored must be in the log first
            request = request.model_copy(update={"explore_share": 0.0})
        explores = request.explore_share > 0
        live = self.find(request, known, allow_unknown=request.allow_unknown, acts=explores)
        as_of_s = self._as_of_s(live)
        visit = in_visit(live, request.session, request.channel, as_of_s)
        chosen = self.choose(known, visit, request.store_id, request.channel)
        scorer = chosen.bundle.need_product()
        self.timer.lap("state")
        scored = scorer.score(visit.scored, np.array([as_of_s]))
        seed = f"{live.customer_id}\x1f{int(as_of_s // DAY_S)}"
        products = rank_products(
            scorer,
            scored,
            visit,
            as_of_s,
            request=request,
            seed=seed,
            catalogue=known.catalogue,
            rules=self.rules,
        )
        answer = NextProductsAnswer(
            customer=_info(live),
            as_of=moment_of(as_of_s),
            feature_age_s=_age_s(live, as_of_s),
            models=chosen.versions(Task.NEXT_PRODUCT),
            rules_version=self.rules.version,
            products=products,
            **self.marks(live),
            **chosen.marks(Task.NEXT_PRODUCT),
        )
        self.timer.lap("products")
        event = shelf_event(answer, request, live.version, seed) if explores and live.customer_id else None
        if event is not None:
            answer = answer.model_copy(update={"decision_id": event.decision_id})
        if not request.explain:  # only now: the event knows new products by their reason
            unexplained = [product.model_copy(update={"reasons": []}) for product in answer.products]
            answer = answer.model_copy(update={"products": unexplained})
        return answer, event

    def churn(self, request: ChurnRequest) -> ChurnAnswer:
        """How likely a customer leaves, and why."""
        known = self.knowledge()
        live = self.find(request, known)
        chosen = self.choose(known, live)
        as_of_s = self._as_of_s(live)
        self.timer.lap("state")
        if Task.CHURN in chosen.why:
            return self._everybodys_churn(known, live, chosen, as_of_s)
        scorer = chosen.bundle.need_churn()
        signals = compute_signals(live.scored, np.array([as_of_s]))
        self.timer.lap("signals")
        reasons: list[Reason] = []
        probability = float(scorer.chances(signals)[0])
        at_risk = not math.isnan(probability)  # nobody is asked who never bought, or, of contracts, who has none
        if request.explain and live.may_profile and at_risk:
            log_odds = math.log(probability / (1 - probability)) if 0 < probability < 1 else 0.0
            reasons = churn_reasons(scorer.contributions(signals)[0], signals[0], log_odds)
        purchases, revenue = scorer.expectations(signals) or (None, None)
        win_back = None if known.bundle.win_back is None else known.bundle.win_back.answers(signals)[0]
        answer = ChurnAnswer(
            customer=_info(live),
            as_of=moment_of(as_of_s),
            feature_age_s=_age_s(live, as_of_s),
            models={Task.CHURN.value: scorer.card.version}
            | ({} if win_back is None else {Task.WIN_BACK.value: win_back.model_version}),
            kind="contract" if scorer.of_contracts else "non-contractual",
            customer_status=status_of(live),
            churn_probability=probability if at_risk else None,
            horizon_days=scorer.horizon_days,
            horizons=[
                HorizonProbability(horizon_days=days, churn_probability=chance)
                for days, chance in scorer.horizons(signals, probability).items()
                if at_risk
            ],
            expected_purchases=value_at(purchases),
            expected_revenue=value_at(revenue),
            reasons=reasons,
            win_back=win_back,
            **self.marks(live),
            **({} if at_risk else cannot_leave(live)),
        )
        self.timer.lap("scores")
        return answer

    def _everybodys_churn(self, known: Knowledge, live: LiveState, chosen: Chosen, as_of_s: float) -> ChurnAnswer:
        """The rate of all customers, for who is one; what a deadline leaves unseen is taken for one, and the note says so."""
        rate = known.fallback.population.churn
        status: Status = "customer" if self.hurried else status_of(live)
        marks = chosen.marks(Task.CHURN)
        if status == "prospect":
            marks |= cannot_leave(live)
        elif rate is not None:
            marks["note"] = f"{marks['note']} ({rate.words})"
        else:
            marks["note"] = f"{marks['note']} (the log is too young to tell how many leave)"
        return ChurnAnswer(
            customer=_info(live),
            as_of=moment_of(as_of_s),
            feature_age_s=_age_s(live, as_of_s),
            models={},
            customer_status=status,
            churn_probability=None if rate is None or status == "prospect" else rate.rate,
            horizon_days=HORIZON_DAYS,
            **self.marks(live),
            **marks,
        )

    def best_channel(self, request: BestChannelRequest) -> BestChannelAnswer:
        """Ways of reaching a customer, best first."""
        known = self.knowledge()
        live = self.find(request, known)
        chosen = self.choose(known, live)
        scorer = chosen.bundle.need_channel()
        as_of_s = self._as_of_s(live)
        self.timer.lap("state")
        signals = compute_signals(live.scored, np.array([as_of_s]))
        self.timer.lap("signals")
        probabilities, gains = scorer.probabilities(signals)[0], scorer.gains(signals)[0]
        self.timer.lap("scores")
        weighed = weigh_arms(
            live,
            as_of_s,
            scorer.arms,
            probabilities,
            gains,
            known.population_hours,
            self.rules,
            refusal=chosen.refusal,
        )
        arms = weighed.scores()
        answer = BestChannelAnswer(
            customer=_info(live),
            as_of=moment_of(as_of_s),
            feature_age_s=_age_s(live, as_of_s),
            models=chosen.versions(Task.BEST_CHANNEL),
            rules_version=self.rules.version,
            best=arms[0].arm,
            reasons=[
                *not_personal(live.may_profile),
                *best_arm_reasons(arms[0], len(weighed.values), personal=scorer.personal),
            ],
            arms=arms,
            **self.marks(live),
            **chosen.marks(Task.BEST_CHANNEL),
        )
        self.timer.lap("arms")
        return answer

    def decide(self, request: DecideRequest) -> Decision:
        """One decision. The caller logs its event before it answers."""
        known = self.knowledge()
        return self.decide_for(self.find(request, known, acts=True, decides=True), request, known)

    def decide_for(
        self, live: LiveState, request: DecideRequest, known: Knowledge, stop: str | None = None
    ) -> Decision:
        """`decide` about somebody who was found already, with what they have reserved; `stop` says why not to contact them."""
        self.timer.lap("state")
        decision = self.decider(known, live, request, stop).decide(live, request, self.clock.now())
        marks = self.marks(live)
        return replace(decision, answer=decision.answer.model_copy(update=marks)) if marks else decision

    def concerning(self, customer_id: str) -> tuple[str, ...]:
        """What decisions about a customer hang on beside behaviour, models and rules: offers, suppression, experiments."""
        offers, own = self.offers(), self.experiments.assign(customer_id, self.rules)
        return ("" if offers is None else str(offers.shelf.version), self.suppressed(customer_id) or "", *own.key)

    def decider(self, known: Knowledge, live: LiveState, request: DecideRequest, stop: str | None = None) -> Decider:
        """What decides for a customer, by their variants; who was not looked at in time may be somebody else, and has none."""
        own = Assigned(self.rules) if self.hurried else self.experiments.assign(live.customer_id, self.rules)
        known = replace(known, bundle=own.bundle(known.bundle)) if own.scorers else known
        chosen = self.choose(known, live, request.store_id)
        if (suppression := self.suppressed(live.customer_id)) is not None:
            chosen = replace(chosen, suppression=suppression)
        hours, used = known.population_hours, None if self.hurried else self.log.ledger().used
        parts = chosen.bundle, known.catalogue, own.rules, hours, self.timer, chosen
        return Decider(*parts, self.offers(), used, stop, own.variants)

    def profile(self, name: str, with_signals: bool) -> ProfileAnswer:
        """One customer over all channels, named by id or by an identifier like email:ada@example.org."""
        known = self.knowledge()
        try:
            live = self._find_known(CustomerRef(customer_id=name), known)
        except UnknownCustomerError:
            id_type, _, value = name.partition(":")
            if not id_type or not value:
                raise
            live = self._find_known(CustomerRef(identifiers={id_type: value}), known)
        as_of_s = self._as_of_s(live)
        return build_profile(live, as_of_s, known.catalogue, with_signals).model_copy(update=self.marks(live))

    def choose(
        self, known: Knowledge, live: LiveState, store_id: str | None = None, channel: str | None = None
    ) -> Chosen:
        """Who answers about a customer. Raises RequestError for a store that nobody has heard of."""
        known.catalogue.check_store(store_id)
        return known.fallback.choose(
            known.bundle,
            known=not math.isnan(live.last_event_s),
            may_profile=live.may_profile,
            store_id=store_id,
            channel=channel,
            hurried=self.hurried,
        )

    def _find_known(self, who: CustomerRef, known: Knowledge) -> LiveState:
        """The state of somebody of whom something is known. Raises UnknownCustomerError for anybody else."""
        live = self.find(who, known)
        if math.isnan(live.last_event_s):
            raise UnknownCustomerError(who.customer_id)
        return live

    def find(
        self,
        who: CustomerRef,
        known: Knowledge,
        *,
        allow_unknown: bool = False,
        acts: bool = False,
        decides: bool = False,
    ) -> LiveState:
        """The state of whom the question is about, an empty one of somebody never seen.

        Who `acts` on the answer is given none without the log; `allow_unknown` answers about nobody in particular. Who
        `decides` is told what they have reserved: as of before the state, so that a contact in between is in both of them.
        """
        if known.states is None:
            raise MissingError(known.store_problem or "The online store is not open yet.", repair="Try again shortly.")
        asked = who.customer_id
        if asked is not None and asked in self.nobody:
            if not allow_unknown:
                raise RequestError(f"customer_id {placeholder_reason(asked)}")
            asked = None
        if asked is not None:
            asked = self.identifiers.kept_name(asked)
        if self.hurried:
            return _unknown(asked or self._name(who))
        try:
            customer_id = self.log.resolve(asked, who.identifiers)
            held = held_now(self.log, customer_id, self.clock) if decides and customer_id else NOTHING_HELD
            live = None if customer_id is None else known.states.get(customer_id)
        except StoreError:
            if self.unheard_s is None or acts:
                raise
            customer_id, live = asked, self._without_log(asked, known, allow_unknown=allow_unknown)
        if acts and live is not None and live.without == EVENT_LOG:
            raise UnavailableError("The event log does not answer.", repair="Ask again in a moment.")
        if live is not None:
            return replace(live, held=held) if decides and held.version else live
        name = customer_id or asked or self._name(who)
        if not name and not allow_unknown:
            raise RequestError("identifiers name nobody: each of them is a placeholder, or empty.")
        return (
            replace(_unknown(name), held=held_now(self.log, name, self.clock)) if decides and name else _unknown(name)
        )

    def _name(self, who: CustomerRef) -> str:
        """What the log would call somebody whom nothing but these identifiers is known of; empty where they name nobody."""
        pairs = self.identifiers.kept_pairs(who.identifiers)
        nodes = [node for node in sighting_nodes(None, pairs.items()) if node.value and node.value not in self.nobody]
        return f"{ANONYMOUS}{nodes[0]}" if nodes else ""

    def _without_log(self, customer_id: str | None, known: Knowledge, *, allow_unknown: bool) -> LiveState:
        """What the online store holds under the very id that was given: who else that may be only the log knows."""
        assert known.states is not None
        live = None if customer_id is None else known.states.stored(customer_id)
        if live is not None:
            return live
        if allow_unknown:
            return replace(_unknown(customer_id or ""), without=EVENT_LOG)
        who = "whom these identifiers name" if customer_id is None else "whether the customer is known"
        raise UnavailableError(
            f"The event log does not answer, and only it knows {who}.", repair="Ask again in a moment."
        )

    def marks(self, live: LiveState) -> dict[str, Any]:
        """What the answer says of what did not answer."""
        if live.without is None:
            return {}
        if live.without != EVENT_LOG or self.unheard_s is None:
            return {"degraded": [live.without]}
        return {"degraded": [live.without], "stale": True, "stale_for_s": round(self.unheard_s(), 3)}

    def _as_of_s(self, live: LiveState) -> float:
        now_s = self.clock.now().timestamp()
        return now_s if math.isnan(live.last_event_s) else max(now_s, live.last_event_s)


def value_at(values: FloatArray | None, row: int = 0) -> float | None:
    """The value (n,) of one customer, or None where there is none."""
    if values is None or np.isnan(values[row]):
        return None
    return shown(values[row]) if values.dtype == np.float32 else float(values[row])


def _unknown(customer_id: str) -> LiveState:
    nobody = StateBatch.empty(1)
    return LiveState(customer_id, nobody, None, 0, state_version(nobody))


def _info(live: LiveState) -> CustomerInfo:
    known = not math.isnan(live.last_event_s)
    return CustomerInfo(customer_id=live.customer_id, known=known, personal=live.may_profile)


def _age_s(live: LiveState, as_of_s: float) -> float | None:
    return None if math.isnan(live.last_event_s) else as_of_s - live.last_event_s
