"""The words of the ledger of contacts: what a `send` decision claims comes in, what a customer has reserved goes out.

A decision that says `send` holds its contact from the moment it is in the log: as a contact at the moment it is to be sent,
and with a place in every counter that limits it. It becomes a contact with the `send` event of its decision_id, and is given
back by an `ignore` before that, or when it expires. The tables are kept by features/log/ledger.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


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


NOTHING_HELD = Held()
"""Of somebody who has nothing reserved and never had."""


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
