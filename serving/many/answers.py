"""One question about many customers in, each one's answer or problem out: what single calls answer, found out together.

Customers whose stored state is level with the log are read, scored and ranked in one go. Everybody else (whom nothing is known
of, whose state is behind, who refused profiling, and where a model is missing) is asked about by the question for one customer.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from features.arrays import FloatArray
from features.errors import OmniError, StoreError
from features.events.schema import Event
from features.online.live import LiveStates
from features.online.many import LiveBatch
from features.signals import compute_signals
from features.vocabulary import Task
from serving import schemas
from serving.answers import Answers, Knowledge, value_at
from serving.churn_reasons import churn_reasons
from serving.decision.contacts import best_arm_reasons
from serving.decision.many_arms import ManyArms
from serving.decision.send_time import moment_of
from serving.problems import ApiError, invalid_request, to_api_error
from serving.products.eligibility import allowed_to_all, product_table
from serving.products.ranking import product_of
from serving.schemas.receipts import Problem
from serving.scorers.churn import statuses_of

PART: Final = 128
"""Customers who are answered together: between two parts others get their turn."""
Question = schemas.NextProductsRequest | schemas.ChurnRequest | schemas.BestChannelRequest
Result = schemas.Answer | Problem


@dataclass(frozen=True)
class Results:
    """One answer or problem per customer, in the order of the question, and what is to be kept in the log first."""

    rows: list[Result]
    events: list[Event] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """How many problems there are."""
        return sum(isinstance(row, Problem) for row in self.rows)

    def plain(self) -> dict[str, Any]:
        """As it is told."""
        rows = [{"error" if isinstance(row, Problem) else "answer": row} for row in self.rows]
        return {"answered": len(rows) - self.failed, "failed": self.failed, "results": rows}


@dataclass(frozen=True)
class ManyAnswers:
    """Answers questions about many customers as `answers` does about one."""

    answers: Answers

    def next_products(self, request: schemas.ManyRequest) -> Results:
        """The products that each of the customers of a NextProductsBatchRequest buys next."""
        given = request.model_dump(exclude={"customers", "timeout_ms"}, exclude_unset=True)
        pattern = schemas.NextProductsRequest.model_validate({"explain": False, **given, "customer_id": "*"})
        return self._answer(request.customers, pattern)

    def predict(self, request: schemas.PredictBatchRequest) -> Results:
        """The answers of one task."""
        patterns: dict[str, Question] = {
            Task.CHURN.value: schemas.ChurnRequest(customer_id="*", explain=request.explain),
            Task.BEST_CHANNEL.value: schemas.BestChannelRequest(customer_id="*"),
            Task.NEXT_PRODUCT.value: schemas.NextProductsRequest(customer_id="*", explain=request.explain),
        }
        return self._answer(request.customers, patterns[request.task])

    def _answer(self, customers: Sequence[str | schemas.AskedCustomer], pattern: Question) -> Results:
        results = Results([])
        for start in range(0, len(customers), PART):
            part = customers[start : start + PART]
            asked = [_question(customer, pattern) for customer in part]
            known = self.answers.knowledge()  # the same for a part: a model that comes meanwhile answers the next one
            found = self._together(asked, pattern, known)
            for row, question in enumerate(asked):
                if row in found:
                    results.rows.append(found[row])
                elif isinstance(question, Problem):
                    results.rows.append(question)
                else:
                    results.rows.append(_or_problem(lambda: self._alone(question, results.events)))  # noqa: B023
        return results

    def _alone(self, question: Question, events: list[Event]) -> schemas.Answer:
        match question:
            case schemas.ChurnRequest():
                return self.answers.churn(question)
            case schemas.BestChannelRequest():
                return self.answers.best_channel(question)
            case schemas.NextProductsRequest():
                answer, event = self.answers.next_products(question)
                if event is not None:
                    events.append(event)
                return answer

    def _together(
        self, asked: Sequence[Question | Problem], pattern: Question, known: Knowledge
    ) -> dict[int, schemas.Answer]:
        """The answers, by their rows, of those who can be answered together."""
        bundle = known.bundle
        if known.states is None or bundle.product is None or bundle.channel is None or bundle.churn is None:
            return {}
        if isinstance(pattern, schemas.NextProductsRequest) and not _is_plain(pattern):
            return {}
        rows_of = self._names(asked)
        batch = _level(known.states, list(rows_of))
        if not len(batch):
            return {}
        now_s = self.answers.clock.now().timestamp()
        as_of_s = np.maximum(now_s, batch.last_event_s)
        match pattern:
            case schemas.NextProductsRequest():
                found = self._products(batch, as_of_s, known, pattern)
            case schemas.ChurnRequest():
                found = self._churn(batch, as_of_s, known, pattern)
            case schemas.BestChannelRequest():
                found = self._channels(batch, as_of_s, known)
        return {row: answer for place, answer in found for row in rows_of[batch.names[place]]}

    def _names(self, asked: Sequence[Question | Problem]) -> dict[str, list[int]]:
        """The customers who are meant, with the rows in which they were asked about."""
        named = [(row, question) for row, question in enumerate(asked) if not isinstance(question, Problem)]
        ids = {question.customer_id for _, question in named if question.customer_id is not None}
        rows_of: dict[str, list[int]] = {}
        try:
            names = self.answers.log.names_of([one for one in ids if one not in self.answers.nobody])
            for row, question in named:
                if question.customer_id is None:
                    name = self.answers.log.resolve(None, question.identifiers)
                else:
                    name = names.get(question.customer_id)
                if name is not None:
                    rows_of.setdefault(name, []).append(row)
        except StoreError:  # each of them is told
            return {}
        return rows_of

    def _products(
        self, batch: LiveBatch, as_of_s: FloatArray, known: Knowledge, pattern: schemas.NextProductsRequest
    ) -> Iterator[tuple[int, schemas.Answer]]:
        scorer, rules = known.bundle.need_product(), self.answers.rules
        table = product_table(scorer.product_ids, known.catalogue)
        models = {Task.NEXT_PRODUCT.value: scorer.card.version}
        for rows, allowed in allowed_to_all(table, pattern, rules, as_of_s):
            places = iter(rows.tolist())
            for block in scorer.rank_blocks(batch.scored.take(rows), as_of_s[rows], allowed):
                columns = block.best(pattern.k)
                for of_one, scores in zip(columns.tolist(), block.at(columns).tolist(), strict=True):
                    place = next(places)
                    ranked = zip(of_one, scores, strict=True)
                    products = [
                        product_of(known.catalogue.get(scorer.product_ids[column]), score)
                        for column, score in ranked
                        if column >= 0
                    ]
                    yield (
                        place,
                        schemas.NextProductsAnswer(
                            **_about(batch, place, as_of_s),
                            models=models,
                            rules_version=rules.version,
                            products=products,
                        ),
                    )

    def _churn(
        self, batch: LiveBatch, as_of_s: FloatArray, known: Knowledge, pattern: schemas.ChurnRequest
    ) -> Iterator[tuple[int, schemas.Answer]]:
        scorer, win_back = known.bundle.need_churn(), known.bundle.win_back
        signals = compute_signals(batch.scored, as_of_s)
        chances = scorer.chances(signals)
        purchases, revenue = scorer.expectations(signals) or (None, None)
        horizons = scorer.many_horizons(signals, chances)
        told = None if win_back is None else win_back.answers(signals)
        models = {Task.CHURN.value: scorer.card.version}
        if win_back is not None:
            models[Task.WIN_BACK.value] = win_back.card.version
        added = scorer.contributions(signals) if pattern.explain else None
        statuses = statuses_of(batch.states)
        for place, chance in enumerate(chances.tolist()):
            if math.isnan(chance):
                continue  # nobody is asked whether they leave who never came: they are told so alone
            reasons: list[schemas.Reason] = []
            if added is not None:
                log_odds = math.log(chance / (1 - chance)) if 0 < chance < 1 else 0.0
                reasons = churn_reasons(added[place], signals[place], log_odds)
            yield (
                place,
                schemas.ChurnAnswer(
                    **_about(batch, place, as_of_s),
                    models=models,
                    kind="contract" if scorer.of_contracts else "non-contractual",
                    customer_status=statuses[place],
                    churn_probability=chance,
                    horizon_days=scorer.horizon_days,
                    horizons=[
                        schemas.HorizonProbability(horizon_days=days, churn_probability=float(values[place]))
                        for days, values in horizons.items()
                    ],
                    expected_purchases=value_at(purchases, place),
                    expected_revenue=value_at(revenue, place),
                    reasons=reasons,
                    win_back=None if told is None else told[place],
                ),
            )

    def _channels(
        self, batch: LiveBatch, as_of_s: FloatArray, known: Knowledge
    ) -> Iterator[tuple[int, schemas.Answer]]:
        scorer, rules = known.bundle.need_channel(), self.answers.rules
        signals = compute_signals(batch.scored, as_of_s)
        nothing: list[None] = [None] * len(batch)
        weighed = ManyArms(scorer.arms, known.population_hours, rules).weigh(
            batch.states,
            batch.scored,
            as_of_s,
            scorer.probabilities(signals),
            scorer.gains(signals),
            names=batch.names,
            held_out=[False] * len(batch),
            refusals=nothing,
            not_before_s=as_of_s,
            windows=nothing,
        )
        models = {Task.BEST_CHANNEL.value: scorer.card.version}
        for place, of_one in enumerate(weighed):
            arms = of_one.scores()
            yield (
                place,
                schemas.BestChannelAnswer(
                    **_about(batch, place, as_of_s),
                    models=models,
                    rules_version=rules.version,
                    best=arms[0].arm,
                    reasons=best_arm_reasons(arms[0], len(of_one.values), personal=scorer.personal),
                    arms=arms,
                ),
            )


def _level(states: LiveStates, names: Sequence[str]) -> LiveBatch:
    """Those of the customers who can be answered together: their state is level with the log, and models may look at it."""
    try:
        level, found = states.level(names)
    except StoreError:  # each of them is told
        return LiveBatch.of([])
    batch = LiveBatch(level, found, states.live_of)
    return batch.take(np.flatnonzero(batch.may_profile))


def _question(customer: str | schemas.AskedCustomer, pattern: Question) -> Question | Problem:
    """The question about one customer; a problem where it names them in a way that no customer can have."""
    named = {"customer_id": customer} if isinstance(customer, str) else customer.model_dump(exclude_unset=True)
    try:
        who = schemas.CustomerRef.model_validate(named)
    except ValidationError as error:
        return invalid_request(error).problem
    return pattern.model_copy(update={"customer_id": who.customer_id, "identifiers": who.identifiers})


def _or_problem(ask: Callable[[], schemas.Answer]) -> Result:
    """An answer, or what the caller of the single question would be told. What is a defect of ours is raised."""
    try:
        return ask()
    except (ApiError, OmniError, ValidationError) as error:
        problem = to_api_error(error)
        if problem is None or problem.status in (429, 500):
            raise
        return problem.problem


def _is_plain(pattern: schemas.NextProductsRequest) -> bool:
    """Whether what may be answered, and how, is the same for everybody."""
    personal = pattern.explain or pattern.exclude_resting or pattern.rebuys != "any" or pattern.exclude_recent_days > 0
    own = pattern.candidates is not None or bool(pattern.session) or pattern.objective != "conversion"
    return not personal and not own and pattern.diversity == 0 and pattern.explore_share == 0


def _about(batch: LiveBatch, place: int, as_of_s: FloatArray) -> dict[str, Any]:
    """What every answer says of a customer of whom something is known."""
    at_s = as_of_s.item(place)
    return {
        "customer": schemas.CustomerInfo(customer_id=batch.names[place]),
        "as_of": moment_of(at_s),
        "feature_age_s": at_s - batch.last_event_s.item(place),
    }
