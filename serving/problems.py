"""An exception in, the status and body of the error answer out: every error has the same shape."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from features.errors import InputError, MissingError, OmniError, SettingsError
from serving.schemas import ErrorAnswer, Problem


class ApiError(Exception):
    """An error that the caller is told about as it is."""

    def __init__(self, status: int, code: str, message: str, details: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(code=code, message=message, details=list(details))

    def body(self) -> bytes:
        """The JSON body."""
        return ErrorAnswer(error=self.problem).model_dump_json().encode()


def customer_unknown(customer_id: str | None) -> ApiError:
    """Nobody by that name is in the log."""
    who = f"Customer {customer_id!r}" if customer_id else "A customer with these identifiers"
    return ApiError(404, "customer_unknown", f"{who} is not known: no event of theirs is in the log.")


def to_api_error(error: Exception) -> ApiError | None:
    """What the caller is told about `error`, or None where it is a defect of ours."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValidationError):
        return invalid_request(error)
    if isinstance(error, InputError):
        return ApiError(422, "invalid_request", str(error))
    if isinstance(error, MissingError):
        return ApiError(503, "not_ready", str(error))
    if isinstance(error, sqlite3.OperationalError):  # what of the disk and other processes nobody put into our words
        return ApiError(503, "unavailable", f"The disk or another process does not let this be done: {error}.")
    if isinstance(error, OmniError) and not isinstance(error, SettingsError):
        return ApiError(503, "unavailable", str(error))
    return None


def invalid_request(error: ValidationError) -> ApiError:
    """A body that is no JSON (400), or JSON of another shape (422) with a detail for every field."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if any(item["type"] == "json_invalid" for item in found):
        return ApiError(400, "invalid_json", f"The body is not JSON: {found[0]['msg']}.")
    details = [{"field": ".".join(str(part) for part in item["loc"]), "reason": _reason(item)} for item in found[:50]]
    first = details[0]
    where = f"{first['field']}: " if first["field"] else ""
    return ApiError(422, "invalid_request", f"The request cannot be used: {where}{first['reason']}.", details)


def _reason(item: ErrorDetails) -> str:
    if item["type"] == "string_pattern_mismatch":  # the only pattern of the contract
        return "Control characters are not allowed: take them out"
    return item["msg"].removeprefix("Value error, ")
