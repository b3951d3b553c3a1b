"""A seed and a number of events in; simulated timelines of all channels and kinds out, in pieces of whole customers.

Made to measure speed and memory with, fast and in any amount: customers come and go, rebuy favourites, shop in baskets
and are written to, in plausible shares. Nothing can be learnt from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.events.payload import BITS_PER_ANSWER, NO, PROFILING_SHIFT, YES
from features.state.event_arrays import PRODUCT_CODE_BITS
from features.state.layout import WRITTEN, EventArrays
from features.vocabulary import CHANNEL_CODES, CHANNELS, CONTACT_KINDS, DAY_S, KIND_CODES, PRODUCT_KINDS

EVENTS_PER_CUSTOMER: Final = 200
"""The mean; single customers have from one to about a thousand."""
PIECE_CUSTOMERS: Final = 2_000
"""Customers that are made and held in memory at a time."""
START_S: Final = 1_672_531_200.0
"""2023-01-01 UTC: nothing happens before."""
SPAN_DAYS: Final = 730.0
LINES_PER_BASKET: Final = 4.0
N_PRODUCTS: Final = 30_000
N_FAVOURITES: Final = 60
"""Products of which a customer buys more than half of everything, the first ones most."""
_FAVOURITE_SHARE: Final = 0.6

SHARES: Final[dict[str, dict[str, float]]] = {
    "web": {
        "view": 20.0, "search": 5.0, "visit": 6.0, "add_to_cart": 4.0, "remove_from_cart": 1.0, "purchase": 2.0,
        "return": 0.3, "impression": 3.0, "feedback": 0.1, "decision": 1.5, "identify": 0.5, "profile": 0.05,
    },
    "app": {
        "view": 13.0, "search": 3.0, "visit": 4.0, "add_to_cart": 3.0, "remove_from_cart": 0.6, "purchase": 1.5,
        "feedback": 0.1, "decision": 0.8, "identify": 0.2, "profile": 0.05, "erase": 0.001,
    },
    "email": {
        "send": 6.0, "deliver": 5.0, "open": 2.0, "click": 0.7, "ignore": 1.0, "outcome": 0.2, "subscribe": 0.1,
        "unsubscribe": 0.05,
    },
    "push": {"send": 3.0, "deliver": 2.5, "open": 0.8, "click": 0.3, "subscribe": 0.1, "unsubscribe": 0.05},
    "sms": {"send": 1.0, "deliver": 1.0, "click": 0.1, "subscribe": 0.05, "unsubscribe": 0.02},
    "social": {"impression": 3.0, "view": 0.5, "click": 0.4},
    "ads": {"impression": 6.0, "click": 0.5},
    "chat": {"chat": 0.4, "feedback": 0.05},
    "call_center": {"call": 0.3, "purchase": 0.1},
    "post": {"send": 0.3, "outcome": 0.05},
    "store": {"visit": 1.5, "purchase": 4.0, "return": 0.4, "impression": 1.0, "feedback": 0.05},
}  # fmt: skip
"""How often a moment is of a channel and kind, in no unit."""
_CASES: Final = [(channel, kind, share) for channel, kinds in SHARES.items() for kind, share in kinds.items()]
_CASE_CHANNEL: Final = np.array([CHANNEL_CODES[channel] for channel, _, _ in _CASES], dtype=np.int8)
_CASE_KIND: Final = np.array([KIND_CODES[kind] for _, kind, _ in _CASES], dtype=np.int8)
_CASE_LIMITS: Final = np.cumsum([share for _, _, share in _CASES]) / sum(share for _, _, share in _CASES)
_IS_PURCHASE: Final = np.isin(_CASE_KIND, KIND_CODES["purchase"])
_IS_PRODUCT: Final = np.isin(_CASE_KIND, [KIND_CODES[kind] for kind in PRODUCT_KINDS])
_IS_CONTACT: Final = np.isin(_CASE_KIND, [KIND_CODES[kind] for kind in CONTACT_KINDS])
_IS_MONEY: Final = np.isin(_CASE_KIND, [KIND_CODES["purchase"], KIND_CODES["return"]])
_EVENTS_PER_MOMENT: Final = 1.0 + (LINES_PER_BASKET - 1.0) * float(
    sum(share for _, kind, share in _CASES if kind == "purchase") / sum(share for _, _, share in _CASES)
)


@dataclass(frozen=True)
class Piece:
    """The timelines of some customers, in the fold's order."""

    customers: IntArray  # (m,) number of each event's customer, never seen in another piece
    events: EventArrays  # (m,)

    def __len__(self) -> int:
        return len(self.customers)


def make_events(n_events: int, seed: int) -> Iterator[Piece]:
    """`n_events` simulated events, the same ones for the same seed; a larger number only adds to them."""
    codes = np.random.default_rng(seed).integers(1, 2**PRODUCT_CODE_BITS, N_PRODUCTS)
    made = number = 0
    while made < n_events:
        rng = np.random.default_rng([seed, number])
        piece = _draw(rng, number * PIECE_CUSTOMERS, made, codes)
        if made + len(piece) > n_events:
            kept = n_events - made
            piece = Piece(piece.customers[:kept], EventArrays._make(column[:kept] for column in piece.events))
        made += len(piece)
        number += 1
        yield piece


def _draw(rng: np.random.Generator, first_customer: int, first_seq: int, codes: IntArray) -> Piece:
    activity = rng.gamma(2.0, EVENTS_PER_CUSTOMER / _EVENTS_PER_MOMENT / 2.0, PIECE_CUSTOMERS)
    moments = 1 + rng.poisson(activity)  # per customer
    owner = np.repeat(np.arange(PIECE_CUSTOMERS), moments)
    time = _moments(rng, owner, moments)
    case = np.searchsorted(_CASE_LIMITS, rng.random(len(owner), dtype=np.float32))
    lines = np.where(_IS_PURCHASE[case], 1 + rng.poisson(LINES_PER_BASKET - 1.0, len(owner)), 1)
    customer, case = np.repeat(owner + first_customer, lines), np.repeat(case, lines)
    m = len(customer)
    kind, is_product, product = _CASE_KIND[case], _IS_PRODUCT[case], codes[_products(rng, customer)]
    return Piece(
        customer,
        EventArrays(
            time=np.repeat(time, lines),
            kind=kind,
            channel=_CASE_CHANNEL[case],
            product=np.where(is_product | _IS_CONTACT[case], product, 0),
            quantity=np.where(is_product, rng.integers(1, 4, m, dtype=np.int8), np.nan),
            value=np.where(_IS_MONEY[case], np.exp(1.5 + rng.standard_normal(m, dtype=np.float32)).round(2), np.nan),
            seq=np.arange(first_seq + 1, first_seq + m + 1),
            detail=_details(rng, kind),
            written=np.full(len(kind), WRITTEN, dtype=np.int8),
            order=np.zeros(m, np.int64),
            campaign=np.zeros(m, np.int64),
            decision=np.zeros(m, np.int64),
            identified=np.zeros(m, np.int64),
            brought_back=np.zeros(m),
        ),
    )


def _moments(rng: np.random.Generator, owner: IntArray, moments: IntArray) -> FloatArray:
    """Times of the moments in whole seconds, ascending within a customer, on average spread over the whole span."""
    gaps = rng.standard_exponential(len(owner), dtype=np.float32) * (SPAN_DAYS * DAY_S / moments)[owner]
    passed = np.cumsum(gaps, dtype=np.float64)
    starts = np.cumsum(moments) - moments
    since = passed - (passed[starts] - gaps[starts])[owner]
    return np.asarray(np.round(START_S + since))


def _products(rng: np.random.Generator, customer: IntArray) -> IntArray:
    """A row of the catalogue for every event."""
    m = len(customer)
    favourite = (N_FAVOURITES * rng.random(m, dtype=np.float32) ** 2).astype(np.int64)
    favourite_product = (customer * 7_919 + favourite * 104_729) % N_PRODUCTS
    any_product = (N_PRODUCTS * rng.random(m, dtype=np.float32) ** 3).astype(np.int64) % N_PRODUCTS
    return np.where(rng.random(m, dtype=np.float32) < _FAVOURITE_SHARE, favourite_product, any_product)


def _details(rng: np.random.Generator, kind: NDArray[np.int8]) -> FloatArray:
    """What a rating or a profile says; NaN for all other events."""
    details = np.full(len(kind), np.nan)
    rated = np.flatnonzero(kind == KIND_CODES["feedback"])
    details[rated] = rng.integers(1, 6, len(rated))
    profiles = np.flatnonzero(kind == KIND_CODES["profile"])
    channels = rng.integers(0, len(CHANNELS), len(profiles))
    consent = rng.choice([YES, NO], len(profiles)) << (BITS_PER_ANSWER * channels)
    profiling = rng.choice([0, YES, NO], len(profiles), p=[0.8, 0.15, 0.05]) << PROFILING_SHIFT
    details[profiles] = consent | profiling
    return details
