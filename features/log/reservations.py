"""The words of the ledger of contacts: what a `send` decision claims comes in, what a customer has reserved goes out.

A decision that says `send` holds its contact from the moment it is in the log: as a contact at the moment it is to be sent,
and with a place in every counter that limits it. It becomes a contact with the `send` event of its decision_id, and is given
back by an `ignore` before that, or when it expires. The tables are kept by features/log/ledger/book.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from features.errors import OmniError


@dataclass(frozen=True)
class Place:
    """Room that a contact needs in one counter over all customers: `amount` of at most `limit` under `key`."""

    key: str
    amount: float
    limit: float


@dataclass(frozen=True)
class Claim:
    """What one `send` decision reserves. Moments are microseconds since the epoch."""

    decision_id: str
    customer_id: str
    channel: str
    send_at_us: int
    expires_us: int
    """From this moment on it is given back."""
    product_id: str | None = None
    campaign_id: str | None = None
    offer_id: str | None = None
    tags: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Reserved:
    """A contact that a customer's decision holds, or, once it is `sent`, that became of it (at `send_at_us`).

    What was sent is told as long as it has a campaign, an offer or tags, whose caps count it; others are in the state.
    """

    decision_id: str
    channel: str
    send_at_us: int
    expires_us: int
    product_id: str | None = None
    campaign_id: str | None = None
    offer_id: str | None = None
    tags: tuple[str, ...] = ()
    sent: bool = False


@dataclass(frozen=True)
class Held:
    """What the ledger knows of one customer: `version` is another one whenever anything of it changed."""

    version: int = 0
    reservations: tuple[Reserved, ...] = ()


NOTHING_HELD: Final = Held()
"""Of somebody who has nothing reserved and never had."""


@dataclass(frozen=True)
class KeptAnswer:
    """An answer that is given again to whoever asks under the same `name`, until a moment (microseconds)."""

    name: str
    question: str
    """What has to be the same for it to be given again: a digest of the question, or of all that the answer hangs on."""
    until_us: int
    body: str
    version: int | None = None
    """It stands as long as the ledger's version of its customer is this one; None: whatever becomes of that."""
    decision_id: str = ""
    customer_id: str = ""


@dataclass(frozen=True)
class Decided:
    """What is to be settled with the append of one decision's event; refused with `OvertakenError` or `FullError`."""

    decision_id: str
    customer_id: str
    now_us: int
    """When it was decided, by the clock of the service."""
    version: int = 0
    """Of `Held`, by which it was decided."""
    claim: Claim | None = None
    """None where it says `nothing`."""
    answers: tuple[KeptAnswer, ...] = ()


class OvertakenError(OmniError):
    """Another decision about the same customer was kept meanwhile: decide again, by what is known now."""

    def __init__(self) -> None:
        super().__init__("Another decision about this customer was kept at the same moment.", repair="Ask again.")


class FullError(OmniError):
    """A counter has no room left: decide again, without what needs room in it."""

    def __init__(self, key: str) -> None:
        super().__init__(f"There is no room left in {key}.", repair="Ask again: another way may be free.")
        self.key = key


class Ledger(Protocol):
    """What is reserved and not yet sent, in the log's own engine; `EventLog.ledger()` gives it."""

    def held(self, customer_id: str, now_us: int) -> Held:
        """What a customer (by resolved id) has reserved, without what expired by `now_us`."""
        ...

    def held_many(self, customer_ids: Sequence[str], now_us: int) -> dict[str, Held]:
        """`held` of those of several customers of whom the ledger knows anything."""
        ...

    def used(self, keys: Iterable[str]) -> Mapping[str, float]:
        """How much of counters is taken, by live reservations and by what was sent; 0 for one that nobody used."""
        ...

    def answers(self, names: Sequence[str], now_us: int) -> dict[str, KeptAnswer]:
        """Answers that were kept under these names, by name, without those whose time is over."""
        ...
