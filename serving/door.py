"""Requests in, each one counted, timed and limited on its way to its handler, and every error out in one shape.

The routes of questions and events are found by their path alone: what Starlette does on the way to a route (its layers, a
pattern for every route) costs as much as the rest of a small request.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from features.errors import trace
from serving import problems
from serving.admission import is_from_another_site
from serving.guard.bodies import Bodies
from serving.problems import ApiError
from serving.runtime import Runtime
from serving.timing.stages import UNTIMED

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S: Final = 25.0
"""How long a request may take once all of it is here; BentoML would end it later, in words of its own."""
MAX_IN_FLIGHT: Final = 256
"""Requests that one worker holds at a time; more are answered 429."""
_TELL_SITE: Final = (b"sec-fetch-site", b"origin")
"""Headers by which a browser says whose page asks."""

Handler = Callable[[Request, Runtime], Awaitable[Response]]
Guarded = Callable[[Request], Awaitable[Response]]


class Door(Starlette):
    """A Starlette app that hands what is posted to `short_ways` to its handler without looking any further."""

    short_ways: Mapping[str, Guarded] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and scope["method"] == "POST" and not scope.get("root_path"):
            handler = self.short_ways.get(scope["path"])
            if handler is not None:
                scope["app"] = self
                response = await handler(Request(scope, receive, send))
                await response(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def guard(route: str, handler: Handler, body_bytes: int = 0) -> Guarded:
    """Count, time and limit the requests of a handler, and give every error its shape.

    A body of up to `body_bytes` is read first: a request counts as in hand only when all of it is here. `route` is the path
    as the contract writes it, without what a caller put in.
    """

    async def guarded(request: Request) -> Response:
        state = request.app.state
        started = time.perf_counter()
        state.turns.arrive()
        response = await _receive(request, body_bytes)
        if response is None:
            state.turns.begin()
            try:
                response = await _try(route, handler, request)
            finally:
                state.turns.end()
        runtime: Runtime = state.runtime
        if runtime.draining():  # so that nobody sends the next question into a connection that is about to end
            response.headers["Connection"] = "close"
        taken_s = time.perf_counter() - started
        runtime.metrics.note_request(route, request.method, response.status_code, taken_s)
        return response

    return guarded


async def _receive(request: Request, body_bytes: int) -> Response | None:
    """Read the body, into `request.state.body`; or the answer to who may not ask, or does not send it as they should."""
    tells_site = any(name in _TELL_SITE for name, _ in request.scope["headers"])
    if tells_site and request.method not in ("GET", "HEAD") and is_from_another_site(request.headers):
        return error_response(problems.cross_site())
    bodies: Bodies = request.app.state.bodies
    try:
        request.state.body = await bodies.read(request, body_bytes) if body_bytes else b""
    except ApiError as error:
        response = error_response(error)
        response.headers["Connection"] = "close"  # what is still on its way would be taken for the next request
        return response
    return None


async def _try(route: str, handler: Handler, request: Request) -> Response:
    state = request.app.state
    if state.turns.in_flight > MAX_IN_FLIGHT:
        return error_response(problems.overloaded())
    request.state.within_s = ANSWER_WITHIN_S
    request.state.timer = UNTIMED
    request.state.limit = limit = asyncio.timeout(ANSWER_WITHIN_S)
    try:
        async with limit:
            return await handler(request, state.runtime)
    except Exception as error:  # noqa: BLE001 - every error is answered in one shape; what is our own fault is logged
        problem = problems.too_slow(request.state.within_s) if limit.expired() else problems.to_api_error(error)
        if problem is None or problem.status == 500:
            # a path can hold an e-mail address, and so can an error's words
            logger.error("%s %s failed\n%s", request.method, route, trace(error))
            problem = problem or problems.internal()
        return error_response(problem)


def error_response(error: ApiError) -> Response:
    """The answer that tells an error."""
    headers = None if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return Response(error.body(), status_code=error.status, media_type="application/json", headers=headers)


async def http_error(request: Request, error: Exception) -> Response:
    """What the router answers by itself, in our shape."""
    assert isinstance(error, HTTPException)
    response = error_response(problems.of_http(error.status_code, str(error.detail)))
    response.headers.update(error.headers or {})
    if "allow" in response.headers:  # as a set it came in any order
        response.headers["allow"] = ", ".join(sorted(response.headers["allow"].split(", ")))
    return response
