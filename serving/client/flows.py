"""Calls in, what to send and how long to wait out, step by step, until there is an answer: the same for both clients.

A flow yields an `httpx.Request`, and is sent its response or the error in its place; or it yields seconds, and goes on after
them. So retries, batches and polls are written once, and whoever drives a flow does the sending and the sleeping.

What is sent again: everything that does the same when it is done twice. Events carry ids, and count once; an erasure goes on
where it was. A decision is asked for again under the same Idempotency-Key, and so is the same one.
"""

import random
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
from pydantic import BaseModel
from pydantic_core import to_json

from features import __version__
from serving import schemas
from serving.client.errors import RequestFailedError, of_response, of_trouble
from serving.schemas.batches import MAX_CUSTOMERS

LOCAL: Final = "http://127.0.0.1:3000"
MAX_EVENTS: Final = 10_000
MAX_BODY_BYTES: Final = 8_000_000
"""A little less than the service takes."""
USER_AGENT: Final = f"omni-client/{__version__}"
_NOT_DONE: Final = (429,)
"""Statuses after which nothing was done."""
_PASSING: Final = (408, 429, 502, 503, 504)
"""Statuses that another try may do without."""
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_POLL_S: Final = 0.5

AnswerT = TypeVar("AnswerT", bound=BaseModel)
ManyT = TypeVar("ManyT", schemas.NextProductsBatchAnswer, schemas.PredictBatchAnswer)
Step: TypeAlias = httpx.Request | float
Outcome: TypeAlias = httpx.Response | httpx.TransportError | None
Flow: TypeAlias = Generator[Step, Outcome, AnswerT]
Options: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Patience:
    """How long a client waits, and how often it tries."""

    timeout_s: float = 5.0
    """For each try, from the request to the whole answer's next piece."""
    connect_s: float = 2.0
    tries: int = 3
    backoff_s: float = 0.2
    """Before the second try, twice that before the third, and so on: at random between half of it and all of it."""
    longest_wait_s: float = 5.0
    """Where the service says that it takes longer, the error is raised at once."""
    dice: random.Random = field(default_factory=random.Random, repr=False)

    def timeout(self) -> httpx.Timeout:
        """The same for httpx."""
        return httpx.Timeout(self.timeout_s, connect=self.connect_s)

    def wait_s(self, tried: int, asked_s: float | None) -> float | None:
        """How long to wait after so many tries; None: try no more."""
        if tried >= self.tries:
            return None
        own_s = self.backoff_s * 2 ** (tried - 1) * self.dice.uniform(0.5, 1.0)
        wait_s = max(own_s, asked_s or 0.0)
        return wait_s if wait_s <= self.longest_wait_s else None


@dataclass(frozen=True)
class Flows:
    """Every call of the service as a flow."""

    url: str
    key: str | None
    patience: Patience

    def headers(self) -> dict[str, str]:
        """What every request says."""
        return {
            "User-Agent": USER_AGENT,
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self.key}"} if self.key else {}),
        }

    def send(self, events: Iterable[Mapping[str, Any]]) -> Flow[schemas.EventsAnswer]:
        """Send events in as many batches as they need. Raises the last refusal where not one of all could be kept."""
        total = schemas.EventsAnswer(accepted=0, duplicates=0, rejected=[], last_seq=0)
        n_sent = 0
        refusal: RequestFailedError | None = None
        for n_events, body in _batches(events):
            try:
                answer = yield from self._ask("POST", "/v1/events", body, schemas.EventsAnswer)
            except RequestFailedError as error:
                if error.code != "events_rejected":
                    raise
                refusal = error
                rejected = [schemas.RejectedEvent.model_validate(row) for row in error.details]
                answer = schemas.EventsAnswer(accepted=0, duplicates=0, rejected=rejected, last_seq=0)
            total = _added(total, answer, n_sent)
            n_sent += n_events
        if refusal is not None and len(total.rejected) == n_sent:
            raise refusal
        return total

    def question(
        self,
        what: str,
        answer: type[AnswerT],
        customer_id: str | None,
        identifiers: Mapping[str, str] | None,
        options: Options,
    ) -> Flow[AnswerT]:
        """Ask about a customer."""
        named: dict[str, Any] = {} if customer_id is None else {"customer_id": customer_id}
        if identifiers is not None:
            named["identifiers"] = dict(identifiers)
        body = to_json({**named, **options})
        return (yield from self._ask("POST", f"/v1/{what}", body, answer, repeatable=_is_repeatable(options)))

    def many(
        self, what: str, answer: type[ManyT], customers: Iterable[str | Mapping[str, Any]], options: Options
    ) -> Flow[ManyT]:
        """Ask about any number of customers, in batches; one result for each, in their order."""
        asked = list(customers)
        batches: list[ManyT] = []
        for start in range(0, len(asked), MAX_CUSTOMERS):
            body = to_json({**options, "customers": asked[start : start + MAX_CUSTOMERS]})
            repeatable = _is_repeatable(options)
            batches.append((yield from self._ask("POST", f"/v1/{what}:batch", body, answer, repeatable=repeatable)))
        return answer(
            answered=sum(batch.answered for batch in batches),
            failed=sum(batch.failed for batch in batches),
            results=[row for batch in batches for row in batch.results],
        )

    def get(self, path: str, answer: type[AnswerT]) -> Flow[AnswerT]:
        """Read something."""
        return (yield from self._ask("GET", path, None, answer))

    def erase(self, name: str, wait_s: float) -> Flow[schemas.ErasureAnswer]:
        """Erase a customer, and ask again for so many seconds until all of it is done."""
        path = customer_path(name)
        answer = yield from self._ask("DELETE", path, None, schemas.ErasureAnswer)
        while answer.completed_at is None and wait_s > 0:
            yield min(_POLL_S, wait_s)
            wait_s -= _POLL_S
            answer = yield from self._ask("DELETE", path, None, schemas.ErasureAnswer)
        return answer

    def _ask(
        self, method: str, path: str, body: bytes | None, answer: type[AnswerT], *, repeatable: bool = True
    ) -> Flow[AnswerT]:
        request_id = uuid4().hex
        is_decision = path == "/v1/decide" and b'"request_id"' not in (body or b"")
        tried = 0
        while True:
            headers = {**self.headers(), "X-Request-ID": request_id}
            if is_decision:
                headers["Idempotency-Key"] = request_id
            outcome = yield httpx.Request(method, self.url + path, content=body, headers=headers)
            assert outcome is not None
            tried += 1
            if isinstance(outcome, httpx.Response):
                if outcome.is_success:
                    return answer.model_validate_json(outcome.content)
                error = of_response(outcome, request_id)
                passes = outcome.status_code in (_PASSING if repeatable else _NOT_DONE)
            else:
                error = of_trouble(outcome, request_id)
                passes = repeatable or isinstance(outcome, _NEVER_SENT)
            wait_s = self.patience.wait_s(tried, error.retry_after_s) if passes else None
            if wait_s is None:
                raise error
            yield wait_s


def customer_path(name: str) -> str:
    """The path of a customer, by id or like `email:ada@example.org`."""
    return f"/v1/customers/{quote(name, safe='')}"


def _is_repeatable(options: Options) -> bool:
    """Whether a question that was perhaps answered may be asked again: it changes nothing, or is known again."""
    return not options.get("explore_share")


def _batches(events: Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, bytes]]:
    """Bodies within the service's limits, each with its number of events. Events without an id get one, for sending again."""
    parts: list[bytes] = []
    size = 0
    for event in events:
        part = to_json({"event_id": f"c-{uuid4().hex}", **event})
        if parts and (len(parts) == MAX_EVENTS or size + len(part) + 1 > MAX_BODY_BYTES):
            yield len(parts), b"[" + b",".join(parts) + b"]"
            parts, size = [], 0
        parts.append(part)
        size += len(part) + 1
    if parts:
        yield len(parts), b"[" + b",".join(parts) + b"]"


def _added(total: schemas.EventsAnswer, batch: schemas.EventsAnswer, n_before: int) -> schemas.EventsAnswer:
    """Two answers as one; the places of what was rejected count from the first event of all."""
    moved = [row.model_copy(update={"index": row.index + n_before}) for row in batch.rejected]
    return schemas.EventsAnswer(
        accepted=total.accepted + batch.accepted,
        duplicates=total.duplicates + batch.duplicates,
        rejected=[*total.rejected, *moved],
        erased=total.erased + batch.erased,
        conflicts=total.conflicts + batch.conflicts,
        conflicting=[*total.conflicting, *batch.conflicting],
        last_seq=max(total.last_seq, batch.last_seq),
    )
