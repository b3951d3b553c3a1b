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
from starlette.types import Message, Receive, Scope, Send

from features.errors import trace
from serving import problems
from serving.access import browser, cross_origin, request_log
from serving.access.gate import TELLING, Caller, Gate
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

Handler = Callable[[Request, Runtime], Awaitable[Response]]
Guarded = Callable[[Request], Awaitable[Response]]


class Door(Starlette):
    """A Starlette app that hands what is posted to `short_ways` to its handler without looking any further."""

    short_ways: Mapping[str, Guarded] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. Every answer names its request, and tells an allowed page's browser that it may read it."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        scope["request_id"] = request_log.request_id(scope)
        scope["more_headers"] = more_headers = [(request_log.HEADER, scope["request_id"])]
        scope["origin"] = origin = _allowed_origin(scope, self.state.runtime.gate)
        if origin is not None:
            more_headers += cross_origin.allowing(origin)
            answer = cross_origin.preflight(scope)
            if answer is not None:
                answer.raw_headers += more_headers
                await answer(scope, receive, send)
                return
        if scope["method"] == "POST" and not scope.get("root_path"):
            handler = self.short_ways.get(scope["path"])
            if handler is not None:
                scope["app"] = self
                response = await handler(Request(scope, receive, send))
                response.raw_headers += more_headers
                await response(scope, receive, send)
                return

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *more_headers]
            await send(message)

        await super().__call__(scope, receive, send_named)


def _allowed_origin(scope: Scope, gate: Gate) -> bytes | None:
    """The origin of the page that asks, where it is one of those that the settings allow."""
    if not gate.origins:
        return None
    origin: bytes | None = next((value for name, value in scope["headers"] if name == b"origin"), None)
    return origin if origin is not None and origin.decode("latin-1") in gate.origins else None


def guard(route: str, handler: Handler, body_bytes: int = 0) -> Guarded:
    """Count, time and limit the requests of a handler, and give every error its shape.

    A body of up to `body_bytes` is read first: a request counts as in hand only when all of it is here. `route` is the path
    as the contract writes it, without what a caller put in.
    """

    async def guarded(request: Request) -> Response:
        state = request.app.state
        started = time.perf_counter()
        state.turns.arrive()
        response = await _receive(request, route, body_bytes)
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
        if runtime.request_log is not None:
            name = getattr(getattr(request.state, "caller", None), "name", "")
            decision_id = getattr(request.state, "decision_id", None)
            runtime.request_log.note(request.scope, route, response.status_code, taken_s, name, decision_id)
        return response

    return guarded


async def _receive(request: Request, route: str, body_bytes: int) -> Response | None:
    """Read the body, into `request.state.body`; or the answer to who may not ask, or does not send it as they should."""
    bodies: Bodies = request.app.state.bodies
    try:
        most = min(body_bytes, browser.MAX_BODY_BYTES) if admit(request, route).is_public else body_bytes
    except ApiError as error:
        return error_response(error)
    try:
        request.state.body = await bodies.read(request, most) if most else b""
    except ApiError as error:
        response = error_response(error)
        response.headers["Connection"] = "close"  # what is still on its way would be taken for the next request
        return response
    return None


def admit(request: Request, route: str) -> Caller:
    """Who asks, also put into `request.state.caller`. Raises ApiError for who may not."""
    scope = request.scope
    told = {name: value for name, value in scope["headers"] if name in TELLING}
    tells_site = (b"origin" in told or b"sec-fetch-site" in told) and scope["origin"] is None
    if tells_site and scope["method"] not in ("GET", "HEAD") and is_from_another_site(request.headers):
        raise problems.cross_site()
    gate: Gate = request.app.state.runtime.gate
    request.state.caller = caller = gate.admit(scope, told, route)
    return caller


async def _try(route: str, handler: Handler, request: Request) -> Response:
    state = request.app.state
    if state.turns.in_flight > MAX_IN_FLIGHT:
        return error_response(problems.overloaded())
    request.state.within_s = ANSWER_WITHIN_S
    request.state.timer = UNTIMED
    request.state.instead = None
    request.state.limit = limit = asyncio.timeout(ANSWER_WITHIN_S)
    try:
        async with limit:
            return await handler(request, state.runtime)
    except Exception as error:  # noqa: BLE001 - every error is answered in one shape; what is our own fault is logged
        if not limit.expired():
            return _error(route, request, error)
    instead: Callable[[], Response] | None = request.state.instead
    if instead is None:
        return error_response(problems.too_slow(request.state.within_s))
    try:
        return instead()
    except Exception as error:  # noqa: BLE001 - likewise; such as a store that was never open
        return _error(route, request, error)


def _error(route: str, request: Request, error: Exception) -> Response:
    problem = problems.to_api_error(error)
    if problem is None or problem.status == 500:
        # a path can hold an e-mail address, and so can an error's words
        logger.error("%s %s failed\n%s", request.method, route, trace(error))
        problem = problem or problems.internal()
    return error_response(problem)


def error_response(error: ApiError) -> Response:
    """The answer that tells an error."""
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="omni"'
    return Response(error.body(), status_code=error.status, media_type="application/json", headers=headers)


async def http_error(request: Request, error: Exception) -> Response:
    """What the router answers by itself, in our shape."""
    assert isinstance(error, HTTPException)
    response = error_response(problems.of_http(error.status_code, str(error.detail)))
    response.headers.update(error.headers or {})
    if "allow" in response.headers:  # as a set it came in any order
        response.headers["allow"] = ", ".join(sorted(response.headers["allow"].split(", ")))
    return response
