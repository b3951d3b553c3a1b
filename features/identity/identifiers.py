"""Identifiers as sources write them come in; the one form of each goes out, as a keyed hash where that is wanted.

A log keeps what comes out of here. E-mail addresses and phone numbers (or the types in identity.toml) leave only a hash
behind, keyed with OMNI_IDENTIFIER_KEY or with the log's own key: equal ones still meet, and nobody reads them back.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from features.events.placeholders import Placeholders
from features.identity.resolution import ANONYMOUS, named_node
from features.vocabulary import Columns, IdType

_HASHED: Final = "hash-"
_NOT_DIGITS: Final = re.compile(r"[^0-9]")


def normalise(id_type: str, value: str) -> str:
    """The one form of an identifier: addresses in small letters, phone numbers as + and digits, no blanks around.

    A phone number without a country code stays without one: `0` and `+` numbers of one line are not the same here.
    """
    value = value.strip()
    if id_type == IdType.EMAIL:
        return value.casefold()
    if id_type == IdType.PHONE:
        international = value.startswith(("+", "00"))
        digits = _NOT_DIGITS.sub("", value)
        if not digits:
            return value
        return "+" + digits.removeprefix("00") if international else digits
    return value


@dataclass(frozen=True)
class Identifiers:
    """Brings identifiers into the form in which they are kept."""

    key: str = ""
    hashed: tuple[str, ...] = ()
    nobody: Placeholders = field(default_factory=Placeholders)

    def kept(self, id_type: str, value: str) -> str:
        """An identifier as it is kept. What is a hash already stays as it is, and so does what names nobody."""
        return value.strip() if value in self.nobody else self._kept(id_type, value)

    def forms(self, value: str) -> list[str]:
        """The forms in which a value of unknown type may be kept."""
        if value in self.nobody:
            return sorted({value, value.strip()})
        special = {*self.hashed, IdType.EMAIL, IdType.PHONE}  # every other type is kept without blanks around it
        return sorted({value, value.strip(), *(self._kept(id_type, value) for id_type in special)})

    def kept_name(self, name: str) -> str:
        """A customer's name as it is kept: one that is made of an address is made of its hash."""
        if not name.startswith(ANONYMOUS):
            return name
        id_type, value = named_node(name)
        return f"{ANONYMOUS}{id_type}:{self.kept(id_type, value)}" if self._is_hashed(id_type) else name

    def kept_pairs(self, identifiers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
        """All identifiers of one event as they are kept."""
        pairs = identifiers.items() if isinstance(identifiers, Mapping) else identifiers
        return {id_type: self.kept(id_type, value) for id_type, value in pairs}

    def kept_table(self, table: pa.Table) -> pa.Table:
        """A table of events whose identifiers are as they are kept."""
        table = self._with_kept_names(table)
        column = table.column(Columns.IDENTIFIERS)
        if column.null_count == len(column):
            return table
        rows = [None if pairs is None else list(self.kept_pairs(pairs).items()) for pairs in column.to_pylist()]
        place = table.schema.get_field_index(Columns.IDENTIFIERS)
        return table.set_column(place, table.schema.field(place), pa.array(rows, column.type))

    def mark(self) -> str:
        """Tells keys apart without giving one away: the same for the same key and types, `plain` without a key."""
        if not self.key:
            return "plain"
        text = " ".join((self.key, *sorted(self.hashed)))
        return hashlib.blake2b(text.encode(), digest_size=8, person=b"mark").hexdigest()

    def _with_kept_names(self, table: pa.Table) -> pa.Table:
        column = table.column(Columns.CUSTOMER_ID)
        is_anonymous = pc.fill_null(pc.starts_with(column, ANONYMOUS), False)
        if not pc.any(is_anonymous).as_py():
            return table
        names = [None if name is None else self.kept_name(name) for name in column.to_pylist()]
        place = table.schema.get_field_index(Columns.CUSTOMER_ID)
        return table.set_column(place, table.schema.field(place), pa.array(names, column.type))

    def _is_hashed(self, id_type: str) -> bool:
        return bool(self.key) and id_type in self.hashed

    def _kept(self, id_type: str, value: str) -> str:
        value = normalise(id_type, value)
        if not self._is_hashed(id_type) or value.startswith(_HASHED):
            return value
        secret = hashlib.blake2b(self.key.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        person, text = (part.encode("utf-8", "surrogatepass") for part in (id_type, value))  # any text may be asked for
        digest = hashlib.blake2b(text, digest_size=16, key=secret, person=person[:16])
        return _HASHED + digest.hexdigest()


PLAIN: Final = Identifiers()
"""Nothing is hashed."""
