"""The ledger of contacts in the log's own tables: claims of decisions in, exact caps over threads, processes and machines out.

Whoever decides reads what the customer has reserved, and its version. The append of the decision's event checks in its own
transaction, of which there is one at a time, that the version is still that one and that every counter has room. So of two who
decide about the same customer at once one is told to decide again. Every change of what a customer has reserved changes their
version; what expired counts no more from that moment on, whoever takes it out, and whenever.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from features.events.rows import EventRow
from features.log.portable_sql import Connection, insert_all, select_in
from features.log.reservations import (
    NOTHING_HELD,
    Claim,
    Decided,
    FullError,
    Held,
    KeptAnswer,
    OvertakenError,
    Reserved,
)
from features.vocabulary import CONTACT_KINDS, DAY_S, EventKind

CREATE: Final = (
    # live: a contact that is held until it expires; sent: one that came of it, kept for the caps of offers and tags
    "CREATE TABLE IF NOT EXISTS reservations (decision_id {text} PRIMARY KEY, customer_id {text} NOT NULL,"
    " sent SMALLINT NOT NULL, channel TEXT NOT NULL, send_at_us BIGINT NOT NULL, expires_us BIGINT NOT NULL,"
    " product_id TEXT, campaign_id TEXT, offer_id TEXT, tags TEXT, places TEXT){rowless}",
    "CREATE INDEX IF NOT EXISTS reservations_of_customer ON reservations (customer_id)",
    "CREATE INDEX IF NOT EXISTS reservations_by_end ON reservations (expires_us)",
    "CREATE TABLE IF NOT EXISTS ledger_versions (customer_id {text} PRIMARY KEY, version BIGINT NOT NULL){rowless}",
    "CREATE TABLE IF NOT EXISTS ledger_counters (name {text} PRIMARY KEY, used DOUBLE PRECISION NOT NULL){rowless}",
    "CREATE TABLE IF NOT EXISTS kept_answers (name {text} PRIMARY KEY, customer_id {text} NOT NULL,"
    " decision_id {text} NOT NULL, question TEXT NOT NULL, until_us BIGINT NOT NULL, version BIGINT, body TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS kept_answers_of_customer ON kept_answers (customer_id)",
    "CREATE INDEX IF NOT EXISTS kept_answers_by_end ON kept_answers (until_us)",
)
KEPT: Final = {"log: reservations": "reservations", "log: kept answers": "kept_answers"}
"""Tables with rows about somebody, by what a receipt of an erasure calls them."""
SETTLING_KINDS: Final = frozenset(map(str, (*CONTACT_KINDS, EventKind.IGNORE)))
"""Kinds of events that, with a decision's id, end what it reserved."""
SENT_KEPT_US: Final = int(400 * DAY_S * 1e6)
"""How long it is told that a contact with an offer or tags was sent: no cap looks further back."""
_SWEPT_AT_ONCE: Final = 512
_ROOM: Final = 1e-9
"""A share of a limit by which sums of money may be off."""
_COLUMNS: Final = (
    "r.decision_id, r.channel, r.send_at_us, r.expires_us, r.product_id, r.campaign_id, r.offer_id, r.tags, r.sent"
)
_HELD: Final = (
    f"SELECT v.customer_id, v.version, {_COLUMNS} FROM ledger_versions v LEFT JOIN reservations r"
    " ON r.customer_id = v.customer_id AND r.expires_us > {now_us} WHERE v.customer_id"
)
_HELD_BY_ONE: Final = f"{_HELD.format(now_us='?')} = ?"
_ANSWERS: Final = (
    "SELECT name, question, until_us, body, version, decision_id, customer_id FROM kept_answers WHERE name"
)
_VERSIONS: Final = "SELECT customer_id, version FROM ledger_versions WHERE customer_id"
_USED: Final = "SELECT name, used FROM ledger_counters WHERE name"
_PUT_VERSION: Final = " ON CONFLICT (customer_id) DO UPDATE SET version = excluded.version"
_PUT_USED: Final = " ON CONFLICT (name) DO UPDATE SET used = excluded.used"
_PUT_ANSWER: Final = (
    " ON CONFLICT (name) DO UPDATE SET customer_id = excluded.customer_id, decision_id = excluded.decision_id,"
    " question = excluded.question, until_us = excluded.until_us, version = excluded.version, body = excluded.body"
)


class SqlLedger:
    """What is reserved, to read."""

    def __init__(self, connection: Connection, in_words: Callable[[], AbstractContextManager[None]]) -> None:
        """`in_words` turns the database's errors into ours."""
        self._connection, self._in_words = connection, in_words

    def held(self, customer_id: str, now_us: int) -> Held:
        with self._in_words():
            rows = self._connection.execute(_HELD_BY_ONE, (now_us, customer_id)).fetchall()
        return _held(rows) if rows else NOTHING_HELD

    def held_many(self, customer_ids: Sequence[str], now_us: int) -> dict[str, Held]:
        of_customer: dict[str, list[tuple[Any, ...]]] = {}
        with self._in_words():
            rows = select_in(self._connection, _HELD.format(now_us=f"{now_us:d}"), dict.fromkeys(customer_ids))
        for row in rows:
            of_customer.setdefault(str(row[0]), []).append(row)
        return {name: _held(rows) for name, rows in of_customer.items()}

    def used(self, keys: Iterable[str]) -> dict[str, float]:
        wanted = dict.fromkeys(keys, 0.0)
        with self._in_words():
            return wanted | dict(select_in(self._connection, _USED, wanted)) if wanted else {}

    def answers(self, names: Sequence[str], now_us: int) -> dict[str, KeptAnswer]:
        with self._in_words():
            return {kept.name: kept for kept in _answers(self._connection, names) if kept.until_us > now_us}


def settle(connection: Connection, decided: Sequence[Decided]) -> list[OvertakenError | FullError | None]:
    """Reserve what decisions claim, in their order; what is refused changes nothing. The caller is in a write transaction.

    Answers why each is refused, or None where it may be kept.
    """
    if not decided:
        return []
    now_us = max(one.now_us for one in decided)
    sweep(connection, now_us)
    books = _Books(connection, decided, now_us)
    refusals = [books.take(one) for one in decided]
    books.write()
    return refusals


def sweep(connection: Connection, now_us: int) -> int:
    """Give back what expired by a moment, and forget answers whose time is over; returns how many contacts were given back."""
    rows = connection.execute(
        "SELECT decision_id, sent, places FROM reservations WHERE expires_us <= ? LIMIT ?", (now_us, _SWEPT_AT_ONCE)
    ).fetchall()
    if rows:
        select_in(connection, "DELETE FROM reservations WHERE decision_id", [row[0] for row in rows])
        _give_back(connection, [row[2] for row in rows if not row[1]])
    over = connection.execute(
        "SELECT name FROM kept_answers WHERE until_us <= ? LIMIT ?", (now_us, _SWEPT_AT_ONCE)
    ).fetchall()
    if over:
        select_in(connection, "DELETE FROM kept_answers WHERE name", [row[0] for row in over])
    return len(rows)


def note_events(connection: Connection, events: Sequence[EventRow]) -> None:
    """End reservations that events tell the end of: sent (or seen), or given back. The caller is in a write transaction.

    Of a decision that reserves nothing any more nothing is done: its contact counts as any other.
    """
    ends = {row.decision_id: row for row in events if row.decision_id is not None and row.kind in SETTLING_KINDS}
    query = "SELECT decision_id, customer_id, sent, offer_id, tags, places FROM reservations WHERE decision_id"
    rows = [row for row in select_in(connection, query, ends) if not row[2]] if ends else []
    if not rows:
        return
    gone: list[str] = []
    freed: list[str | None] = []
    for decision_id, _, _, offer_id, tags, places in rows:
        event = ends[decision_id]
        if event.kind == EventKind.IGNORE:
            freed.append(places)
        if event.kind == EventKind.IGNORE or not (offer_id or tags):
            gone.append(decision_id)
            continue
        at_us = event.occurred_us
        update = "UPDATE reservations SET sent = 1, send_at_us = ?, expires_us = ?, places = NULL WHERE decision_id = ?"
        connection.execute(update, (at_us, at_us + SENT_KEPT_US, decision_id))
    select_in(connection, "DELETE FROM reservations WHERE decision_id", gone)
    _give_back(connection, freed)
    _move_on(connection, {row[1] for row in rows})


def follow(connection: Connection, names: Iterable[str]) -> None:
    """After customers were joined or came apart: what is kept of them follows the decisions' events to whose these are now."""
    known = {
        row[0] for row in select_in(connection, "SELECT customer_id FROM ledger_versions WHERE customer_id", names)
    }
    if not known:
        return
    owners = set(known)
    for table in ("reservations", "kept_answers"):
        query = f"SELECT decision_id FROM {table} WHERE customer_id"
        ids = [row[0] for row in select_in(connection, query, known)]
        owner = "SELECT e.event_id, c.customer_id FROM events e JOIN customers c USING (customer_key) WHERE e.event_id"
        for decision_id, name in select_in(connection, owner, ids):
            owners.add(name)
            connection.execute(f"UPDATE {table} SET customer_id = ? WHERE decision_id = ?", (name, decision_id))
    _move_on(connection, owners)


def forget(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Take out all that is kept of a customer, and give back what they had reserved; answers how many rows of KEPT."""
    query = "SELECT decision_id, sent, places FROM reservations WHERE customer_id"
    rows = select_in(connection, query, names)
    answers = select_in(connection, "SELECT name FROM kept_answers WHERE customer_id", names)
    _give_back(connection, [row[2] for row in rows if not row[1]])
    for table in (*KEPT.values(), "ledger_versions"):
        select_in(connection, f"DELETE FROM {table} WHERE customer_id", names)
    return {"log: reservations": len(rows), "log: kept answers": len(answers)}


class _Books:
    """What decisions of one group look at, read once; `take` writes them one after the other, `write` to the tables."""

    def __init__(self, connection: Connection, decided: Sequence[Decided], now_us: int) -> None:
        self._connection = connection
        names = dict.fromkeys(one.customer_id for one in decided)
        self._versions: dict[str, int] = dict(select_in(connection, _VERSIONS, names))
        keys = dict.fromkeys(place.key for one in decided if one.claim for place in one.claim.places)
        self._used: dict[str, float] = dict(select_in(connection, _USED, keys)) if keys else {}
        asked = dict.fromkeys(answer.name for one in decided for answer in one.answers)
        self._answers = {kept.name: kept for kept in _answers(connection, asked) if kept.until_us > now_us}
        self._moved: set[str] = set()
        self._charged: set[str] = set()
        self._claims: list[Claim] = []
        self._kept: dict[str, KeptAnswer] = {}

    def take(self, one: Decided) -> OvertakenError | FullError | None:
        """Keep one decision, or say why not."""
        version = self._versions.get(one.customer_id, 0)
        if any(self._stands(answer, one.customer_id) for answer in one.answers):
            return OvertakenError()
        if one.claim is not None:
            if version != one.version:
                return OvertakenError()
            for place in one.claim.places:
                if self._used.get(place.key, 0.0) + place.amount > place.limit * (1 + _ROOM):
                    return FullError(place.key)
            version += 1
            self._versions[one.customer_id] = version
            self._moved.add(one.customer_id)
            self._claims.append(one.claim)
            for place in one.claim.places:
                self._used[place.key] = self._used.get(place.key, 0.0) + place.amount
                self._charged.add(place.key)
        for answer in one.answers:
            self._answers[answer.name] = self._kept[answer.name] = KeptAnswer(
                answer.name,
                answer.question,
                answer.until_us,
                answer.body,
                None if answer.version is None else version,
                one.decision_id,
                one.customer_id,
            )
        return None

    def write(self) -> None:
        """Put down what was taken."""
        rows = map(_row, self._claims)
        columns = "decision_id, customer_id, sent, channel, send_at_us, expires_us, product_id, campaign_id, offer_id"
        insert_all(self._connection, f"reservations ({columns}, tags, places)", rows, " ON CONFLICT DO NOTHING")
        moved = [(name, self._versions[name]) for name in sorted(self._moved)]
        insert_all(self._connection, "ledger_versions (customer_id, version)", moved, _PUT_VERSION)
        charged = [(key, self._used[key]) for key in sorted(self._charged)]
        insert_all(self._connection, "ledger_counters (name, used)", charged, _PUT_USED)
        answers = [
            (kept.name, kept.customer_id, kept.decision_id, kept.question, kept.until_us, kept.version, kept.body)
            for kept in self._kept.values()
        ]
        columns = "name, customer_id, decision_id, question, until_us, version, body"
        insert_all(self._connection, f"kept_answers ({columns})", answers, _PUT_ANSWER)

    def _stands(self, answer: KeptAnswer, customer_id: str) -> bool:
        """Whether another answer was kept under the name meanwhile, and is to be given in place of this one."""
        kept = self._answers.get(answer.name)
        if kept is None:
            return False
        if answer.version is None:
            return True
        return kept.question == answer.question and kept.version == self._versions.get(customer_id, 0)


def _answers(connection: Connection, names: Iterable[str]) -> list[KeptAnswer]:
    return [KeptAnswer(*row) for row in select_in(connection, _ANSWERS, names)]


def _held(rows: Sequence[tuple[Any, ...]]) -> Held:
    return Held(int(rows[0][1]), tuple(_reserved(row[2:]) for row in rows if row[2] is not None))


def _reserved(row: Sequence[Any]) -> Reserved:
    decision_id, channel, send_at_us, expires_us, product_id, campaign_id, offer_id, tags, sent = row
    known = tuple(json.loads(tags)) if tags else ()
    return Reserved(decision_id, channel, send_at_us, expires_us, product_id, campaign_id, offer_id, known, bool(sent))


def _row(claim: Claim) -> tuple[Any, ...]:
    places = [(place.key, place.amount) for place in claim.places]
    return (
        claim.decision_id,
        claim.customer_id,
        0,
        claim.channel,
        claim.send_at_us,
        claim.expires_us,
        claim.product_id,
        claim.campaign_id,
        claim.offer_id,
        json.dumps(claim.tags) if claim.tags else None,
        json.dumps(places) if places else None,
    )


def _give_back(connection: Connection, places: Iterable[str | None]) -> None:
    """Make room again in counters for what contacts had taken there."""
    freed: dict[str, float] = {}
    for text in places:
        for key, amount in json.loads(text) if text else ():
            freed[key] = freed.get(key, 0.0) + amount
    for key, amount in sorted(freed.items()):
        connection.execute("UPDATE ledger_counters SET used = used - ? WHERE name = ?", (amount, key))


def _move_on(connection: Connection, names: Iterable[str]) -> None:
    """Have whoever decides about these customers, by what they had reserved until now, decide again."""
    rows = [(name, 1) for name in sorted(names)]
    again = " ON CONFLICT (customer_id) DO UPDATE SET version = ledger_versions.version + 1"
    insert_all(connection, "ledger_versions (customer_id, version)", rows, again)
