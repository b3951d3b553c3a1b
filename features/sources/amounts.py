"""Columns of numbers as people write them come in; numbers and written currencies go out, and a problem for each bad one.

Nothing is guessed: a number is written in the file's declared style (`decimal`, `thousands`), or its row is refused. Money
may carry its currency, "12.50 EUR" or "€12"; it then has to be the one that the row names.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.events.rules import Problem
from features.events.values import shorten

CURRENCIES: Final = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY
    COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS
    INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU
    MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK
    SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD
    XOF XPF YER ZAR ZMW ZWL
    """.split()  # noqa: SIM905 - a list of 155 texts is no better to read
)
"""Codes of ISO 4217 that may stand beside an amount: three other letters there, as in "12 PCS", are no money."""
_DOLLARS: Final = (
    "ARS AUD BBD BMD BND BSD BZD CAD CLP COP FJD GYD HKD JMD KYD LRD MXN NAD NZD SBD SGD SRD TTD TWD USD UYU XCD"
)
SYMBOLS: Final[dict[str, frozenset[str]]] = {
    "€": frozenset({"EUR"}),
    "£": frozenset({"GBP"}),
    "$": frozenset(_DOLLARS.split()),
    "¥": frozenset({"JPY", "CNY"}),
}
"""What a mark may stand for."""
_SPACES: Final = str.maketrans(
    {"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2212": "-", "\u2019": "'"}
)  # as programs for tables write spaces, minus and apostrophe
_MARK: Final = rf"[A-Z]{{3}}|[{''.join(SYMBOLS)}]"
_money = re.compile(rf"([+-]?) ?({_MARK})? ?([+-]?[^A-Z{''.join(SYMBOLS)}]+?(?:E[+-]?\d+)?) ?({_MARK})?")


class Money(NamedTuple):
    """Amounts (n,), float64, and the currency (n,), text, that each row names, or else the one that is written with it."""

    amounts: pa.Array
    currencies: pa.Array


class _Read(NamedTuple):
    number: float
    marks: frozenset[str] | None
    """The currencies that what stands beside the number may mean; None where nothing does."""


def parse_numbers(
    name: str, column: pa.ChunkedArray, problems: dict[int, Problem], decimal: str = ".", thousands: str = ""
) -> pa.Array:
    """Numbers (n,) from text like "1.234,50" or "-3", or from a number column; null where it is missing.

    Groups of thousands must be whole: with thousands "." the text "12.50" is refused, not read as 1250.
    """
    return _parse(name, column, problems, decimal, thousands, money=False)[0]


def parse_money(
    name: str,
    column: pa.ChunkedArray,
    currencies: pa.Array | pa.ChunkedArray | None,
    problems: dict[int, Problem],
    decimal: str = ".",
    thousands: str = "",
) -> Money:
    """`parse_numbers` of amounts that may be written with their currency; `currencies` (n,) are those that the rows name.

    A currency that is written and is not the row's is a problem, and so is a mark that several currencies share where
    the row names none.
    """
    named = pa.nulls(len(column), pa.string()) if currencies is None else _combine(currencies).cast(pa.string())
    numbers, marks = _parse(name, column, problems, decimal, thousands, money=True)
    if not marks:
        return Money(numbers, named)
    texts = named.to_pylist()
    for place, may_be in marks.items():
        if texts[place] is None and len(may_be) == 1:
            texts[place] = next(iter(may_be))
        elif texts[place] is None:
            reason = f"is {shorten(column[place].as_py())}, in a mark of several currencies: name the currency as well."
            problems.setdefault(place, Problem(name, reason))
        elif texts[place] not in may_be:
            reason = (
                f"is {shorten(column[place].as_py())}, and its row's currency is {texts[place]}: correct one of them."
            )
            problems.setdefault(place, Problem(name, reason))
    return Money(numbers, pa.array(texts, pa.string()))


def _parse(
    name: str, column: pa.ChunkedArray, problems: dict[int, Problem], decimal: str, thousands: str, *, money: bool
) -> tuple[pa.Array, dict[int, frozenset[str]]]:
    """Numbers (n,), and by its place what stands beside a number."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return _combine(column.cast(pa.float64(), safe=False)), {}
    values = np.full(len(column), np.nan)
    marks: dict[int, frozenset[str]] = {}
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    plain = pc.match_substring_regex(column, r"^ *-?\d{1,15}(\.\d+)? *$") if is_text and decimal == "." else None
    if plain is not None and thousands != ".":  # most are written like this: these need not be looked at one by one
        read = _combine(pc.if_else(plain, pc.utf8_trim(column, " "), None).cast(pa.float64()))
        values = read.to_numpy(zero_copy_only=False).copy()
    style = f'decimal = "{decimal}"' + (f' and thousands = "{thousands}"' if thousands else " and no thousands mark")
    rest = pc.and_(column.is_valid(), pc.is_nan(pa.array(values)))
    for place in pc.indices_nonzero(rest).to_pylist():
        text = column[place].as_py()
        if is_text and not text.strip():
            continue
        amount = _read(text, decimal, thousands, money) if is_text else None
        if amount is None:
            wrong = f"is {shorten(text)}, which is not a number written with {style}"
            reason = f"{wrong}: write it so, or say its style in a mapping."
            problems.setdefault(place, Problem(name, reason))
            continue
        values[place] = amount.number
        if amount.marks is not None:
            marks[place] = amount.marks
    return pa.array(values, pa.float64(), from_pandas=True), marks


@lru_cache(maxsize=65_536)
def _read(text: str, decimal: str, thousands: str, money: bool) -> _Read | None:
    """A number as it is written, None where it is not one in this style."""
    words = text.translate(_SPACES).strip()
    if not money:
        number = _number(words, decimal, thousands)
        return None if number is None else _Read(number, None)
    match = _money.fullmatch(words.upper())
    if match is None:
        return None
    sign, before, digits, after = match.groups()
    if (before and after) or (sign and digits[0] in "+-"):
        return None
    mark = before or after
    if mark is not None and mark not in SYMBOLS and mark not in CURRENCIES:
        return None
    number = _number(sign + digits, decimal, thousands)
    if number is None:
        return None
    return _Read(number, None if mark is None else SYMBOLS.get(mark, frozenset({mark})))


def _number(text: str, decimal: str, thousands: str) -> float | None:
    point, group = re.escape(decimal), re.escape(thousands)
    grouped = rf"|\d{{1,3}}({group}\d{{3}})+" if thousands else ""
    if not re.fullmatch(rf"[+-]?(\d+{grouped})({point}\d+)?([eE][+-]?\d+)?", text, re.ASCII):
        return None
    return float((text.replace(thousands, "") if thousands else text).replace(decimal, "."))


def _combine(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
