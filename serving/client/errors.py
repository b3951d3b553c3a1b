"""What a client raises: one error, with what the service said of it."""

from typing import Any, Final

import httpx
from pydantic import ValidationError

from features.errors import OmniError
from serving.schemas import ErrorAnswer

UNREACHABLE: Final = "unreachable"
"""The code where no answer came: nobody listens, the connection broke, or the time was over."""


class RequestFailedError(OmniError):
    """A request that was refused, failed, or got no answer. `code` is for programs, the message for people."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = UNREACHABLE,
        details: tuple[dict[str, Any], ...] = (),
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        named = f" (request {request_id})" if request_id else ""
        super().__init__(f"{f'{status} ' if status else ''}{code}: {message}{named}")
        self.status = status
        """The HTTP status; None where no answer came."""
        self.code = code
        self.details = details
        """One for each field that was wrong, or each event that was refused."""
        self.request_id = request_id
        """By which the service's log names the request."""
        self.retry_after_s = retry_after_s


def of_response(response: httpx.Response, request_id: str) -> RequestFailedError:
    """What an answer of an error tells; also one of a proxy, which knows nothing of our shape."""
    try:
        problem = ErrorAnswer.model_validate_json(response.content).error
        code, message, details = problem.code, problem.message, tuple(problem.details)
    except ValidationError:
        code, message, details = "not_ours", f"An answer that is not Omni's: {response.text[:200]}", ()
    after = response.headers.get("retry-after", "")
    return RequestFailedError(
        message,
        status=response.status_code,
        code=code,
        details=details,
        request_id=response.headers.get("x-request-id", request_id),
        retry_after_s=float(after) if after.isdigit() else None,
    )


def of_trouble(error: httpx.TransportError, request_id: str) -> RequestFailedError:
    """What is told where no answer came."""
    what = "No answer came in time" if isinstance(error, httpx.TimeoutException) else "The service cannot be reached"
    return RequestFailedError(f"{what}: {error or type(error).__name__}.", request_id=request_id)
