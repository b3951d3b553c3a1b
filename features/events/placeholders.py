"""Ids that senders write where they know nobody come in ("undefined", "0", "guest"); whether a value is one of them goes out.

Such a value is no customer: everybody who is not known has it, and whoever believes it makes one customer of strangers.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import BoolArray

UNFILLED: Final = "{{}}"
"""Stands in a list for every field of a template that nobody filled in: {{customer.id}}, ${id}, %%ID%%, *|ID|*, <%= id %>."""
PLACEHOLDERS: Final = (
    *("undefined", "null", "nan", "none", "nil", "n/a", "na", "#n/a", "<na>", "<null>", "<none>", "<nil>"),
    *("(null)", "(none)", "(nil)", "[null]", "#null!", "#ref!", "#value!", "#name?", "#div/0!"),
    *("[object object]", "[object undefined]", "[object null]", "object object", "{}", "[]", "()", UNFILLED),
    *("0", "-1", "true", "false", "-", "--", "---", "?", "??", "???", ".", "_", "*"),
    *("anonymous", "anon", "guest", "visitor", "unknown", "unidentified", "not_authenticated", "logged_out"),
    *("not set", "(not set)", "not_set", "notset", "not provided", "(not provided)", "not available", "(empty)"),
    *("(blank)", "id", "user_id", "userid", "customer_id", "customerid", "distinct_id", "distinctid", "email", "phone"),
)
"""What names nobody where identity.toml says nothing else: in small letters, without quotes and blanks around it."""

_AROUND: Final = " \t\r\n\u00a0\u200b\ufeff\"'`"
_ZERO: Final = re.compile(r"[+-]?0(\.0+)?|(?=(?:[^0]*0){8})0[-:. 0]*")
"""The number, or at least eight zeros and marks between them: a UUID, an advertising id or a serial number that is not told."""
_MINUS_ONE: Final = re.compile(r"-1(\.0+)?")
_TEMPLATE: Final = re.compile(r"\{\{.*\}\}|\{%.*%\}|\$\{.*\}|%%.*%%|\*\|.*\|\*|<%.*%>|\[%.*%\]|##.*##", re.DOTALL)
_SUSPECT: Final = r"^[+-]?0[-:. 0]*$|^-1\.0+$|^(\{\{|\{%|\$\{|%%|\*\||<%|\[%|##)"


@dataclass(frozen=True)
class Placeholders:
    """A list of values that name nobody, whatever their case and what quotes and blanks stand around them."""

    words: tuple[str, ...] = PLACEHOLDERS

    def __contains__(self, value: str) -> bool:
        """Whether a value, as it came, names nobody."""
        return _plain(value) in self._words

    def suspects(self, column: pa.ChunkedArray) -> BoolArray:
        """Rows (n,) of a text column that may hold one: every one that does, and few others."""
        encoded = pc.dictionary_encode(column).combine_chunks()
        plain = pc.utf8_lower(pc.utf8_trim(encoded.dictionary, _AROUND))
        bad = pc.or_(pc.is_in(plain, value_set=self._list), pc.match_substring_regex(plain, _SUSPECT))
        if self._beyond_ascii:
            bad = pc.or_(bad, pc.invert(pc.string_is_ascii(plain)))
        marked = np.append(bad.to_numpy(zero_copy_only=False), False)  # the last stands for null
        rows: BoolArray = marked[pc.fill_null(encoded.indices, len(marked) - 1).to_numpy(zero_copy_only=False)]
        return rows

    def without(self, ids: Iterable[str]) -> "Placeholders":
        """The list without values that are ids after all."""
        left_out = {*map(_plain, ids)}
        return Placeholders(tuple(word for word in self.words if _plain(word) not in left_out)) if left_out else self

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(map(_plain, self.words)) | {""}

    @cached_property
    def _list(self) -> pa.Array:
        return pa.array(sorted(self._words), pa.string())

    @cached_property
    def _beyond_ascii(self) -> bool:
        return not all(map(str.isascii, self._words))


def _plain(value: str) -> str:
    """The one form of a placeholder: small letters; 0 for zeros (0.0, a UUID of zeros), -1 for -1.0, {{}} for a template."""
    text = value.strip(_AROUND).lower()
    if text[:1] in "0+-":
        return "0" if _ZERO.fullmatch(text) else "-1" if _MINUS_ONE.fullmatch(text) else text
    if text[:1] in "{$%*<[#" and _TEMPLATE.fullmatch(text):
        return UNFILLED
    return text
