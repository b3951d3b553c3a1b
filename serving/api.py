"""HTTP requests in, JSON answers out: the routes of the service as a Starlette app, with one shape for every error."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from features import __version__
from features.errors import OmniError, UnknownCustomerError
from features.events.rows import event_rows
from features.events.schema import Rejection
from features.formats import Format
from features.log.batches import Events
from features.log.conflicts import Conflict
from features.log.event_log import AppendResult
from features.log.group_commit import GroupCommitter
from features.servers.patience import waiting_at_most
from serving import event_intake, problems, schemas
from serving.access import browser
from serving.access.gate import Caller
from serving.admission import Turns
from serving.answers import Answers
from serving.asking import deciding
from serving.asking.in_time import noted, or_else, parse, respond
from serving.asking.what_if import what_if
from serving.door import Door, Handler, admit, error_response, guard, http_error
from serving.erasure import Eraser
from serving.guard.bodies import Bodies
from serving.guard.readiness import ReadinessProbe
from serving.guard.reliance import append, while_log_answers
from serving.keeping.handlers import KEEPING
from serving.lists.handlers import LISTS
from serving.many.handlers import BATCHES
from serving.openapi import VERSION, openapi_document
from serving.pages.routes import page_routes
from serving.problems import ApiError
from serving.runtime import Runtime
from serving.webhooks.reading import asked_format, read_webhook

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 256 * 1024
MAX_EVENTS_BODY_BYTES: Final = 8 * 1024 * 1024
MAX_EVENTS_AT_ONCE: Final = event_intake.MAX_ROWS
"""A larger batch is checked on another thread, so that other answers need not wait for it."""
_CUSTOMER_ID: Final[TypeAdapter[str]] = TypeAdapter(schemas.Name)

T = TypeVar("T")


def create_app(open_runtime: Callable[[], Runtime]) -> Starlette:
    """The app; `open_runtime` is called once when it starts, so that tests can pass their own."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.runtime = await asyncio.to_thread(open_runtime)
        app.state.committer = GroupCommitter(app.state.runtime.log)
        app.state.worker = ThreadPoolExecutor(1, thread_name_prefix="omni-worker")
        app.state.turns = Turns(asks_servers=app.state.runtime.asks_servers)
        app.state.bodies = Bodies()
        note = app.state.runtime.metrics.note_dependency
        app.state.probe = ReadinessProbe(app.state.runtime, app.state.committer, note)
        try:
            yield
        finally:
            app.state.probe.close()
            app.state.worker.shutdown()
            app.state.turns.close()
            await asyncio.to_thread(app.state.committer.close)
            await asyncio.to_thread(app.state.runtime.close)

    posts: dict[str, tuple[Handler, int]] = {
        "/v1/events": (post_events, MAX_EVENTS_BODY_BYTES),
        "/v1/next-products": (next_products, MAX_BODY_BYTES),
        "/v1/churn": (churn, MAX_BODY_BYTES),
        "/v1/best-channel": (best_channel, MAX_BODY_BYTES),
        "/v1/decide": (decide, MAX_BODY_BYTES),
        "/v1/whatif": (what_if, MAX_BODY_BYTES),
        **BATCHES,
        **LISTS,
    }
    guarded = {path: guard(path, handler, body_bytes) for path, (handler, body_bytes) in posts.items()}
    routes = [
        *(Route(path, handler, methods=["POST"]) for path, handler in guarded.items()),
        Route(
            "/v1/customers/{customer_id:path}",
            guard("/v1/customers/{customer_id}", customer),
            methods=["GET", "DELETE"],
        ),
        *(
            Route(path.replace("}", ":path}"), guard(path, handler, body_bytes), methods=[*methods])
            for path, (handler, methods, body_bytes) in KEEPING.items()
        ),
        Route("/v1/models", guard("/v1/models", get_models), methods=["GET"]),
        Route("/v1", info, methods=["GET"]),
        *page_routes(),
        Route("/docs.json", docs, methods=["GET"]),
        Route("/livez", livez, methods=["GET"]),
        Route("/healthz", livez, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]
    app = Door(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: http_error})
    app.short_ways = guarded
    return app


async def post_events(request: Request, runtime: Runtime) -> Response:
    """Keep the good events of a batch, durably, and say what was wrong with the others."""
    _need_log(runtime)
    asked = asked_format(request.scope["query_string"])
    if asked is not None and request.state.caller.is_public:
        raise problems.not_for_pages("Records of other tools come from their servers, not from pages.", "format")
    if asked is not None:
        return await _post_webhook(request, runtime, asked)
    items = event_intake.event_items(request.state.body)
    events, rejections = await _sort_out(request, items, runtime)
    rejected = [schemas.RejectedEvent(**vars(rejection)) for rejection in rejections]
    runtime.metrics.note_events(rejected=len(rejected))
    if not len(events):
        details = [row.model_dump() for row in rejected]
        raise problems.events_rejected(details)
    result = await _append(request, events)
    conflicts = event_intake.to_tell(result.conflicts, items)
    runtime.metrics.note_events(
        accepted=result.appended, duplicate=result.duplicates, erased=result.erased, conflict=len(conflicts)
    )
    receipt = _receipt(result, rejected, conflicts)
    if request.state.caller.is_public:  # how much happens here is nobody's business
        receipt["last_seq"] = 0
    return respond(schemas.EventsAnswer(**receipt))


async def _post_webhook(request: Request, runtime: Runtime, asked: Format) -> Response:
    """Keep the good events of another tool's records. Whatever they are, the tool need not send them again: 200."""
    webhook = read_webhook(request.state.body, asked, request.headers)
    events, rejections = await _sort_out(request, webhook.events, runtime) if webhook.events else ([], [])
    rejected = [schemas.RejectedEvent(**vars(rejection)) for rejection in webhook.of_records(rejections)]
    if len(events):
        result = await _append(request, events)
    else:
        result = AppendResult(0, 0, await _ask(request, lambda _: runtime.log.last_seq()))
    conflicts = event_intake.to_tell(result.conflicts, webhook.events)
    runtime.metrics.note_events(
        accepted=result.appended,
        duplicate=result.duplicates,
        erased=result.erased,
        conflict=len(conflicts),
        rejected=len(rejected),
    )
    return respond(
        schemas.WebhookAnswer(
            **_receipt(result, rejected, conflicts),
            skipped_by_word=dict(webhook.skipped_by_word.most_common()),
            notices=webhook.notices,
        )
    )


def _receipt(result: AppendResult, rejected: list[schemas.RejectedEvent], conflicts: list[Conflict]) -> dict[str, Any]:
    """What an answer says of events, whoever sent them."""
    return {
        "accepted": result.appended,
        "duplicates": result.duplicates,
        "rejected": rejected,
        "erased": result.erased,
        "conflicts": len(conflicts),
        "conflicting": [
            schemas.ConflictingEvent(event_id=conflict.event_id, fields=[*conflict.fields])
            for conflict in conflicts[: event_intake.MAX_CONFLICTS_TOLD]
        ],
        "last_seq": result.last_seq,
    }


async def next_products(request: Request, runtime: Runtime) -> Response:
    """The products that a customer buys next; where new ones are explored, in the log before it is answered."""
    wanted = parse(request, schemas.NextProductsRequest)
    is_public = request.state.caller.is_public
    if is_public:
        wanted = browser.narrow(wanted)
    tell = browser.without_customer if is_public else _as_it_is
    or_else(request, lambda answers: tell(answers.next_products(wanted)[0]))
    answer, event = await _ask(request, lambda answers: answers.next_products(wanted))
    if event is not None:
        await _append(request, event_rows([event]))
    request.state.decision_id = answer.decision_id
    return noted(request, tell(answer))


async def churn(request: Request, runtime: Runtime) -> Response:
    """How likely a customer leaves."""
    wanted = parse(request, schemas.ChurnRequest)
    or_else(request, lambda answers: answers.churn(wanted))
    return noted(request, await _ask(request, lambda answers: answers.churn(wanted)))


async def best_channel(request: Request, runtime: Runtime) -> Response:
    """Through which channel a customer answers."""
    wanted = parse(request, schemas.BestChannelRequest)
    or_else(request, lambda answers: answers.best_channel(wanted))
    return noted(request, await _ask(request, lambda answers: answers.best_channel(wanted)))


async def decide(request: Request, runtime: Runtime) -> Response:
    """One decision; see serving/asking/deciding.py."""
    return await deciding.decide(request, runtime, _ask)


async def customer(request: Request, runtime: Runtime) -> Response:
    """One path, and so one route: else nobody who asks with another method would hear of both."""
    return await (delete_customer if request.method == "DELETE" else get_customer)(request, runtime)


async def get_customer(request: Request, runtime: Runtime) -> Response:
    """One customer over all channels."""
    name = _customer(request)
    wanted = request.query_params.get("signals", "false").lower()
    if wanted not in ("true", "false", "1", "0"):
        raise problems.unusable("signals must be true or false.", [{"field": "signals"}])
    with_signals = wanted in ("true", "1")
    return noted(request, await _ask(request, lambda answers: answers.profile(name, with_signals)))


async def delete_customer(request: Request, runtime: Runtime) -> Response:
    """Erase a customer: from the log and the online store before this answers, from the files right after it.

    Asked again meanwhile, it tells how far the same erasure is: 202, and 200 once the receipt is written.
    """
    name = _customer(request)
    eraser = runtime.eraser
    if eraser is None:
        raise problems.cannot_erase()
    _need_log(runtime)
    receipt = await while_log_answers(_in_background(request, lambda: eraser.begin(name)), runtime.reliance)
    if receipt is None:
        raise UnknownCustomerError(None)
    answer = schemas.ErasureAnswer.model_validate(receipt.model_dump())
    if receipt.complete:
        return respond(answer)
    response = respond(answer, status=202)
    response.background = BackgroundTask(_finish_erasures, eraser)
    return response


def _customer(request: Request) -> str:
    """Whom the path names; the router's own parameter would leave out a line break at its end."""
    with problems.parse_request():
        return _CUSTOMER_ID.validate_python(request.scope["path"].partition("/v1/customers/")[2])


async def get_models(request: Request, runtime: Runtime) -> Response:
    """The models in use, and the rules."""
    return respond(schemas.ModelsAnswer(models=runtime.knowledge.bundle.infos(), rules=runtime.rules_info()))


async def info(request: Request) -> Response:
    """What answers here."""
    demands_keys = request.app.state.runtime.gate.demands_keys(request.scope)
    return respond(schemas.InfoAnswer(version=__version__, contract=VERSION, access="keys" if demands_keys else "open"))


async def docs(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(_document())


async def livez(request: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request) -> Response:
    """Ready, and what is done without meanwhile; or what it waits for. The real paths are asked."""
    probe: ReadinessProbe = request.app.state.probe
    readiness = await probe.ask()
    if not _may(request, "/readyz"):  # a balancer need not know what things are called here
        short = problems.not_ready([("service", "see its log, or ask with a key of the scope metrics.")])
        return error_response(short) if readiness.reasons else JSONResponse({"status": "ready"})
    warnings = await asyncio.to_thread(request.app.state.runtime.warnings)
    if readiness.reasons:
        return error_response(problems.not_ready([*readiness.reasons, *(("service", warning) for warning in warnings)]))
    degraded = [{"dependency": name, "reason": why} for name, why in readiness.degraded]
    fallbacks = [{"task": task, "reason": why} for task, why in request.app.state.runtime.fallbacks().items()]
    more = {"degraded": degraded, "fallbacks": fallbacks, "warnings": warnings}
    return JSONResponse({"status": "ready"} | {name: texts for name, texts in more.items() if texts})


async def metrics(request: Request) -> Response:
    """Counters for Prometheus."""
    found: Runtime = request.app.state.runtime
    try:
        admit(request, "/metrics")
    except ApiError as error:
        return error_response(error)
    return Response(found.metrics.render(), media_type=found.metrics.content_type)


def _may(request: Request, route: str) -> bool:
    try:
        admit(request, route)
    except ApiError:
        return False
    return True


async def _ask(request: Request, question: Callable[[Answers], T]) -> T:
    """Answer in turn; servers are waited for no longer than the settings or the question say."""
    runtime: Runtime = request.app.state.runtime
    patience_s = min(runtime.timeout_s, request.state.within_s / 2)  # half is left to answer without what does not
    timer = request.state.timer = runtime.metrics.time_this()

    def patiently() -> T:
        timer.lap("turn")
        with waiting_at_most(patience_s):
            return question(runtime.answers_timed(timer))

    return await _turns(request).ask(patiently)


def _need_log(runtime: Runtime) -> None:
    if runtime.reliance is not None:
        runtime.reliance.need_log()


async def _sort_out(request: Request, items: list[Any], runtime: Runtime) -> tuple[Events, list[Rejection]]:
    """The good ones of `items`, with values in the home's currency, and what is wrong with the others."""
    caller: Caller = request.state.caller
    trusted = caller.keeps_books or event_intake.is_trusted(
        request.headers.get(event_intake.BOOKKEEPING_KEY), runtime.bookkeeping_key
    )
    now = runtime.clock.now()

    def sort_out() -> tuple[Events, list[Rejection]]:
        if caller.is_public:
            return browser.sort_out(items, lambda good: event_intake.sort_out(good, now, runtime))
        return event_intake.sort_out(items, now, runtime, trusted)

    if len(items) > MAX_EVENTS_AT_ONCE:
        return await _in_background(request, sort_out)
    if not trusted and event_intake.asks_log(items):
        return await _ask(request, lambda _: sort_out())
    return sort_out()


async def _append(request: Request, events: Events) -> AppendResult:
    """Have events appended, in one commit with those of others, and wait until they are durable."""
    result = await append(request.app.state.committer, request.app.state.runtime.reliance, events)
    request.state.timer.lap("append")
    return result


def _as_it_is(answer: schemas.NextProductsAnswer) -> schemas.NextProductsAnswer:
    return answer


def _turns(request: Request) -> Turns:
    found: Turns = request.app.state.turns
    return found


def _in_background(request: Request, work: Callable[[], T]) -> asyncio.Future[T]:
    """Do long work on the one working thread, so that answering others goes on meanwhile."""
    return asyncio.get_running_loop().run_in_executor(request.app.state.worker, work)


async def _finish_erasures(eraser: Eraser) -> None:
    try:
        await asyncio.to_thread(eraser.finish)
    except (OmniError, OSError) as error:
        logger.warning("Erasures are not finished yet: %s Run: omni erase --finish", error)


@cache
def _document() -> dict[str, Any]:
    return openapi_document()
