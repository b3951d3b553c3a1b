"""What a retailer keeps up, over HTTP: offers, the suppression list, products and stock. All of it is written on one thread."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response

from features.errors import InputError
from features.log.lists.suppression_table import Suppression
from features.offers.offer import Offer
from features.settings import Settings
from features.vocabulary import TableName
from serving import problems
from serving.asking.in_time import respond
from serving.door import Handler
from serving.guard.reliance import while_log_answers
from serving.offers.condition import compile_condition
from serving.problems import ApiError
from serving.runtime import Runtime
from serving.schemas import kept
from serving.schemas.base import Name

MAX_OFFER_BYTES: Final = 1024 * 1024
MAX_ROWS_BYTES: Final = 8 * 1024 * 1024
_TAG: Final = re.compile(r'\*|"[0-9a-f]{12}"')
_NAME: Final[TypeAdapter[str]] = TypeAdapter(Name)
T = TypeVar("T")


async def offers(request: Request, runtime: Runtime) -> Response:
    """All offers, and which are in force."""
    everything = await _do(request, runtime, lambda: runtime.log.offers().all())
    answers = [_answer(runtime, offer, offer.offer_id in everything.of_file) for offer in everything.offers.values()]
    problem = runtime.offers.problem if runtime.offers is not None else ""
    return respond(kept.OffersAnswer(version=everything.version, offers=answers, problem=problem or None))


async def offer(request: Request, runtime: Runtime) -> Response:
    """One offer: read, put in force, or taken out."""
    offer_id = _named(request, "/v1/offers/")
    ways = {"PUT": _put_offer, "DELETE": _delete_offer}
    return await ways.get(request.method, _get_offer)(request, runtime, offer_id)


async def suppressions(request: Request, runtime: Runtime) -> Response:
    """The suppression list."""
    entries = await _do(request, runtime, lambda: runtime.log.suppressions().all())
    return respond(kept.SuppressionsAnswer(suppressions=[_entry(entry) for entry in entries]))


async def suppression(request: Request, runtime: Runtime) -> Response:
    """One name on it: read, added, or taken off."""
    name, table = _named(request, "/v1/suppressions/"), runtime.log.suppressions()
    if request.method == "DELETE":
        if not await _write(request, runtime, lambda: table.remove([name])):
            raise _not_listed()
        return respond(kept.RemovedAnswer(removed=1))
    if request.method == "PUT":
        with problems.parse_request():
            wanted = kept.SuppressionRequest.model_validate_json(request.state.body, strict=True)
        await _write(request, runtime, lambda: table.add([name], wanted.reason))
    found = await _do(request, runtime, lambda: table.get(name))
    if found is None:
        raise _not_listed()
    return respond(_entry(found))


async def products(request: Request, runtime: Runtime) -> Response:
    """Products merged into the table of them: names, prices, what is withdrawn."""
    with problems.parse_request():
        wanted = kept.ProductsRequest.model_validate_json(request.state.body, strict=True)
    return await _merge(
        request, runtime, [row.model_dump(exclude_unset=True) for row in wanted.products], TableName.PRODUCTS
    )


async def stock(request: Request, runtime: Runtime) -> Response:
    """Units of products, by store."""
    with problems.parse_request():
        wanted = kept.StockRequest.model_validate_json(request.state.body, strict=True)
    return await _merge(request, runtime, [row.model_dump(exclude_unset=True) for row in wanted.stock], TableName.STOCK)


KEEPING: Final[dict[str, tuple[Handler, tuple[str, ...], int]]] = {
    "/v1/offers": (offers, ("GET",), 0),
    "/v1/offers/{offer_id}": (offer, ("GET", "PUT", "DELETE"), MAX_OFFER_BYTES),
    "/v1/suppressions": (suppressions, ("GET",), 0),
    "/v1/suppressions/{name}": (suppression, ("GET", "PUT", "DELETE"), MAX_OFFER_BYTES),
    "/v1/products": (products, ("PUT",), MAX_ROWS_BYTES),
    "/v1/stock": (stock, ("PUT",), MAX_ROWS_BYTES),
}
"""Handlers by their paths, their methods, and how large a body each takes."""


async def _get_offer(request: Request, runtime: Runtime, offer_id: str) -> Response:
    everything = await _do(request, runtime, lambda: runtime.log.offers().all())
    found = everything.offers.get(offer_id)
    if found is None:
        raise _no_offer()
    return _with_tag(_answer(runtime, found, offer_id in everything.of_file))


async def _put_offer(request: Request, runtime: Runtime, offer_id: str) -> Response:
    """Put it in force, or in place of the one there is: the same call twice changes nothing."""
    wanted = _read_offer(request.state.body, offer_id)
    await _write(request, runtime, lambda: runtime.log.offers().put([wanted], check=_matcher(request)))
    return _with_tag(_answer(runtime, wanted, False))


async def _delete_offer(request: Request, runtime: Runtime, offer_id: str) -> Response:
    removed = await _write(request, runtime, lambda: runtime.log.offers().remove([offer_id], _matcher(request)))
    if not removed:
        raise _no_offer()
    return respond(kept.RemovedAnswer(removed=removed))


def _read_offer(body: bytes, offer_id: str) -> Offer:
    try:
        content: Any = from_json(body)
    except ValueError as error:
        raise problems.invalid_json(error) from error
    if isinstance(content, dict):
        content = {"offer_id": offer_id, **content}
    with problems.parse_request():
        wanted = Offer.model_validate(kept.OfferRequest.model_validate(content).model_dump(exclude_unset=True))
    if wanted.offer_id != offer_id:
        raise problems.unusable("offer_id is not the one of the path: leave it out.", [{"field": "offer_id"}])
    try:
        if wanted.where is not None:
            compile_condition(wanted.where)
    except InputError as error:
        raise problems.unusable(str(error), [{"field": "where", "reason": error.message}]) from error
    return wanted


def _matcher(request: Request) -> Callable[[Offer | None], None]:
    """Raises ApiError (412) where the offer there is is not the one that If-Match or If-None-Match speaks of.

    Raises ApiError (422) at once for a header that no ETag of ours can be in.
    """
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and not _TAG.fullmatch(match):
        raise problems.unusable("If-Match is no ETag of an offer: send it as it came, or *.", [{"field": "If-Match"}])
    if none_match is not None and none_match != "*":
        raise problems.unusable("If-None-Match may only be *.", [{"field": "If-None-Match"}])

    def check(before: Offer | None) -> None:
        tag = None if before is None else f'"{before.digest}"'
        if (match is not None and (tag is None or match not in ("*", tag))) or (none_match and tag is not None):
            raise _changed()

    return check


def _changed() -> ApiError:
    return ApiError(412, "changed", "The offer is another one than you know: read it again, and send its ETag.")


def _no_offer() -> ApiError:
    return ApiError(404, "offer_unknown", "There is no offer of this id.")


def _not_listed() -> ApiError:
    return ApiError(404, "suppression_unknown", "This name is not on the suppression list.")


def _answer(runtime: Runtime, found: Offer, of_file: bool) -> kept.OfferAnswer:
    shelf = None if runtime.offers is None else runtime.offers.shelf
    return kept.OfferAnswer(
        offer=found,
        digest=found.digest,
        in_force=found.is_current(runtime.clock.now()),
        of_file=of_file,
        problem=None if shelf is None else shelf.problems.get(found.offer_id),
    )


def _with_tag(answer: kept.OfferAnswer) -> Response:
    response = respond(answer)
    response.headers["ETag"] = f'"{answer.digest}"'
    return response


def _entry(found: Suppression) -> kept.SuppressionAnswer:
    return kept.SuppressionAnswer(name=found.name, reason=found.reason, added_at=found.added_at)


async def _merge(request: Request, runtime: Runtime, rows: list[dict[str, Any]], name: TableName) -> Response:
    settings: Settings | None = runtime.settings
    if settings is None:
        raise ApiError(503, "not_ready", "This service was started without a home to keep tables in.")
    now = runtime.clock.now()

    def put() -> tuple[int, Any]:
        from features.ingest_table import (
            put_rows,
        )  # brings pandas and DuckDB, which a worker that is only asked never needs

        return put_rows(rows, name, settings, runtime.log, now)

    merged, refused = await _do(request, runtime, put)
    rejected = [kept.RefusedRow(index=row.index, field=row.field, reason=row.reason) for row in refused]
    return respond(kept.MergedAnswer(merged=merged, rejected=rejected))


def _named(request: Request, before: str) -> str:
    """What the path names; the router's own parameter would leave out a line break at its end."""
    with problems.parse_request():
        return _NAME.validate_python(request.scope["path"].partition(before)[2])


async def _write(request: Request, runtime: Runtime, work: Callable[[], T]) -> T:
    """Change what the log keeps, and have this worker follow at once; the others do within half a second."""

    def changed() -> T:
        result = work()
        if runtime.offers is not None:
            runtime.offers.follow()
        return result

    return await _do(request, runtime, changed)


async def _do(request: Request, runtime: Runtime, work: Callable[[], T]) -> T:
    """Do this on the one working thread, so that answering others goes on meanwhile."""
    if runtime.reliance is not None:
        runtime.reliance.need_log()
    future = asyncio.get_running_loop().run_in_executor(request.app.state.worker, work)
    try:
        return await while_log_answers(future, runtime.reliance)
    except InputError as error:
        raise ApiError(409, "conflict", str(error)) from error
