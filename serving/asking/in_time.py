"""A request's body in, its question; an answer in, the response; and what is answered where the answer is not there in time."""

from collections.abc import Callable
from contextlib import suppress

from pydantic import BaseModel
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from features.errors import StoreError
from features.events.rows import event_rows
from serving import schemas
from serving.answers import Answers
from serving.asking.question import QuestionT, read_question
from serving.decider import Decision
from serving.metrics import Metrics


def parse(request: Request, model: type[QuestionT]) -> QuestionT:
    """The question of a request, which from now on waits no longer than it says."""
    deadline_s: float = request.app.state.runtime.deadline_s
    return read_question(request, model, deadline_s)


def or_else(request: Request, question: Callable[[Answers], schemas.Answer]) -> None:
    """Have this answered, from what needs neither a store nor a model, where the answer is not there in time."""
    request.state.instead = lambda: noted(request, question(request.app.state.runtime.answers.in_haste()))


def decided_in_haste(request: Request, decision: Decision, *, keep: bool) -> schemas.DecisionAnswer:
    """A decision where there was no time for another one; it is kept when the log comes to it, and not waited for.

    Where the other one was on its way into the log already, the log is what was slow: nothing more is given to it. That
    decision may be kept, and is then one that nobody was sent anything by.
    """
    if keep and not hasattr(request.state, "is_kept") and decision.answer.customer.customer_id:
        with suppress(StoreError):
            request.app.state.committer.submit(event_rows([decision.event]))
        request.app.state.runtime.metrics.note_decision(decision.answer.arm)
    request.state.decision_id = decision.answer.decision_id
    return decision.answer


def noted(request: Request, answer: schemas.Answer, body: bytes | None = None) -> Response:
    """An answer about a customer, and what it tells the metrics; `body` is the answer as JSON, where it is there already."""
    counters: Metrics = request.app.state.runtime.metrics
    if answer.feature_age_s is not None:
        counters.feature_age.observe(answer.feature_age_s)
    if isinstance(answer, schemas.ServedAnswer) and answer.fallbacks:
        counters.note_fallbacks(answer.fallbacks)
    response = respond(answer) if body is None else Response(body, media_type="application/json")
    request.state.timer.lap("encode")
    counters.note_stages(request.state.timer)
    return response


def respond(answer: BaseModel, status: int = 200) -> Response:
    """An answer as JSON."""
    return Response(to_json(answer), status_code=status, media_type="application/json")
