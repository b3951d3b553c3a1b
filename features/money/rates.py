"""OMNI_HOME/rates.csv comes in; what a unit of a currency was worth in the home's on any day goes out.

date,currency,rate     one line per change: from that day on, one unit of `currency` is `rate` of the home's currency
2024-05-01,USD,0.93
"""

import csv
import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

from features.arrays import FloatArray, IntArray
from features.errors import InputError
from features.events.values import CURRENCY

RATES_FILE: Final = "rates.csv"
DECIMALS: Final = 6
"""Of a converted amount."""
_HEADER: Final = ["date", "currency", "rate"]
_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True)
class Rates:
    """By currency: days since 1970, ascending, shape (n,), and the rate from each of them on, shape (n,)."""

    by_currency: dict[str, tuple[IntArray, FloatArray]] = field(default_factory=dict)

    def on(self, currency: str, days: IntArray) -> FloatArray:
        """The newest rate on or before each of `days` (m,), since 1970; NaN where there is none."""
        if currency not in self.by_currency:
            return np.full(len(days), np.nan)
        since, rates = self.by_currency[currency]
        places = np.searchsorted(since, days, side="right")
        return np.append(np.nan, rates)[places]


class RatesFile:
    """The rates as they are in the file now, which is read again where it has changed; safe to use from several threads."""

    def __init__(self, file: Path | None) -> None:
        """Without a file there are no rates."""
        self._file = file
        self._read: tuple[tuple[int, int, str] | None, Rates] = None, Rates()

    def to(self, home: str) -> Rates:
        """The rates to the currency `home`. Raises InputError that names the line to mend."""
        if self._file is None or not self._file.exists():
            return Rates()
        facts = self._file.stat()
        stamp = facts.st_mtime_ns, facts.st_size, home
        held, rates = self._read
        if held != stamp:
            rates = read_rates(self._file, home)
            self._read = stamp, rates
        return rates


NO_RATES: Final = RatesFile(None)


def read_rates(file: Path, home: str) -> Rates:
    """The rates to the currency `home`; none where there is no file. Raises InputError that names the line to mend."""
    if not file.exists():
        return Rates()
    lines: dict[str, dict[int, float]] = defaultdict(dict)
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = [name.strip() for name in next(reader, [])]
            if header != _HEADER:
                raise _wrong(file, 1, f"the header is {','.join(header)!r}, not {','.join(_HEADER)}")
            for row in reader:
                if not "".join(row).strip():
                    continue
                day, currency, rate = _parse(file, reader.line_num, row, home)
                if lines[currency].setdefault(day, rate) != rate:
                    raise _wrong(file, reader.line_num, f"{currency} has another rate on that day already")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read: {error}.", repair="Write it as UTF-8 text with commas.") from error
    return Rates(
        {
            currency: (np.array(sorted(rates), np.int64), np.array([rates[day] for day in sorted(rates)]))
            for currency, rates in lines.items()
        }
    )


def _parse(file: Path, line: int, row: list[str], home: str) -> tuple[int, str, float]:
    if len(row) != len(_HEADER):
        raise _wrong(file, line, f"it has {len(row)} fields, not {len(_HEADER)}")
    written, currency, number = (text.strip() for text in row)
    try:
        day = (date.fromisoformat(written) - _EPOCH).days
    except ValueError as error:
        raise _wrong(file, line, f"{written!r} is no date like 2024-05-01") from error
    if not re.fullmatch(CURRENCY, currency):
        raise _wrong(file, line, f"{currency!r} is not three capital letters like USD")
    try:
        rate = float(number)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise _wrong(file, line, f"{number!r} is no rate above 0")
    if currency == home and rate != 1:
        raise _wrong(file, line, f"{home} is the currency of this home, whose rate is 1")
    return day, currency, rate


def _wrong(file: Path, line: int, what: str) -> InputError:
    return InputError(f"{file}, line {line}: {what}.", repair="Lines are date,currency,rate: 2024-05-01,USD,0.93")
