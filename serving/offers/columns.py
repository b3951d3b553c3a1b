"""States, signals and models in, the columns that conditions are about out: each only when somebody asks for it.

They are those of `omni audience`, which explains them (serving/campaigns/segments.py). What compares a customer with all others
(`lifecycle`, `value_decile`) goes by a `Standing`, which says where the borders were when everybody was last looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import Float32Array, FloatArray
from features.online.live import LiveState
from features.online.many import LiveBatch
from features.signals import SIGNAL_NAMES
from features.state import layout
from features.state.batch import StateBatch
from features.vocabulary import CHANNELS, KIND_CODES, Columns, EventKind
from serving.offers.expression import Kind, Masked
from serving.scorers.bundle import Bundle

DUE, AT_RISK, LAPSED = 1.0, 2.0, 4.0
"""Lifecycle borders, as multiples of the usual gap between purchases."""
NEW_DAYS: Final = 30.0
"""A first purchase this recent, and no second one yet, is a new customer."""
DEFAULT_GAP_DAYS: Final = 30.0
"""The usual gap where nobody has any."""
SAME_MONEY: Final = 6
"""Decimals of money by which two customers are told apart; beyond them it is the rounding of sums."""
NUMBERS: Final[Mapping[str, str]] = {
    "days_since_purchase": "days_since_occasion",
    "usual_gap_days": "gap_mean_days",
    "n_purchases": "n_occasions",
    "spend_365d": "spend_365d",
    "basket_value": "basket_value",
    "customer_for_days": "days_since_first_purchase",
    "cart_products": "cart_products",
    "contacts_30_days": "contacts_30_days",
    "n_contracts": "contracts_total",
    "contract_days": "contract_days",
    "contract_days_left": "contract_days_left",
}
"""Column to signal."""
KINDS: Final[Mapping[str, Kind]] = {
    Columns.CUSTOMER_ID: "text",
    "may_profile": "yesno",
    "churn_probability": "double",
    "expected_purchases": "double",
    "expected_revenue": "double",
    "win_back_uplift": "double",
    "win_back_advice": "text",
    **dict.fromkeys(NUMBERS, "double"),
    "purchase_path": "text",
    "subscription_state": "text",
    **{f"consent_{channel.value}": "yesno" for channel in CHANNELS},
    "lifecycle": "text",
    "value_decile": "whole",
}
"""What each column holds."""
_PURCHASE: Final = KIND_CODES[EventKind.PURCHASE]
_PLACES: Final = {name: place for place, name in enumerate(SIGNAL_NAMES)}
_CONSENTS: Final = {f"consent_{channel.value}": place for place, channel in enumerate(CHANNELS)}


@dataclass(frozen=True)
class Standing:
    """Where one customer stands among all."""

    usual_gap_days: float = DEFAULT_GAP_DAYS
    """Stands in for who has no gap of their own."""
    borders: tuple[float, ...] = ()
    """The least value in each decile from the second on, infinite where no value is in it or above; none: not looked yet."""

    @classmethod
    def of(cls, values: FloatArray, gaps: FloatArray) -> "Standing":
        """By the values of all who ever bought (n,), and everybody's usual gaps (m,), NaN where there is none."""
        gaps = gaps[~np.isnan(gaps)]
        usual = float(np.median(gaps)) if len(gaps) else DEFAULT_GAP_DAYS
        if not len(values):
            return cls(usual)
        known, counts = np.unique(np.round(values, SAME_MONEY), return_counts=True)
        ranks = np.cumsum(counts) - (counts - 1) / 2  # equal values share the middle one of their ranks
        decile = np.ceil(ranks * 10 / len(values))
        return cls(usual, tuple(float(min(known[decile > each], default=np.inf)) for each in range(1, 10)))

    def decile(self, values: FloatArray) -> NDArray[np.int64]:
        """1 to 10 (n,)."""
        return 1 + np.searchsorted(np.array(self.borders), np.round(values, SAME_MONEY), side="right").astype(np.int64)


UNKNOWN_STANDING: Final = Standing()
"""Before anybody was looked at: stages go by the default gap, and no decile is known."""


class CustomerColumns:
    """The columns of n customers, each computed once."""

    def __init__(self, batch: LiveBatch, signals: Float32Array, bundle: Bundle, standing: Standing) -> None:
        """`signals` (n, F) are of what models may look at."""
        self._batch, self._signals, self._bundle, self._standing = batch, signals, bundle, standing
        self._known: dict[str, Masked] = {}

    @classmethod
    def of_one(cls, live: LiveState, signals: Float32Array, bundle: Bundle, standing: Standing) -> "CustomerColumns":
        """Of one customer, with signals (F,)."""
        return cls(LiveBatch.of([live]), signals[None, :], bundle, standing)

    def __len__(self) -> int:
        return len(self._batch)

    def of(self, name: str) -> Masked:
        """One column of KINDS: a number that is NaN is missing."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = _masked(self._compute(name), len(self))
        return known

    def row(self, place: int = 0) -> "CustomerRow":
        """The values of one of them."""
        return CustomerRow(self, place)

    def _compute(self, name: str) -> NDArray[Any] | Masked | None:
        if name in NUMBERS:
            return self._signal(NUMBERS[name])
        if name in _CONSENTS:
            return np.asarray(self._batch.states.channels[:, _CONSENTS[name], layout.CONSENT] == 1)
        return self._others[name]()

    def _signal(self, name: str) -> FloatArray:
        return self._signals[:, _PLACES[name]].astype(np.float64)

    @cached_property
    def _others(self) -> Mapping[str, Callable[[], NDArray[Any] | Masked | None]]:
        batch, win_back = self._batch, self._bundle.win_back
        return {
            Columns.CUSTOMER_ID: lambda: _texts(batch.names),
            "may_profile": lambda: batch.may_profile,
            "churn_probability": lambda: (
                None if self._bundle.churn is None else self._bundle.churn.probability(self._signals)
            ),
            "expected_purchases": lambda: self._expected(0),
            "expected_revenue": lambda: self._expected(1),
            "win_back_uplift": lambda: None if win_back is None else win_back.score.uplift(self._signals),
            "win_back_advice": lambda: (
                None if win_back is None else _texts(win_back.score.advice(self.of("win_back_uplift").values).tolist())
            ),
            "purchase_path": lambda: _texts([purchase_path(batch.scored.one(row)) for row in range(len(self))]),
            "subscription_state": lambda: subscription_states(batch.states),
            "lifecycle": self._lifecycle,
            "value_decile": self._decile,
        }

    def _expected(self, place: int) -> FloatArray | None:
        expected = None if self._bundle.churn is None else self._bundle.churn.expectations(self._signals)
        return None if expected is None else expected[place]

    def _lifecycle(self) -> NDArray[np.object_]:
        names = ("days_since_purchase", "usual_gap_days", "n_purchases", "contract_days", "n_contracts")
        return stages(*(self._signal(NUMBERS[name]) for name in names), usual_gap_days=self._standing.usual_gap_days)

    def _decile(self) -> Masked | None:
        if not self._standing.borders:
            return None
        never = np.isnan(self._signal(NUMBERS["days_since_purchase"]))
        return Masked(self._standing.decile(np.nan_to_num(self.value())), never)

    def value(self) -> FloatArray:
        """What customers are ranked by (n,): expected revenue, or money spent lately; NaN where it is not known."""
        revenue = self._expected(1)
        return self._signal(NUMBERS["spend_365d"]) if revenue is None else revenue


class CustomerRow:
    """The values of one customer by column, as `LiveCondition.holds` asks for them."""

    def __init__(self, columns: CustomerColumns, place: int) -> None:
        self._columns, self._place = columns, place
        self._known: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            values, missing = self._columns.of(name)
            self._known[name] = None if missing[self._place] else values[self._place : self._place + 1].tolist()[0]
        return self._known[name]


def stages(
    since: FloatArray,
    gap: FloatArray,
    n_purchases: FloatArray,
    contract_days: FloatArray,
    n_contracts: FloatArray,
    *,
    usual_gap_days: float,
) -> NDArray[np.object_]:
    """The stage (n,) of each customer; `usual_gap_days` stands in for who has no gap of their own.

    Who pays for a contract and bought nothing beside it is active while it runs and lapsed after it.
    """
    overdue = since / np.maximum(np.where(np.isnan(gap), usual_gap_days, gap), 1.0)
    new = (n_purchases <= 1) & (since <= NEW_DAYS)
    never = ~np.isfinite(since)
    pays, paid = ~np.isnan(contract_days), n_contracts > 0
    cases = [never & pays, never & paid, never, new, overdue > LAPSED, overdue > AT_RISK, overdue > DUE]
    names = ["active", "lapsed", "prospect", "new", "lapsed", "at_risk", "due"]
    return np.select(cases, names, "active").astype(object)


def purchase_path(state: StateBatch) -> str:
    """Channels that a customer (n = 1) bought on, in the order of their first purchases; '' without any."""
    codes = state.pair_codes.values.tolist()
    return ">".join(CHANNELS[code // layout.N_KINDS].value for code in codes if code % layout.N_KINDS == _PURCHASE)


def subscription_states(states: StateBatch) -> NDArray[np.object_]:
    """Whether each (n,) said yes on any channel, else no on any, or was never asked."""
    consents = states.channels[:, :, layout.CONSENT]
    said = [(consents == 1).any(axis=1), (consents == 0).any(axis=1)]
    return np.select(said, ["subscribed", "unsubscribed"], "never_asked").astype(object)


def _texts(values: Sequence[str]) -> NDArray[np.object_]:
    texts = np.empty(len(values), dtype=object)
    texts[:] = values
    return texts


def _masked(values: NDArray[Any] | Masked | None, n: int) -> Masked:
    if isinstance(values, Masked):
        return values
    if values is None:
        return Masked(np.zeros(n, np.bool_), np.ones(n, np.bool_))
    if values.dtype == object:
        return Masked(values, np.array([value is None for value in values.tolist()], np.bool_))
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), np.bool_)
    return Masked(values, missing)
