"""What a customer's state is made of: the names, sizes and places of its numbers, and the arrays that the fold works on."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, ByteArray, Float32Array, FloatArray, IntArray
from features.vocabulary import CHANNELS, DAY_S, HALF_LIVES_DAYS, KINDS

N_CHANNELS: Final = len(CHANNELS)
N_KINDS: Final = len(KINDS)
N_HALF_LIVES: Final = len(HALF_LIVES_DAYS)
N_HOURS: Final = 168
SEQUENCE_LENGTH: Final = 128
N_HABITS: Final = 128
N_CART: Final = 128
N_CONTACTS: Final = 16
"""Contacts of each channel whose times are kept: no cap can be higher."""
N_EXPOSURES: Final = 256
"""Products and campaigns that the customer was contacted about and whose last contact is kept."""
CAMPAIGN_MARK: Final = 1 << 48
"""Added to the code of a campaign, so that it is not a product's."""
FORGOTTEN_BITS: Final = 2_048
"""Size of the Bloom filter (Bloom 1970) of products that the table of habits had no room for. With 128 of them forgotten it
takes 0.5 % of those that were never bought for one of them, with 300 4.5 %, with 600 20 %."""
N_SEQ_VALUES: Final = 20
"""The newest interactions of the sequence that keep their value."""
OCCASION_GAP_S: Final = 3_600.0
"""Purchases (or actions) closer together than this are one occasion: lines of a basket, clicks of a visit."""
HABIT_GAP_S: Final = DAY_S
"""Purchases of one product that follow each other sooner than this, on whatever channels, are one occasion of its habit."""
HABIT_HALF_LIFE_DAYS: Final = 60.0
"""Half-life of a product's weight in the table of habitual products."""
HOUR_HALF_LIFE_DAYS: Final = 90.0
"""Half-life of the hour-of-week histogram."""

SCALARS: Final[tuple[str, ...]] = (
    "first_seen",
    "last_event",
    "last_action",
    "n_action_occasions",
    "first_purchase",
    "last_purchase",
    "last_occasion",
    "n_occasions",
    "gap_mean_days",
    "gap_m2",
    "n_gaps",
    "last_gap_days",
    "occasion_value",
    "previous_occasion_value",
    "hours_from",
    *(f"occasions_{half_life:g}d" for half_life in HALF_LIVES_DAYS),
    "profiling",
    "n_ratings",
    "rating_mean",
    "last_rating",
    "preferred_channel",
    "last_store",
    "contract_since",
    "contract_value",
    "contract_ends",
    "contract_ended",
    "n_contracts",
    "forgotten_until",
    "exposures_until",
    "identified",
)
"""Names of the scalar part of a state. Times are seconds since the epoch; NaN means never (or, of profiling, the
preferred channel and the last store, codes: not said; of a contract's end: open; of `forgotten_until`, the latest purchase of
a product that the table of habits had no room for any more: every product ever bought is in it; of `exposures_until`, the
latest contact about a product or campaign that the exposures had no room for). `identified` has a bit for each kind of
identifier that the customer's events named, see events/contact_points.py."""
(
    FIRST_SEEN,
    LAST_EVENT,
    LAST_ACTION,
    N_ACTION_OCCASIONS,
    FIRST_PURCHASE,
    LAST_PURCHASE,
    LAST_OCCASION,
    N_OCCASIONS,
    GAP_MEAN,
    GAP_M2,
    N_GAPS,
    LAST_GAP,
    OCCASION_VALUE,
    PREVIOUS_OCCASION_VALUE,
    HOURS_FROM,
    OCCASIONS,
) = range(16)
PROFILING, N_RATINGS, RATING_MEAN, LAST_RATING, PREFERRED_CHANNEL, LAST_STORE = range(
    OCCASIONS + N_HALF_LIVES, OCCASIONS + N_HALF_LIVES + 6
)
(
    CONTRACT_SINCE,
    CONTRACT_VALUE,
    CONTRACT_ENDS,
    CONTRACT_ENDED,
    N_CONTRACTS_OPENED,
    FORGOTTEN_UNTIL,
    EXPOSURES_UNTIL,
    IDENTIFIED,
) = range(LAST_STORE + 1, LAST_STORE + 9)
COUNTERS: Final = frozenset(
    {
        "n_action_occasions",
        "n_occasions",
        "n_gaps",
        "gap_m2",
        "occasion_value",
        "n_ratings",
        "n_contracts",
        "identified",
    }
    | {name for name in SCALARS if name.startswith("occasions_")}
)
"""Scalars that start at 0; all others start as NaN."""

PAIR_LAST, PAIR_TOTAL, PAIR_COUNTS = 0, 1, 2
PAIR_VALUES: Final = PAIR_COUNTS + N_HALF_LIVES
PAIR_WIDTH: Final = PAIR_VALUES + N_HALF_LIVES
"""Columns of a (channel, kind) pair: last time, total, then a decayed count and a decayed value per half-life."""
CONSENT, UNANSWERED, LAST_CONTACT, LAST_RESPONSE = range(4)
CHANNEL_WIDTH: Final = 4
HABIT_WEIGHT, HABIT_LAST, HABIT_FIRST, HABIT_COUNT, HABIT_EARLIER, HABIT_OCCASIONS, HABIT_BEGAN = range(7)
HABIT_WIDTH: Final = 7
"""Columns of a habit: weight at its last purchase, that moment, the moment of its first, at how many it was bought, 1
where it may have been bought before those, and was forgotten since, on how many occasions, and when the last of them began."""
EXPOSURE_LAST, EXPOSURE_IGNORED, EXPOSURE_CHANNEL, EXPOSURE_EARLIER = range(4)
EXPOSURE_WIDTH: Final = 4
"""Columns of an exposure: the last contact about it, contacts in a row without a reaction, the channel of the last, and 1
where there may have been contacts before those, which were forgotten since."""
CART_CHANNEL, CART_QUANTITY, CART_TIME = range(3)
CART_WIDTH: Final = 3
N_PAIRS, N_SEQ, SEQ_HEAD, N_HABIT, N_IN_CART, LAST_SEQ, N_HOURS_USED, TIME_UNIT, N_BROUGHT_BACK = range(9)
N_EXPOSED: Final = 9
CURSOR_WIDTH: Final = 10
TIME_UNITS_US: Final = (60_000_000, 1_000_000, 1)
"""Microseconds of the units that a customer's times of products are stored in: the first that holds them all exactly."""
UNWRITTEN, WRITTEN, REWRITTEN = range(3)
"""Whether a moment gets a state row: no, as it is told of behaviour, or in any case, because the past before it is another."""
EVENT_CODE_BASE: Final = 16
"""A sequence's event code is kind * 16 + channel."""
_VARINT: Final = 10
MAX_STATE_BYTES: Final = (
    8 * _VARINT
    + 9 * len(SCALARS)
    + N_CHANNELS * (2 + _VARINT + 16 + 1 + 8 * N_CONTACTS)
    + N_CHANNELS * N_KINDS * (2 * _VARINT + 8 + 8 * N_HALF_LIVES)
    + 5 * N_HOURS
    + N_CART * 25
    + N_EXPOSURES * (6 + 2 * _VARINT)
    + 1
)
"""No state part is longer."""
MAX_PRODUCTS_BYTES: Final = (
    FORGOTTEN_BITS // 8 + 8 * _VARINT + N_HABITS * (6 + 5 * _VARINT + 4) + SEQUENCE_LENGTH * (7 + 3 * _VARINT + 4)
)
"""No product part is longer."""


class Scratch(NamedTuple):
    """The dense state of one customer, as the kernel works on it."""

    scalars: FloatArray  # (S,)
    pair_slots: IntArray  # (channels * kinds,) row of a pair in the next two; -1 while it never happened
    pair_codes: NDArray[np.int32]  # (channels * kinds,) in order of first use
    pairs: FloatArray  # (channels * kinds, PAIR_WIDTH)
    channels: FloatArray  # (channels, CHANNEL_WIDTH)
    refused_at: FloatArray  # (channels + 1,) of the last refusal, and that of profiling; not stored
    contacts: FloatArray  # (channels, N_CONTACTS) rings of times
    n_contacts: IntArray  # (channels,) contacts so far; where a ring goes on
    hour_slots: IntArray  # (168,) row of an hour in the next two; -1 while it has no weight
    hour_bins: NDArray[np.int32]  # (168,) in order of first use
    hour_weights: FloatArray  # (168,) as of HOURS_FROM
    seq_product: IntArray  # (SEQUENCE_LENGTH,) ring, as the next three
    seq_event: NDArray[np.int32]
    seq_time: FloatArray
    seq_value: Float32Array
    seq_habit: (
        IntArray  # (SEQUENCE_LENGTH,) where the product stood in the table of habits, if at all; derived, not stored
    )
    habit_codes: IntArray  # (N_HABITS,)
    habits: FloatArray  # (N_HABITS, HABIT_WIDTH)
    forgotten: ByteArray  # (FORGOTTEN_BITS / 8,) Bloom filter of the products that made room for others
    habit_ranks: FloatArray  # (N_HABITS,) log2 of the weight, moved to a common moment; derived, not stored
    cart_codes: IntArray  # (N_CART,)
    cart: FloatArray  # (N_CART, CART_WIDTH)
    exposure_codes: IntArray  # (N_EXPOSURES,) products, and campaigns with their mark
    exposures: FloatArray  # (N_EXPOSURES, EXPOSURE_WIDTH)
    cursors: IntArray  # (CURSOR_WIDTH,)


class EventArrays(NamedTuple):
    """Events as columns; all of length m."""

    time: FloatArray  # seconds since the epoch
    kind: NDArray[np.int8]
    channel: NDArray[np.int8]
    product: IntArray  # 0 where there is none
    quantity: FloatArray  # NaN where there is none
    value: FloatArray  # NaN where there is none
    seq: IntArray
    detail: FloatArray  # what the properties or the store say, see events/payload.py; NaN where there is nothing
    written: NDArray[np.int8]  # whether the moment gets a state row: UNWRITTEN, WRITTEN or REWRITTEN
    order: IntArray  # the order that a purchase or return is of, see events/payload.py; 0 where it does not say
    campaign: IntArray  # the code of the campaign; 0 where there is none
    decision: IntArray  # the code of the decision that it belongs to; 0 where there is none
    identified: IntArray  # bits of the kinds of identifier that it names, see events/contact_points.py
    brought_back: (
        FloatArray  # units of a purchase that were brought back so far: written by the fold, whatever is in it
    )


class RowBuffers(NamedTuple):
    """Where `fold_rows` writes encoded states (packing.py): a few columns, and the bytes of both parts with where they end."""

    customer: IntArray  # (R,)
    time: FloatArray  # (R,)
    last_seq: IntArray  # (R,)
    products_changed: BoolArray  # (R,) whether the product part differs from the row before
    state_end: IntArray  # (R,) end offset into state
    state: ByteArray
    products_end: IntArray  # (R,)
    products: ByteArray


def new_buffers(rows: int, *, whole: bool = False) -> RowBuffers:
    """Room for `rows` state rows of usual size, and for at least one of the largest possible; with `whole`, for all of that."""
    usual = (MAX_STATE_BYTES, MAX_PRODUCTS_BYTES) if whole else (1_000, 2_000)
    return RowBuffers(
        customer=np.zeros(rows, np.int64),
        time=np.zeros(rows),
        last_seq=np.zeros(rows, np.int64),
        products_changed=np.zeros(rows, np.bool_),
        state_end=np.zeros(rows, np.int64),
        state=np.empty(MAX_STATE_BYTES + usual[0] * rows, np.uint8),
        products_end=np.zeros(rows, np.int64),
        products=np.empty(MAX_PRODUCTS_BYTES + usual[1] * rows, np.uint8),
    )
