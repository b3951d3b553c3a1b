"""A table in, the same out with text that no spreadsheet runs as a formula: for every CSV that people open.

A cell that begins with = + - or @ (also their wide forms, also after blanks), a tab or a line break is a formula to Excel, Calc
and Sheets, so such text gets an apostrophe before it (OWASP, "CSV Injection"). So does text within a cell after a `;`, tab or
line break, where a spreadsheet that expects other separators begins a new cell. Numbers, moments and yes or no stay as they
are. `unguarded` takes exactly these apostrophes off again.
"""

import re
from collections.abc import Callable
from typing import Any, Final

import pandas as pd

_BEGINS: Final = r"(?:^|(?<=[;\t\r\n]))"
"""Where a cell begins, or could to somebody's spreadsheet."""
_BLANKS: Final = "[ \x00-\x08\x0b\x0c\x0e-\x1f\x85\xa0\u1680\u2000-\u200f\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]*"
_SIGNS: Final = "[=+@\uff1d\uff0b\uff20\ufe66\ufe62\ufe6b\\-\uff0d\ufe63\u2212]"
_FORMULA: Final = f"(?={_BLANKS}{_SIGNS})"
_AT_FIRST: Final = r"(?=[\t\r\n])"
"""These are dangerous in themselves at the beginning of the cell."""
_PLAIN: Final = re.compile(f"^'*{_AT_FIRST}|{_BEGINS}'*{_FORMULA}")
_GUARDED: Final = re.compile(f"(?:^'(?='*{_AT_FIRST})|{_BEGINS}'(?='*{_FORMULA}))")


def guard(text: str) -> str:
    """One cell's text, with an apostrophe before whatever a spreadsheet would run."""
    return _PLAIN.sub(r"'\g<0>", text)


def unguard(text: str) -> str:
    """The text that `guard` was given."""
    return _GUARDED.sub("", text)


def guarded(table: pd.DataFrame) -> pd.DataFrame:
    """The table with its text, and the names of its columns, guarded."""
    return _each_text(table, guard)


def unguarded(table: pd.DataFrame) -> pd.DataFrame:
    """What `guarded` was given, of a table whose text was read as it stands."""
    return _each_text(table, unguard)


def _each_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    def cell(value: Any) -> Any:
        return change(value) if isinstance(value, str) else value

    changed = table.copy()
    for place, dtype in enumerate(table.dtypes):
        if pd.api.types.is_object_dtype(dtype) or isinstance(dtype, (pd.StringDtype, pd.CategoricalDtype)):
            changed.isetitem(place, table.iloc[:, place].astype(object).map(cell).to_numpy(dtype=object))
    changed.columns = pd.Index([cell(name) for name in table.columns])
    return changed
