"""A customer's state in, the page that a marketer reads of them out."""

import math
from datetime import UTC, datetime

import numpy as np

from features.arrays import shown
from features.online.live import LiveState
from features.signals import compute_signals, signal_names
from features.state import layout
from features.state.moment import half_life
from features.vocabulary import CHANNELS, DAY_S, HALF_LIVES_DAYS, KIND_CODES, KINDS, EventKind
from serving.decision.contacts import consents
from serving.products.catalogue import Catalogue
from serving.products.product_rows import ProductInfo
from serving.schemas import CartLine, CustomerInfo, ProfileAnswer, Touch

N_RECENT = 20


def build_profile(live: LiveState, as_of_s: float, catalogue: Catalogue, with_signals: bool) -> ProfileAnswer:
    """Everything worth showing of a state (n = 1) at `as_of_s`."""
    signals = None
    if with_signals:
        values = compute_signals(live.state, np.array([as_of_s]))[0]
        signals = {name: _finite(shown(value)) for name, value in zip(signal_names(), values, strict=True)}
    return ProfileAnswer(
        customer=CustomerInfo(customer_id=live.customer_id, personal=live.may_profile),
        as_of=datetime.fromtimestamp(as_of_s, UTC),
        feature_age_s=as_of_s - live.last_event_s,
        models={},
        first_seen=_moment(_scalar(live, "first_seen")),
        last_event=_moment(live.last_event_s),
        purchases=_purchases(live, as_of_s),
        activity=_activity(live),
        consents={channel.value: said for channel, said in consents(live.state).items()},
        cart=_cart(live, catalogue),
        recent=_recent(live, catalogue),
        signals=signals,
    )


def _purchases(live: LiveState, as_of_s: float) -> dict[str, float | None]:
    """The lifecycle in a few numbers; money is in the home's currency."""
    last = _scalar(live, "last_occasion")
    first = _scalar(live, "first_purchase")
    return {
        "occasions": _scalar(live, "n_occasions"),
        "days_since_first": _finite((as_of_s - first) / DAY_S),
        "days_since_last": _finite((as_of_s - last) / DAY_S),
        "mean_gap_days": _finite(_scalar(live, "gap_mean_days")),
        "last_gap_days": _finite(_scalar(live, "last_gap_days")),
        "last_occasion_value": _finite(_scalar(live, "occasion_value")),
        "recent_value_90d": _decayed_value(live, as_of_s, half_life(90.0)),
    }


def _decayed_value(live: LiveState, as_of_s: float, half_life: int) -> float:
    """Money spent over all channels, halved every 90 days."""
    codes, stats = live.state.pair_codes.values, live.state.pair_stats.values
    bought = stats[codes % layout.N_KINDS == KIND_CODES[EventKind.PURCHASE]]
    left = np.exp2(-(as_of_s - bought[:, layout.PAIR_LAST]) / (HALF_LIVES_DAYS[half_life] * DAY_S))
    return float((bought[:, layout.PAIR_VALUES + half_life] * left).sum())


def _activity(live: LiveState) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    pairs = zip(live.state.pair_codes.values.tolist(), live.state.pair_stats.values, strict=True)
    for code, stats in sorted(pairs, key=lambda pair: pair[0]):
        channel, kind = CHANNELS[code // layout.N_KINDS], KINDS[code % layout.N_KINDS]
        counts.setdefault(channel.value, {})[kind.value] = int(stats[layout.PAIR_TOTAL])
    return counts


def _cart(live: LiveState, catalogue: Catalogue) -> list[CartLine]:
    lines = []
    rows = zip(live.state.cart_product.values.tolist(), live.state.cart_stats.values, strict=True)
    for code, stats in rows:
        info = catalogue.by_code(code) or _UNLISTED
        lines.append(
            CartLine(
                product_id=info.product_id or None,
                name=info.name,
                quantity=float(stats[layout.CART_QUANTITY]),
                channel=CHANNELS[int(stats[layout.CART_CHANNEL])].value,
                since=datetime.fromtimestamp(float(stats[layout.CART_TIME]), UTC),
            )
        )
    return lines


def _recent(live: LiveState, catalogue: Catalogue) -> list[Touch]:
    state = live.state
    touches = []
    for i in range(len(state.seq_product.values) - 1, max(-1, len(state.seq_product.values) - 1 - N_RECENT), -1):
        kind, channel = divmod(int(state.seq_event.values[i]), layout.EVENT_CODE_BASE)
        info = catalogue.by_code(int(state.seq_product.values[i])) or _UNLISTED
        touches.append(
            Touch(
                at=datetime.fromtimestamp(float(state.seq_time.values[i]), UTC),
                kind=KINDS[kind].value,
                channel=CHANNELS[channel].value,
                product_id=info.product_id or None,
                name=info.name,
                value=_finite(shown(state.seq_value.values[i])),
            )
        )
    return touches


_UNLISTED = ProductInfo("")
"""A product that is not in the product table: its code is no name."""


def _scalar(live: LiveState, name: str) -> float:
    return float(live.state.scalar(name)[0])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _moment(at_s: float) -> datetime | None:
    return datetime.fromtimestamp(at_s, UTC) if math.isfinite(at_s) else None
