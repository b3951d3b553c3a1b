"""Numbers behind an answer in, short sentences that a marketer can read out."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from features import fold_kernel as kernel
from features.signals import describe
from features.state import StateBatch
from features.vocabulary import KIND_CODES, EventKind
from serving.rules import DAY_S, ProductHistory, Rules, is_due
from serving.schemas import Reason
from serving.words import days, number

_VERBS = {
    KIND_CODES[EventKind.VIEW]: "viewed",
    KIND_CODES[EventKind.ADD_TO_CART]: "put in the cart",
}
N_REASONS = 5
_LAPSED_GAPS = 3.0
"""A product that was not bought for this many of its usual gaps is no longer due: the habit has lapsed."""


def purchase_history(state: StateBatch, as_of_s: float) -> dict[int, ProductHistory]:
    """Product code to what a customer's state (n = 1) remembers of buying it."""
    stats = state.habit_stats.values
    counts = stats[:, kernel.HABIT_COUNT].astype(np.int64).tolist()
    gaps = (stats[:, kernel.HABIT_SPAN] / np.maximum(stats[:, kernel.HABIT_COUNT] - 1, 1)).tolist()
    lasts = np.maximum(0.0, (as_of_s - stats[:, kernel.HABIT_LAST]) / DAY_S).tolist()
    codes = state.habit_product.values.tolist()
    return {
        code: ProductHistory(count, gap if count > 1 else None, last)
        for code, count, gap, last in zip(codes, counts, gaps, lasts, strict=True)
    }


def product_reasons(
    code: int, state: StateBatch, histories: Mapping[int, ProductHistory], rules: Rules, as_of_s: float
) -> list[str]:
    """Why this product: what the customer did with it, else what speaks for it."""
    reasons = []
    history = histories.get(code)
    if history is not None:
        reasons.append(f"bought {history.count} times" if history.count > 1 else "bought once")
        if history.gap_days is not None:
            reasons.append(f"bought about every {days(history.gap_days)}")
        reasons.append(f"last bought {days(history.last_days)} ago{_timeliness(history, rules)}")
    if code in state.cart_product.values:
        reasons.append("in the open cart")
    reasons += _seen(code, state, as_of_s)
    if not reasons and len(state.seq_product.values):
        reasons.append("new to this customer: fits what they bought lately and what is popular now")
    return reasons or ["popular now"]


def _timeliness(history: ProductHistory, rules: Rules) -> str:
    if not is_due(history, rules) or history.gap_days is None:
        return ""
    return ": due" if history.last_days <= _LAPSED_GAPS * history.gap_days else ": lapsed, worth a reminder"


def churn_reasons(
    names: tuple[str, ...], contributions: NDArray[np.float64], values: NDArray[np.float32]
) -> list[Reason]:
    """The signals that move one prediction most, strongest first; all arguments of shape (len(names),)."""
    reasons = []
    for i in np.argsort(-np.abs(contributions), kind="stable")[:N_REASONS]:
        effect, value = float(contributions[i]), float(values[i])
        if effect == 0.0:
            continue
        direction = "raises" if effect > 0 else "lowers"
        known = math.isfinite(value)
        text = f"{describe(names[i])}: {number(value) if known else 'never'} ({direction} the risk)"
        reasons.append(Reason(text=text, effect=effect, signal=names[i], value=value if known else None))
    return reasons


def _seen(code: int, state: StateBatch, as_of_s: float) -> list[str]:
    """What else the recent sequence says of a product: the latest view, the latest time in the cart."""
    at = np.flatnonzero(state.seq_product.values == code)
    reasons = []
    for kind, verb in _VERBS.items():
        of_kind = at[state.seq_event.values[at] // kernel.EVENT_CODE_BASE == kind]
        if len(of_kind):
            ago = max(0.0, as_of_s - float(state.seq_time.values[of_kind[-1]])) / DAY_S
            reasons.append(f"{verb} {days(ago)} ago")
    return reasons
