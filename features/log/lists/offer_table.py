"""The offers of a home, in the log's database: offers in, the same out, and a version that grows with every change.

An offer is of offers.toml or it is not. The file owns those that it names: nobody else changes them, and the file takes none
that came another way, so that an offer is never replaced by surprise.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from features.errors import InputError
from features.log.portable_sql import Connection, get_meta, insert_all, put_meta, select_in
from features.offers.offer import Offer
from features.settings import OFFERS_FILE

CREATE: Final = (
    "CREATE TABLE IF NOT EXISTS offers (offer_id {text} PRIMARY KEY, body TEXT NOT NULL, of_file INTEGER NOT NULL,"
    " changed_us BIGINT NOT NULL)",
)
_VERSION: Final = "offers"
"""Note of the version."""
_FILE: Final = "offers_file"
"""Note of the content of offers.toml that is in the table."""
_STANDING: Final = "standing"
"""Note of where everybody stands."""
_PUT: Final = (
    " ON CONFLICT (offer_id) DO UPDATE SET body = excluded.body, of_file = excluded.of_file,"
    " changed_us = excluded.changed_us"
)
_ROWS: Final = "SELECT offer_id, body, of_file FROM offers"
Writing = Callable[[], AbstractContextManager[Connection]]
Reading = Callable[[str, tuple[object, ...]], list[tuple[Any, ...]]]


@dataclass(frozen=True)
class KeptOffers:
    """All offers of one version, by id."""

    version: int = 0
    offers: Mapping[str, Offer] = field(default_factory=dict)
    of_file: frozenset[str] = frozenset()
    """Those that offers.toml owns."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Offers that this version of Omni cannot read, and why not: they are kept, and not made."""


@dataclass(frozen=True)
class OfferChanges:
    """What became of the offers that were given."""

    added: int = 0
    changed: int = 0
    same: int = 0
    removed: int = 0
    version: int = 0
    """Of the table after that."""


class OfferTable:
    """The table `offers` of one log; safe to use from several threads and processes."""

    def __init__(self, writing: Writing, reading: Reading) -> None:
        """`writing` opens a write transaction of the log, `reading` answers one query."""
        self._writing, self._reading = writing, reading

    def version(self) -> int:
        """Another number whenever an offer is; 0 before the first one."""
        return int(self._note(_VERSION) or "0")

    def all(self) -> KeptOffers:
        """Every offer, in the order of their ids."""
        version = self.version()  # read first: rows that are newer are read again with the next look
        offers: dict[str, Offer] = {}
        unreadable: dict[str, str] = {}
        rows = self._reading(f"{_ROWS} ORDER BY offer_id", ())
        for offer_id, body, _ in rows:
            try:
                offers[offer_id] = Offer.model_validate_json(body)
            except ValidationError as error:
                unreadable[offer_id] = error.errors(include_url=False)[0]["msg"]
        return KeptOffers(version, offers, frozenset(row[0] for row in rows if row[2]), unreadable)

    def get(self, offer_id: str) -> Offer | None:
        """One offer. Raises InputError for one that this version of Omni cannot read."""
        rows = self._reading(f"{_ROWS} WHERE offer_id = ?", (offer_id,))
        return _read(rows[0][1], offer_id) if rows else None

    def put(
        self,
        offers: Sequence[Offer],
        *,
        replace: bool = False,
        check: Callable[[Offer | None], None] = lambda before: None,
    ) -> OfferChanges:
        """Keep offers, each in place of the one with its id; with `replace` all others but the file's are taken out.

        `check` is told, within the transaction, of what each takes the place of, and may raise. Raises InputError, and
        keeps none of them, where one is owned by offers.toml.
        """
        with self._writing() as connection:
            before = _rows(connection)
            _refuse([offer.offer_id for offer in offers if before.get(offer.offer_id, ("", 0))[1]], _OWNED)
            for offer in offers:
                known = before.get(offer.offer_id)
                check(None if known is None else _read(known[0], offer.offer_id))
            mine = {offer_id: body for offer_id, (body, of_file) in before.items() if not of_file}
            return _settle(connection, mine, offers, of_file=False, removes=replace)

    def remove(self, offer_ids: Iterable[str], check: Callable[[Offer | None], None] = lambda before: None) -> int:
        """Take offers out; returns how many there were. Raises InputError where one is owned by offers.toml."""
        with self._writing() as connection:
            before = _rows(connection)
            wanted = [offer_id for offer_id in dict.fromkeys(offer_ids) if offer_id in before]
            _refuse([offer_id for offer_id in wanted if before[offer_id][1]], _OWNED)
            for offer_id in wanted:
                check(_read(before[offer_id][0], offer_id))
            select_in(connection, "DELETE FROM offers WHERE offer_id", wanted)
            if wanted:
                _bump(connection)
            return len(wanted)

    def file_digest(self) -> str:
        """What content of offers.toml the table holds; empty for none."""
        return self._note(_FILE)

    def standing(self) -> str:
        """What was noted of where everybody stands, for conditions that compare; empty where nothing was."""
        return self._note(_STANDING)

    def note_standing(self, text: str) -> None:
        """Note it, in place of what was noted before."""
        with self._writing() as connection:
            put_meta(connection, _STANDING, text)

    def settle_file(self, offers: Sequence[Offer], digest: str) -> OfferChanges:
        """Have exactly these as the offers of offers.toml, whose content is called `digest`.

        Raises InputError, and changes nothing, where one came another way: by an import or over HTTP.
        """
        with self._writing() as connection:
            before = _rows(connection)
            others = [offer.offer_id for offer in offers if not before.get(offer.offer_id, ("", 1))[1]]
            _refuse(others, _TAKEN)
            mine = {offer_id: body for offer_id, (body, of_file) in before.items() if of_file}
            put_meta(connection, _FILE, digest)
            return _settle(connection, mine, offers, of_file=True, removes=True)

    def _note(self, name: str) -> str:
        rows = self._reading("SELECT value FROM meta WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else ""


_OWNED: Final = (
    f"{{ids}} in {OFFERS_FILE}, which owns what it names.",
    "Change it there, or take it out of the file first.",
)
_TAKEN: Final = (
    f"{{ids}} in {OFFERS_FILE}, and came by an import or over HTTP before.",
    "Give it another id, or run omni offers remove for the one that is there.",
)


def _refuse(offer_ids: Sequence[str], words: tuple[str, str]) -> None:
    if offer_ids:
        named = ", ".join(offer_ids[:5]) + (f" and {len(offer_ids) - 5} more" if len(offer_ids) > 5 else "")
        subject = f"The offer {named} is" if len(offer_ids) == 1 else f"The offers {named} are"
        raise InputError(words[0].format(ids=subject), repair=words[1])


def _settle(
    connection: Connection, before: Mapping[str, str], offers: Sequence[Offer], *, of_file: bool, removes: bool
) -> OfferChanges:
    """Bring the rows `before` (id to body) to what is given; rows that are the same are not written."""
    wanted = {offer.offer_id: offer for offer in offers}
    moment_us = time.time_ns() // 1000
    new = {offer_id: offer for offer_id, offer in wanted.items() if before.get(offer_id) != offer.text}
    gone = [offer_id for offer_id in before if offer_id not in wanted] if removes else []
    rows = ((offer_id, offer.text, int(of_file), moment_us) for offer_id, offer in new.items())
    insert_all(connection, "offers (offer_id, body, of_file, changed_us)", rows, _PUT)
    select_in(connection, "DELETE FROM offers WHERE offer_id", gone)
    version = _bump(connection) if new or gone else int(get_meta(connection, _VERSION, "0"))
    added = sum(offer_id not in before for offer_id in new)
    return OfferChanges(added, len(new) - added, len(wanted) - len(new), len(gone), version)


def _rows(connection: Connection) -> dict[str, tuple[str, int]]:
    """Body, and whether the file owns it, by id."""
    return {
        str(offer_id): (str(body), int(of_file)) for offer_id, body, of_file in connection.execute(_ROWS).fetchall()
    }


def _bump(connection: Connection) -> int:
    version = int(get_meta(connection, _VERSION, "0")) + 1
    put_meta(connection, _VERSION, version)
    return version


def _read(body: str, offer_id: str) -> Offer:
    try:
        return Offer.model_validate_json(body)
    except ValidationError as error:
        why = error.errors(include_url=False)[0]["msg"]
        raise InputError(
            f"The offer {offer_id} was kept by another version of Omni ({why}).", repair="Put it anew, or remove it."
        ) from error
