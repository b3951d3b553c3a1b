"""Amounts with their currencies come in; the rows go out whose amount no shop takes for one thing: a wrong unit, or worse.

One such amount would drown every sum, mean and model that it enters. What is too much is said in units of the currency: a
hundred million of one that is worth about as much as a euro, more of those that are counted in thousands. A home that sells
dearer things says so in OMNI_HOME/limits.toml.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, StringConstraints

from features.config import Config, load_own
from features.events.rules import Problem
from features.events.values import MAX_NUMBER
from features.vocabulary import Columns

LIMITS_FILE: Final = "limits.toml"
MAX_UNITS: Final = 1e8
"""Of a currency that is not in SMALL_UNITS."""
SMALL_UNITS: Final = {
    100: "ALL AMD DJF DZD HUF INR ISK JPY KES KGS LKR NPR PHP PKR RSD RUB XPF",
    1_000: "AOA ARS BIF CDF CLP COP CRC IQD KMF KRW KZT MGA MMK MNT MWK NGN RWF SDG SOS SSP TZS UGX XAF XOF YER",
    100_000: "GNF IDR IRR KHR LAK LBP PYG SLL SYP UZS VND",
}
"""How many times MAX_UNITS is the most in currencies of which a euro buys tens, hundreds, or thousands and more."""
_DEFAULTS: Final = {code: MAX_UNITS * times for times, codes in SMALL_UNITS.items() for code in codes.split()}


class LimitsConfig(Config):
    """OMNI_HOME/limits.toml."""

    max_value: dict[
        Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")], Annotated[float, Field(gt=0, le=MAX_NUMBER)]
    ] = Field(default_factory=dict)
    """Largest amount of one event or price, by currency, for example `EUR = 5e8`; others keep the defaults."""

    def largest(self, code: str | None) -> float:
        """Most units of a currency on one event; None is a currency that nobody knows yet."""
        return self.max_value.get(code or "", _DEFAULTS.get(code or "", MAX_UNITS))

    @cached_property
    def smallest(self) -> float:
        """What no amount exceeds that is within the limit of its currency, whichever it is."""
        return min([MAX_UNITS, *self.max_value.values()])

    def exceeded(
        self, amounts: pa.ChunkedArray, currencies: pa.ChunkedArray, home: str | None, of: str = Columns.VALUE
    ) -> dict[int, Problem]:
        """The problem of every row, by its place, whose amount is beyond the limit of its currency, or of the home's."""
        top = pc.max(pc.abs(amounts)).as_py()
        if top is None or top <= self.smallest:
            return {}  # nearly always, and at once
        problems = {}
        suspects = np.flatnonzero(pc.fill_null(pc.greater(pc.abs(amounts), self.smallest), False).to_numpy())
        for place in suspects.tolist():
            code, amount = currencies[place].as_py() or home, amounts[place].as_py()
            if abs(amount) > self.largest(code):
                problems[place] = Problem(of, _words(amount, code, self.largest(code)))
        return problems


def load_limits(home: Path) -> LimitsConfig:
    """The limits of a home. Raises InputError for a bad file."""
    return load_own(LimitsConfig, home / LIMITS_FILE)


def _words(amount: float, code: str | None, largest: float) -> str:
    unit = f" {code}" if code else ""
    mend = f"raise it under [max_value] in {LIMITS_FILE} in OMNI_HOME" if code else "name its currency"
    return f"is {amount:.15g}{unit}, and {largest:.6g} is the most on one event: check its unit, or {mend}."
