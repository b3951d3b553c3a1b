"""An exception in, the status and body of the error answer out: every error has the same shape."""

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from features.errors import (
    MissingError,
    OmniError,
    RequestError,
    SettingsError,
    UnknownCustomerError,
    UnknownStoreError,
)
from serving.schemas import ErrorAnswer, Problem
from serving.schemas.base import Finite

_RETRY_AFTER_S = {429: 1, 503: 2}
"""When it is worth while to ask again: a breaker tries every half second whether a server answers again."""
_NOT_READY_RETRY_S = 10
"""Somebody has to do something first."""


class ApiError(Exception):
    """An error that the caller is told about as it is."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Sequence[dict[str, Any]] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s if retry_after_s is not None else _RETRY_AFTER_S.get(status)
        self.problem = Problem(code=code, message=message, details=list(details))

    def body(self) -> bytes:
        """The JSON body."""
        return ErrorAnswer(error=self.problem).model_dump_json().encode()


def to_api_error(error: Exception) -> ApiError | None:
    """What the caller is told about `error`, or None where it is a defect of ours.

    Whose fault it is never follows from the kind of check that failed: only `parse_request` and a RequestError blame the
    caller, because both are about the request itself. An answer of ours that fails its own check is ours.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UnknownStoreError):
        return ApiError(404, "store_unknown", str(error))
    if isinstance(error, RequestError):
        return ApiError(422, "invalid_request", str(error))
    if isinstance(error, ValidationError):
        return bad_answer(error) if _is_of_an_answer(error) else None
    if isinstance(error, UnknownCustomerError):
        return ApiError(404, "customer_unknown", str(error))
    if isinstance(error, MissingError):
        return ApiError(503, "not_ready", str(error), retry_after_s=_NOT_READY_RETRY_S)
    if isinstance(error, sqlite3.OperationalError):  # what of the disk and other processes nobody put into our words
        return ApiError(503, "unavailable", f"The disk or another process does not let this be done: {error}.")
    if isinstance(error, OmniError) and not isinstance(error, SettingsError):
        return ApiError(503, "unavailable", str(error))
    return None


@contextmanager
def parse_request() -> Iterator[None]:
    """Within it the request is read, and nothing else: what does not fit its shape is told to the caller."""
    try:
        yield
    except ValidationError as error:
        raise invalid_request(error) from error


def bad_answer(error: ValidationError) -> ApiError:
    """What a model or a store gave makes no answer, such as a chance that is no number."""
    places = [".".join(str(part) for part in item["loc"]) for item in error.errors(include_url=False)]
    details = [{"field": place} for place in places[:50]]
    text = f"What was computed is no answer: {places[0]} is no value that it may have."
    return ApiError(
        500, "bad_answer", f"{text} /v1/models names the models in use; omni rollback TASK goes back.", details
    )


def internal() -> ApiError:
    """A defect of ours, of which the caller learns no more."""
    return ApiError(500, "internal", "This is a defect of the service; the log of the service holds its cause.")


def not_ready(reasons: Sequence[tuple[str, str]]) -> ApiError:
    """Some questions cannot be answered now; `reasons` are the name of what is waited for, and why."""
    details = [{"reason": why} if name == "service" else {"dependency": name, "reason": why} for name, why in reasons]
    return ApiError(503, "not_ready", f"Not everything can be answered now: {reasons[0][1]}", details)


def cannot_erase() -> ApiError:
    """A service without an eraser."""
    return ApiError(503, "not_ready", "This service was started without the means to erase.")


def overloaded() -> ApiError:
    """There is no room for the request."""
    return ApiError(429, "overloaded", "Too many requests at once: try again in a moment.")


def slow_body() -> ApiError:
    """The body did not come in time."""
    return ApiError(408, "slow_body", "The body did not arrive in time: send it at once, or in smaller parts.")


def too_slow(within_s: float) -> ApiError:
    """The request was not done in time."""
    text = f"This was not done within {within_s:g} s. Ask again: an event that is kept meanwhile counts only once."
    return ApiError(504, "timeout", text)


def cross_site() -> ApiError:
    """A browser says that another site's page asks."""
    return ApiError(403, "cross_site", "A page of another site may not ask this: ask from a server.")


def no_key() -> ApiError:
    """Nobody may ask without a key, and none came."""
    text = "This needs a key: send it as Authorization: Bearer omni_…, or in X-API-Key."
    return ApiError(401, "no_key", f"{text} Whoever runs the service makes one with omni key create.")


def wrong_api_key() -> ApiError:
    """A key that is none of this home's, was revoked, or has expired."""
    return ApiError(401, "unknown_key", "This key is not known, was revoked, or has expired: see omni key list.")


def missing_scope(needs: Sequence[str]) -> ApiError:
    """A key that is not made for this."""
    text = f"This key may not do that: it needs the scope {' or '.join(needs)}."
    return ApiError(403, "missing_scope", text, [{"scope": scope} for scope in needs])


def too_often(wait_s: float) -> ApiError:
    """A key that asks more often than it may."""
    text = "This key asks more often than it may: ask again when the time in Retry-After is over."
    return ApiError(429, "rate_limited", text, retry_after_s=math.ceil(wait_s))


def not_for_pages(message: str, field: str) -> ApiError:
    """Something that a page in a browser may not ask."""
    return ApiError(403, "not_for_pages", message, [{"field": field}])


def wrong_key(header: str) -> ApiError:
    """Somebody claims to be trusted with bookkeeping and is not."""
    return ApiError(403, "wrong_key", f"{header} is not this home's OMNI_BOOKKEEPING_KEY: leave it out, or mend it.")


def too_large(limit_bytes: int) -> ApiError:
    """The body is over the limit."""
    return ApiError(413, "too_large", f"The body is larger than {limit_bytes // 1024} KiB: send it in parts.")


def too_many_events(limit: int) -> ApiError:
    """The batch is over the limit."""
    return ApiError(413, "too_many_events", f"A batch holds at most {limit} events: send it in parts.")


def disconnected() -> ApiError:
    """The caller left before the body was whole."""
    return ApiError(400, "disconnected", "The body ended too early.")


def invalid_json(error: Exception) -> ApiError:
    """The body is no JSON."""
    return ApiError(400, "invalid_json", f"The body is not JSON: {error}.")


def unusable(message: str, details: Sequence[dict[str, Any]] = ()) -> ApiError:
    """A request that is readable and cannot be used."""
    return ApiError(422, "invalid_request", message, details)


def request_id_used() -> ApiError:
    """Another question was answered under the name of this request."""
    text = "Another question was answered under this request_id (or Idempotency-Key) within a day: name each question anew."
    return ApiError(409, "request_id_used", text, [{"field": "request_id"}])


def two_names(header: str) -> ApiError:
    """One request has two names."""
    text = f"request_id and {header} are two names of one request: send one of them."
    return ApiError(409, "request_id_used", text, [{"field": "request_id"}])


def events_rejected(details: Sequence[dict[str, Any]]) -> ApiError:
    """Not one event of a batch is valid."""
    return ApiError(422, "events_rejected", "No event of this batch can be used: see details.", details)


def of_http(status: int, detail: str) -> ApiError:
    """What the router answers by itself: no such page, no such method."""
    codes = {404: ("not_found", "There is no such page."), 405: ("method_not_allowed", "Not with this method.")}
    code, message = codes.get(status, ("error", detail))
    return ApiError(status, code, f"{message} /docs.json lists what there is.")


def invalid_request(error: ValidationError) -> ApiError:
    """A body that is no JSON (400), or JSON of another shape (422) with a detail for every field."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if any(item["type"] == "json_invalid" for item in found):
        return ApiError(400, "invalid_json", f"The body is not JSON: {found[0]['msg']}.")
    details = [{"field": ".".join(str(part) for part in item["loc"]), "reason": _reason(item)} for item in found[:50]]
    first = details[0]
    where = f"{first['field']}: " if first["field"] else ""
    return ApiError(422, "invalid_request", f"The request cannot be used: {where}{first['reason']}.", details)


def _is_of_an_answer(error: ValidationError) -> bool:
    return any(error.title == shape.__name__ for shape in _parts_of_answers(Finite))


def _parts_of_answers(shape: type[Finite]) -> Iterator[type[Finite]]:
    for part in shape.__subclasses__():
        yield part
        yield from _parts_of_answers(part)


def _reason(item: ErrorDetails) -> str:
    if item["type"] == "string_pattern_mismatch":  # the only pattern of the contract
        return "Control characters are not allowed: take them out"
    return item["msg"].removeprefix("Value error, ")
