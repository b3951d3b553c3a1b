"""Numbers behind an answer in, short sentences that a marketer can read out."""

from collections.abc import Mapping

import numpy as np

from features.state import layout
from features.state.batch import StateBatch
from features.vocabulary import DAY_S, KIND_CODES, EventKind
from serving.decision.rules import ProductHistory, Rules, is_due
from serving.words import days

_VERBS = {
    KIND_CODES[EventKind.VIEW]: "viewed",
    KIND_CODES[EventKind.ADD_TO_CART]: "put in the cart",
}
_LAPSED_GAPS = 3.0
"""A product that was not bought for this many of its usual gaps is no longer due: the habit has lapsed."""


def purchase_history(state: StateBatch, as_of_s: float) -> dict[int, ProductHistory]:
    """Product code to what a customer's state (n = 1) remembers of buying it."""
    stats = state.habit_stats.values
    counts = stats[:, layout.HABIT_COUNT].astype(np.int64).tolist()
    gaps = (stats[:, layout.HABIT_SPAN] / np.maximum(stats[:, layout.HABIT_COUNT] - 1, 1)).tolist()
    lasts = np.maximum(0.0, (as_of_s - stats[:, layout.HABIT_LAST]) / DAY_S).tolist()
    codes = state.habit_product.values.tolist()
    return {
        code: ProductHistory(count, gap if count > 1 else None, last)
        for code, count, gap, last in zip(codes, counts, gaps, lasts, strict=True)
    }


def product_reasons(
    code: int, state: StateBatch, histories: Mapping[int, ProductHistory], rules: Rules, as_of_s: float
) -> list[str]:
    """What the customer did with this product, in words; nothing for one that is new to them."""
    reasons = []
    history = histories.get(code)
    if history is not None:
        reasons.append(f"bought {history.count} times" if history.count > 1 else "bought once")
        if history.gap_days is not None:
            reasons.append(f"bought about every {days(history.gap_days)}")
        reasons.append(f"last bought {days(history.last_days)} ago{_timeliness(history, rules)}")
    if code in state.cart_product.values:
        reasons.append("in the open cart")
    return reasons + _seen(code, state, as_of_s)


def _timeliness(history: ProductHistory, rules: Rules) -> str:
    if not is_due(history, rules) or history.gap_days is None:
        return ""
    return ": due" if history.last_days <= _LAPSED_GAPS * history.gap_days else ": lapsed, worth a reminder"


def _seen(code: int, state: StateBatch, as_of_s: float) -> list[str]:
    """What else the recent sequence says of a product: the latest view, the latest time in the cart."""
    at = np.flatnonzero(state.seq_product.values == code)
    reasons = []
    for kind, verb in _VERBS.items():
        of_kind = at[state.seq_event.values[at] // layout.EVENT_CODE_BASE == kind]
        if len(of_kind):
            ago = max(0.0, as_of_s - float(state.seq_time.values[of_kind[-1]])) / DAY_S
            reasons.append(f"{verb} {days(ago)} ago")
    return reasons
