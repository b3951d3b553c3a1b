"""A request's body in, its checked question out; from then on the request waits no longer than the question says."""

import asyncio
from typing import TypeVar

from pydantic import BaseModel
from starlette.requests import Request

from serving import problems

QuestionT = TypeVar("QuestionT", bound=BaseModel)


def read_question(request: Request, model: type[QuestionT], deadline_s: float) -> QuestionT:
    """The question of a request, which is answered within `deadline_s` unless its `timeout_ms` says otherwise.

    Raises ApiError for a body that is none.
    """
    with problems.parse_request():
        wanted = model.model_validate_json(request.state.body)
    timeout_ms: int | None = getattr(wanted, "timeout_ms", None)
    request.state.within_s = deadline_s if timeout_ms is None else timeout_ms / 1000
    request.state.limit.reschedule(asyncio.get_running_loop().time() + request.state.within_s)
    return wanted
