"""A question for a decision in, its answer out once what it reserves is in the log; or the answer that stands already.

What is decided rests on what the customer has reserved by then. Where another decision about them was kept meanwhile, or a
counter has filled up, it is decided again by what is known then.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from pydantic import TypeAdapter
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from features.events.rows import event_rows
from features.log.reservations import Decided, FullError, KeptAnswer, OvertakenError
from features.vocabulary import CORE_TASKS
from serving import problems, schemas
from serving.answers import Answers
from serving.asking.in_time import decided_in_haste, noted, or_else, parse
from serving.decider import Decision
from serving.guard.reliance import append
from serving.limits.standing import Names, standing_name, standing_until_us, stands, told_again, what_matters
from serving.runtime import Runtime

KEY_HEADER: Final = "Idempotency-Key"
TRIES: Final = 8
"""Decisions that are made anew because others were kept meanwhile; after that it is `nothing`."""
_CROWDED: Final = "others decided about this customer at the same moment, again and again: nobody is contacted unseen"
_REQUEST_ID: Final[TypeAdapter[str]] = TypeAdapter(schemas.Name)
T = TypeVar("T")


class Ask(Protocol):
    """Answers a question in its turn."""

    def __call__(self, request: Request, question: Callable[[Answers], T]) -> Awaitable[T]: ...


@dataclass(frozen=True)
class _New:
    """A decision that nobody made before, and how it is kept."""

    decision: Decision
    decided: Decided
    body: bytes


async def decide(request: Request, runtime: Runtime, ask: Ask) -> Response:
    """One decision, in the log before it is answered, unless it is only looked at or stands already."""
    wanted = parse(request, schemas.DecideRequest)
    names = Names.of(_request_id(request, wanted), wanted)
    or_else(request, lambda answers: decided_in_haste(request, answers.decide(wanted), keep=wanted.acts))
    if not wanted.acts:
        decision = await ask(request, lambda answers: answers.decide(wanted))
        request.state.decision_id = decision.answer.decision_id
        return noted(request, decision.answer)
    for tried in range(TRIES + 1):
        stop = _CROWDED if tried == TRIES else None
        found = await ask(request, lambda answers, stop=stop: _decide(answers, wanted, names, stop))  # type: ignore[misc]
        if isinstance(found, KeptAnswer):
            return _again(request, found, wanted)
        if await _keep(request, runtime, found):
            request.state.decision_id = found.decision.answer.decision_id
            return noted(request, found.decision.answer, found.body)
    raise OvertakenError  # nothing that was decided last claims anything


async def _keep(request: Request, runtime: Runtime, new: _New) -> bool:
    """Have a decision kept; False where it has to be made anew."""
    decision = new.decision
    if not decision.answer.customer.customer_id:
        return True
    request.state.is_kept = True
    try:
        await append(request.app.state.committer, runtime.reliance, event_rows([decision.event]), new.decided)
    except (OvertakenError, FullError):
        del request.state.is_kept
        return False
    request.state.timer.lap("append")
    runtime.metrics.note_decision(decision.answer.arm)
    runtime.metrics.refusals.note(decision.checked)
    return True


def _decide(answers: Answers, wanted: schemas.DecideRequest, names: Names, stop: str | None) -> _New | KeptAnswer:
    """The decision that was kept for this question, or a new one."""
    now, ledger = answers.clock.now(), answers.log.ledger()
    now_us = int(now.timestamp() * 1e6)
    if names.request:
        kept = ledger.answers([names.request], now_us).get(names.request)
        if kept is not None:
            if kept.question != names.body:
                raise problems.request_id_used()
            return kept
    known = answers.knowledge()
    live = answers.find(wanted, known, acts=True, decides=True)
    chosen = answers.choose(known, live, wanted.store_id)
    of_all = str(chosen.versions(*CORE_TASKS)), *chosen.basis
    matter = what_matters(live.state, answers.rules, *of_all, *answers.concerning(live.customer_id))
    name = standing_name(live.customer_id, wanted)
    kept = ledger.answers([name], now_us).get(name)
    if kept is not None and stands(kept, matter, live.held, known.catalogue, wanted.store_id):
        return kept
    decision = answers.decide_for(live, wanted, known, stop)
    body = to_json(decision.answer)
    text = body.decode()
    until_us = standing_until_us(now, answers.rules, wanted, decision.claim)
    standing = () if stop else (KeptAnswer(name, matter, until_us, text, version=live.held.version),)
    decided = Decided(
        decision.answer.decision_id,
        live.customer_id,
        now_us,
        live.held.version,
        decision.claim,
        (*standing, *names.kept(text, now_us)),
    )
    return _New(decision, decided, body)


def _again(request: Request, kept: KeptAnswer, wanted: schemas.DecideRequest) -> Response:
    request.state.decision_id = kept.decision_id
    return Response(told_again(kept, explain=wanted.explain), media_type="application/json")


def _request_id(request: Request, wanted: schemas.DecideRequest) -> str | None:
    """What the sender calls the request: in its body, or in the header."""
    header = request.headers.get(KEY_HEADER)
    if header is None:
        return wanted.request_id
    if wanted.request_id is not None and wanted.request_id != header:
        raise problems.two_names(KEY_HEADER)
    with problems.parse_request():
        return _REQUEST_ID.validate_python(header)
