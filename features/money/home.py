"""Events and prices in any currency come in; they go out in the home's, by dated rates, or are refused with the reason.

Money of two currencies is never added up. A home counts in one: the setting `currency`, or else the one of the first value
that names any; the log keeps it. What names no currency is in the home's.

Where the very first values are in several currencies, the home counts in the commonest of them, and says so. Values of that
load in others, of which there is no rate, are kept as they came: whoever reads them from the log is given no money for them,
or what they are worth once there is a rate (counted.py).
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.arrays import IntArray
from features.errors import InputError, SettingsError
from features.events.payload import CONVERTED_FROM
from features.events.rows import EventRow
from features.events.rules import Problem
from features.money.counted import days_of, with_columns
from features.money.limits import load_limits
from features.money.rates import DECIMALS, RATES_FILE, RatesFile
from features.settings import Settings
from features.vocabulary import Columns

logger = logging.getLogger(__name__)

_LATEST_DAY: Final = np.iinfo(np.int64).max


class Screened(NamedTuple):
    """Rows in the home's currency, and the problem of each row that could not be brought there, by its place in the input."""

    table: pa.Table
    problems: dict[int, Problem]


class CurrencyBook(Protocol):
    """Where it is kept what a home counts in: the event log."""

    def currency(self) -> str | None:
        """The currency of the values; None as long as none was settled."""
        ...

    def settle_currency(self, code: str) -> str:
        """Settle the currency where none is yet; the one that holds."""
        ...

    def known_ids(self, event_ids: Sequence[str]) -> set[str]:
        """Those of the ids of which there is an event already."""
        ...


class HomeCurrency:
    """The one currency in which this home counts; safe to use from several threads."""

    def __init__(self, settings: Settings, log: CurrencyBook) -> None:
        """Raises SettingsError where the setting names another currency than the one that the log counts in, InputError for
        a bad limits.toml.
        """
        self._rates = RatesFile(settings.home / RATES_FILE)
        self._limits = load_limits(settings.home)
        self._stated, self._log = settings.currency, log
        self._settled = logged = log.currency()
        self._opening = False
        if self._stated and logged and logged != self._stated:
            raise SettingsError(
                f"OMNI_CURRENCY is {self._stated}, and the values in the event log are in {logged}.",
                repair=f"Leave it out or set it to {logged}; to count in {self._stated}, ingest into a new OMNI_HOME.",
            )

    @property
    def code(self) -> str | None:
        """The home's currency; None as long as nothing says which."""
        return self._settled or self._log.currency() or self._stated or None

    def begin_load(self, counts: Mapping[str, int]) -> None:
        """All that is screened from here on is one load: `counts` are its values by currency ("" for none), as they came.

        Where the home has no currency yet, the load as a whole settles it, and none of it is refused for want of a rate.
        """
        self._opening = self.code is None
        named = Counter({name: count for name, count in counts.items() if name})
        if self._opening and named:
            with suppress(InputError):  # each row is told so
                self._settle(named, opening=True)

    def screen(self, events: pa.Table) -> Screened:
        """Valid events (EVENT_SCHEMA): those with a value in another currency are converted by the rate of their day (UTC).

        Their properties keep what they came as. Those without a rate, or beyond the limit of their currency, are not in the
        table, but among the problems; but where these are the first values of all, those without a rate stay as they came.
        """
        home = self._settled or self._stated
        over = self._limits.exceeded(events[Columns.VALUE], events[Columns.CURRENCY], home)
        kept = np.delete(np.arange(events.num_rows), list(over))
        return _beside(over, kept, self._convert(events.take(pa.array(kept)) if over else events))

    def leaves(self, rows: Iterable[EventRow]) -> bool:
        """Whether `screen` would leave these as they are, as far as that is known without asking the log or the rates."""
        smallest = self._limits.smallest
        return all(
            (row.value is None or abs(row.value) <= smallest) and row.currency in (None, self._settled) for row in rows
        )

    def _convert(self, events: pa.Table) -> Screened:
        named = events[Columns.CURRENCY]
        if named.null_count == events.num_rows or set(named.unique().to_pylist()) <= {None, self._settled}:
            return Screened(events, {})  # nearly always, and at once
        valued = events[Columns.VALUE].is_valid()
        currencies = pc.if_else(valued, events[Columns.CURRENCY], None)
        opening = self._opening or self.code is None
        rates, problems = self._rates_of(currencies, events[Columns.OCCURRED_AT], opening=opening)
        if rates is None:
            return Screened(events, {})
        problems = self._of_new(events, problems)
        foreign = np.flatnonzero(~np.isnan(rates))
        values = events[Columns.VALUE].to_numpy().copy()
        texts, names = events[Columns.PROPERTIES].to_pylist(), events[Columns.CURRENCY].to_pylist()
        for row in foreign.tolist():
            came = {"value": values[row], "currency": names[row], "rate": rates[row]}
            known = json.loads(texts[row]) if texts[row] else {}
            texts[row] = json.dumps({**known, CONVERTED_FROM: came}, ensure_ascii=False, separators=(",", ":"))
            values[row] = round(values[row] * rates[row], DECIMALS)
            names[row] = self.code
        converted = {
            Columns.VALUE: pa.array(values, pa.float64(), mask=events[Columns.VALUE].is_null().to_numpy()),
            Columns.CURRENCY: pa.array(names, pa.string()),
            Columns.PROPERTIES: pa.array(texts, pa.string()),
        }
        return Screened(_without(with_columns(events, converted), problems), problems)

    def _of_new(self, events: pa.Table, problems: dict[int, Problem]) -> dict[int, Problem]:
        """The problems but of events that the log holds: it stays as it is, and to bring it all again is no mistake."""
        if not problems:
            return problems
        ids = dict(zip(problems, events[Columns.EVENT_ID].take(pa.array(list(problems))).to_pylist(), strict=True))
        known = self._log.known_ids([*ids.values()])
        return {row: problem for row, problem in problems.items() if ids[row] not in known}

    def screen_prices(self, products: pa.Table, moments: pa.Array | None = None) -> Screened:
        """Products (PRODUCT_SCHEMA) with prices in the home's currency, by the rates of `moments` (n,) or else the newest.

        Products whose price has no rate, or is beyond the limit of its currency, are not in the table, but among the
        problems.
        """
        home = self._settled or self._stated
        over = self._limits.exceeded(products[Columns.PRICE], products[Columns.CURRENCY], home, Columns.PRICE)
        if not over:
            return self._convert_prices(products, moments)
        kept = np.delete(np.arange(products.num_rows), list(over))
        rest = products.take(pa.array(kept)), None if moments is None else moments.take(pa.array(kept))
        return _beside(over, kept, self._convert_prices(*rest))

    def _convert_prices(self, products: pa.Table, moments: pa.Array | None) -> Screened:
        priced = products[Columns.PRICE].is_valid()
        rates, problems = self._rates_of(pc.if_else(priced, products[Columns.CURRENCY], None), moments, Columns.PRICE)
        if rates is None:
            return Screened(products, {})
        foreign = ~np.isnan(rates)
        prices = products[Columns.PRICE].to_numpy()
        names = pc.if_else(pa.array(foreign), self.code, products[Columns.CURRENCY])
        prices = np.where(foreign, np.round(prices * rates, DECIMALS), prices)
        missing = products[Columns.PRICE].is_null().to_numpy()
        converted = {Columns.PRICE: pa.array(prices, pa.float64(), mask=missing), Columns.CURRENCY: names}
        return Screened(_without(with_columns(products, converted), problems), problems)

    def _rates_of(
        self,
        currencies: pa.ChunkedArray,
        moments: pa.ChunkedArray | pa.Array | None,
        of: str = Columns.CURRENCY,
        opening: bool = False,
    ) -> tuple[np.ndarray | None, dict[int, Problem]]:
        """The rate (n,) of every row of another currency, NaN of others, and the rows without; None: all are the home's.

        Where they are `opening`, being without a rate is no problem.
        """
        counts: Counter[str] = Counter()
        for row in pc.value_counts(currencies.drop_null()).to_pylist():
            counts[row["values"]] += row["counts"]
        if not counts or set(counts) == {self._settled}:
            return None, {}
        try:
            home = self._settle(counts, opening)
            known = None if home is None or set(counts) == {home} else self._rates.to(home)
        except InputError as error:
            return np.full(len(currencies), np.nan), self._unreadable(currencies, of, error)
        if home is None:
            return np.full(len(currencies), np.nan), _undecided(currencies, of)
        if known is None:
            return None, {}
        rates = np.full(len(currencies), np.nan)
        problems: dict[int, Problem] = {}
        days = np.full(len(currencies), _LATEST_DAY) if moments is None else days_of(moments)
        for name in sorted(set(counts) - {home}):
            rows = np.flatnonzero(pc.fill_null(pc.equal(currencies, name), False).to_numpy(zero_copy_only=False))
            rates[rows] = known.on(name, days[rows])
            for row in [] if opening else rows[np.isnan(rates[rows])].tolist():
                since = "" if moments is None else f" for {np.datetime64(int(days[row]), 'D')} or before"
                reason = (
                    f"{_of(of)} {name}, and this home counts in {home}: put a rate of {name}{since} into {RATES_FILE} in"
                    " OMNI_HOME (date,currency,rate) and bring it again, or convert it."
                )
                problems[row] = Problem(of, reason)
        return rates, problems

    def _settle(self, counts: Counter[str], opening: bool) -> str | None:
        """The home's currency, which from now on is this one; None where several come and none of them is known to be it."""
        if self._settled is None:
            first = self._stated or (next(iter(counts)) if len(counts) == 1 else None)
            commonest = self._commonest(counts) if first is None and opening else None
            chosen = first or commonest
            self._settled = self._log.currency() if chosen is None else self._log.settle_currency(chosen)
            if commonest is not None and self._settled == commonest:
                _warn_of_choice(counts, commonest)
        return self._settled

    def _commonest(self, counts: Counter[str]) -> str | None:
        """Of the currencies that have no rate: what has one is told in the home's. Raises InputError for a bad rates.csv."""
        rated = self._rates.to("").by_currency
        left = Counter({name: count for name, count in counts.items() if name not in rated})
        return left.most_common(1)[0][0] if left else None

    def _unreadable(self, currencies: pa.ChunkedArray, of: str, error: InputError) -> dict[int, Problem]:
        """The problem of every row in another currency than the home's: the rates cannot be read."""
        return {
            row: Problem(of, f"is {name}, which has no rate: {error}")
            for row, name in enumerate(currencies.to_pylist())
            if name not in (None, self._settled)
        }


def _warn_of_choice(counts: Counter[str], home: str) -> None:
    brought = ", ".join(f"{count:,} in {name}" for name, count in counts.most_common())
    logger.warning(
        "The first values of this home are in several currencies (%s). It counts in %s from now on, the commonest without a"
        " rate; values in others are kept as they came and count as no money as long as %s in OMNI_HOME (date,currency,rate)"
        " has no rate of them. Put the rates there and run: omni features build --force. To count in another currency, set"
        " OMNI_CURRENCY and ingest into a new OMNI_HOME.",
        brought,
        home,
        RATES_FILE,
    )


def _beside(over: dict[int, Problem], kept: IntArray, screened: Screened) -> Screened:
    """What became of the rows `kept` (n,), and the problems of the others."""
    if not over:
        return screened
    return Screened(screened.table, over | {int(kept[row]): problem for row, problem in screened.problems.items()})


def _undecided(currencies: pa.ChunkedArray, of: str) -> dict[int, Problem]:
    names = currencies.to_pylist()
    several = ", ".join(sorted({name for name in names if name is not None}))
    return {
        row: Problem(
            of,
            f"{_of(of)} {name}, and there are several ({several}) before it is known in which this home counts: set"
            f" OMNI_CURRENCY (or currency in settings.toml), put rates of the others into {RATES_FILE}, and bring it again.",
        )
        for row, name in enumerate(names)
        if name is not None
    }


def _of(field: str) -> str:
    return "is" if field == Columns.CURRENCY else "is in"


def _without(table: pa.Table, problems: dict[int, Problem]) -> pa.Table:
    if not problems:
        return table
    good = np.ones(table.num_rows, np.bool_)
    good[list(problems)] = False
    return table.filter(pa.array(good))
