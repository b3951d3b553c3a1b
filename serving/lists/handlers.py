"""Requests for lists in, their JSON out; where an answer is not there in time, what is popular is answered."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from features.servers.patience import waiting_at_most
from serving import problems
from serving.admission import Turns
from serving.asking.in_time import respond
from serving.asking.question import read_question
from serving.door import Handler
from serving.lists.answers import ProductLists
from serving.runtime import Runtime
from serving.schemas.lists import BoughtTogetherRequest, ListAnswer, ListRequest, PopularRequest, SimilarRequest

MAX_LIST_BODY_BYTES: Final = 64 * 1024
QuestionT = TypeVar("QuestionT", bound=ListRequest)


async def similar(request: Request, runtime: Runtime) -> Response:
    """What serves the same need as a product."""
    wanted = _read(request, runtime, SimilarRequest)
    return await _ask(request, runtime, lambda lists: lists.similar(wanted))


async def bought_together(request: Request, runtime: Runtime) -> Response:
    """What is bought together with a product or a cart."""
    wanted = _read(request, runtime, BoughtTogetherRequest)
    return await _ask(request, runtime, lambda lists: lists.bought_together(wanted))


async def popular(request: Request, runtime: Runtime) -> Response:
    """What people buy now."""
    wanted = _read(request, runtime, PopularRequest)
    return await _ask(request, runtime, lambda lists: lists.popular(wanted))


LISTS: Final[dict[str, tuple[Handler, int]]] = {
    "/v1/similar": (similar, MAX_LIST_BODY_BYTES),
    "/v1/bought-together": (bought_together, MAX_LIST_BODY_BYTES),
    "/v1/popular": (popular, MAX_LIST_BODY_BYTES),
}
"""Handlers by their paths, and how large a body each takes."""


def _read(request: Request, runtime: Runtime, model: type[QuestionT]) -> QuestionT:
    wanted = read_question(request, model, runtime.deadline_s)
    if request.state.caller.is_public and wanted.names_somebody:
        raise problems.not_for_pages("A page asks for lists of everybody.", "customer_id")
    request.state.instead = lambda: respond(ProductLists(runtime.answers.in_haste()).in_haste(wanted))
    return wanted


async def _ask(request: Request, runtime: Runtime, question: Callable[[ProductLists], ListAnswer]) -> Response:
    """Answer in turn; where much is to be looked up first, on another thread, and others are answered meanwhile."""
    patience_s = min(runtime.timeout_s, request.state.within_s / 2)
    lists = ProductLists(runtime.answers)

    def patiently() -> ListAnswer:
        with waiting_at_most(patience_s):
            return question(lists)

    if not lists.is_prepared:
        return respond(await asyncio.get_running_loop().run_in_executor(request.app.state.worker, patiently))
    turns: Turns = request.app.state.turns
    return respond(await turns.ask(patiently))
