"""A customer's state (and, where it has forgotten, the log) in; what they bought, for rules, and reasons in words out."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, ByteArray, FloatArray, IntArray
from features.online.live import LiveState
from features.state import layout
from features.state.batch import StateBatch
from features.state.bought import BoughtProducts
from features.state.kernel_products import in_filter
from features.vocabulary import DAY_S, KIND_CODES, EventKind
from serving.decision.rules import RHYTHM_OCCASIONS, ProductHistory, Rules, is_due
from serving.decision.state_rows import StateRows
from serving.words import days

SEEN_VERBS: Final = {
    KIND_CODES[EventKind.VIEW]: "viewed",
    KIND_CODES[EventKind.ADD_TO_CART]: "put in the cart",
}
"""What the recent sequence tells of a product, in words, by the kind's code."""
_LAPSED_GAPS = 3.0
"""A product that was not bought for this many of its usual gaps is no longer due: the habit has lapsed."""


@dataclass(frozen=True, eq=False)
class PurchaseHistory:
    """What a customer bought, by the product's code: exact for every rule, and the log is read only where a rule needs it."""

    remembered: Mapping[int, ProductHistory]
    """What their state holds."""
    forgotten_days: float = math.inf
    """Days since the latest purchase of a product that the state has forgotten; infinite where it holds them all."""
    forgotten: ByteArray | None = None
    """The state's filter of those products."""
    ask: Callable[[], Mapping[int, ProductHistory]] | None = None
    """Everything, from the log."""

    @cached_property
    def all(self) -> Mapping[int, ProductHistory]:
        """Every product that was ever bought."""
        return self.remembered if math.isinf(self.forgotten_days) or self.ask is None else self.ask()

    def within(self, days: float) -> Mapping[int, ProductHistory]:
        """Products, with right last purchases, among which are all that were bought in the last `days` days."""
        return self.all if self.forgotten_days < days else self.remembered

    def lately(self, code: int, days: float) -> ProductHistory | None:
        """A product's whole history where it was bought in the last `days` days; else what the state says of it."""
        own = self.remembered.get(code)
        if own is None:
            return None if self.is_new(code) else self.within(days).get(code)
        return self.all.get(code, own) if own.earlier and own.last_days < days else own

    def is_new(self, code: int) -> bool:
        """Whether the customer surely never bought a product."""
        if code in self.remembered:
            return False
        return math.isinf(self.forgotten_days) or (self.forgotten is not None and not in_filter(self.forgotten, code))


def purchase_history(live: LiveState, as_of_s: float) -> PurchaseHistory:
    """What a customer bought, as of a moment; nothing of who refused profiling."""
    state = live.scored
    stats = state.habit_stats.values
    forgotten_s = float(state.scalar("forgotten_until")[0])
    return PurchaseHistory(
        _histories(
            state.habit_product.values,
            stats[:, layout.HABIT_OCCASIONS].astype(np.int64),
            (stats[:, layout.HABIT_FIRST], stats[:, layout.HABIT_BEGAN], stats[:, layout.HABIT_LAST]),
            as_of_s,
            stats[:, layout.HABIT_EARLIER] > 0,
        ),
        math.inf if math.isnan(forgotten_s) else (as_of_s - forgotten_s) / DAY_S,
        state.forgotten[0],
        None if live.bought is None else partial(_ask, live.bought, as_of_s),
    )


def _ask(bought: Callable[[], BoughtProducts], as_of_s: float) -> StateRows[ProductHistory]:
    products = bought()
    moments = products.first_s, products.began_s, products.last_s
    return _histories(products.code, products.occasions, moments, as_of_s, np.zeros(len(products.code), np.bool_))


def _histories(
    codes: IntArray,
    counts: IntArray,
    moments: tuple[FloatArray, FloatArray, FloatArray],
    as_of_s: float,
    earlier: BoolArray,
) -> StateRows[ProductHistory]:
    """`counts` are occasions; `moments` when the first of them began, when the last one did, and the last purchase."""
    firsts, began, lasts = moments

    def columns() -> Sequence[NDArray[Any]]:
        gaps = (began - firsts) / DAY_S / np.maximum(counts - 1, 1)
        return counts, gaps, np.maximum(0.0, (as_of_s - lasts) / DAY_S), earlier

    return StateRows(codes, columns, _history)


def history_of_row(habit: FloatArray, as_of_s: float) -> ProductHistory:
    """The history that one row of a state's habits (HABIT_WIDTH,) tells, as of a moment."""
    count = int(habit[layout.HABIT_OCCASIONS])
    gap_days = (habit[layout.HABIT_BEGAN] - habit[layout.HABIT_FIRST]) / DAY_S / max(count - 1, 1)
    last_days = max(0.0, (as_of_s - habit[layout.HABIT_LAST]) / DAY_S)
    return _history(count, float(gap_days), float(last_days), bool(habit[layout.HABIT_EARLIER] > 0))


def _history(count: int, gap_days: float, last_days: float, earlier: bool) -> ProductHistory:
    return ProductHistory(count, gap_days if count > 1 else None, last_days, earlier)


def product_reasons(
    code: int, state: StateBatch, histories: PurchaseHistory, rules: Rules, as_of_s: float
) -> list[str]:
    """What the customer did with this product, in words; nothing for one that is new to them."""
    in_cart = len(state.cart_product.values) > 0 and code in state.cart_product.values
    return done_in_words(histories.remembered.get(code), in_cart, _seen(code, state, as_of_s), rules)


def done_in_words(
    history: ProductHistory | None, in_cart: bool, seen_days: Mapping[int, float], rules: Rules
) -> list[str]:
    """What was done with a product, in words; `seen_days` ago it was last viewed or put in the cart, by the kind's code."""
    reasons = []
    if history is not None:
        reasons += _times(history)
        if history.gap_days is not None:
            usual = history.count >= RHYTHM_OCCASIONS
            reasons.append(
                f"bought about every {days(history.gap_days)}" if usual else f"{days(history.gap_days)} apart"
            )
        reasons.append(f"last bought {days(history.last_days)} ago{_timeliness(history, rules)}")
    if in_cart:
        reasons.append("in the open cart")
    return reasons + [f"{verb} {days(seen_days[kind])} ago" for kind, verb in SEEN_VERBS.items() if kind in seen_days]


def _times(history: ProductHistory) -> list[str]:
    if history.earlier:
        return [f"bought {history.count} times lately"] if history.count > 1 else []
    return [f"bought {history.count} times" if history.count > 1 else "bought once"]


def _timeliness(history: ProductHistory, rules: Rules) -> str:
    if not is_due(history, rules) or history.gap_days is None:
        return ""
    return ": due" if history.last_days <= _LAPSED_GAPS * history.gap_days else ": lapsed, worth a reminder"


def _seen(code: int, state: StateBatch, as_of_s: float) -> dict[int, float]:
    """Days since the latest view of a product, and the latest time in the cart, by the kind's code: of the recent sequence."""
    at = np.flatnonzero(state.seq_product.values == code)
    kinds = (state.seq_event.values[at] // layout.EVENT_CODE_BASE).tolist()
    seen_days = {}
    for kind in SEEN_VERBS:
        if kind in kinds:
            newest = at[len(kinds) - 1 - kinds[::-1].index(kind)]
            seen_days[kind] = max(0.0, as_of_s - float(state.seq_time.values[newest])) / DAY_S
    return seen_days
