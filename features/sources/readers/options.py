"""How a file is to be read, where its bytes do not say so themselves."""

from dataclasses import dataclass
from typing import Final, Literal

BATCH_ROWS: Final = 100_000
"""Rows in memory at a time."""


@dataclass(frozen=True)
class ReadOptions:
    """What a mapping says of a file's text; of other formats only `sheet` counts."""

    encoding: str = "utf-8"
    delimiter: str | None = None
    """Mark between the fields; None: the one of , ; tab | that the first line has most of."""
    quoting: Literal["standard", "none"] = "standard"
    """"none": a quote is a character like any other."""
    multiline: bool = False
    """Whether a quoted field may go over several lines; a file that has such fields is refused where it may not."""
    header: tuple[str, ...] = ()
    """Names of the columns of a file whose first line is data."""
    names: frozenset[str] = frozenset()
    """Columns that somebody asks for: of these none may come twice."""
    sheet: str | None = None
    """Sheet of a workbook; None: the first that holds anything."""
