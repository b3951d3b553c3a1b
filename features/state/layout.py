"""What a customer's state is made of: the names, sizes and places of its numbers, and the arrays that the fold works on."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, Float32Array, FloatArray, IntArray
from features.vocabulary import CHANNELS, HALF_LIVES_DAYS, KINDS

N_CHANNELS: Final = len(CHANNELS)
N_KINDS: Final = len(KINDS)
N_HALF_LIVES: Final = len(HALF_LIVES_DAYS)
N_HOURS: Final = 168
SEQUENCE_LENGTH: Final = 128
N_HABITS: Final = 128
N_CART: Final = 32
N_CONTACTS: Final = 16
OCCASION_GAP_S: Final = 3_600.0
"""Purchases (or actions) closer together than this are one occasion: lines of a basket, clicks of a visit."""
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
)
"""Names of the scalar part of a state. Times are seconds since the epoch; NaN means never (or, of profiling, the
preferred channel and the last store, codes: not said; of a contract's end: open)."""
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
CONTRACT_SINCE, CONTRACT_VALUE, CONTRACT_ENDS, CONTRACT_ENDED, N_CONTRACTS_OPENED = range(
    LAST_STORE + 1, LAST_STORE + 6
)
COUNTERS: Final = frozenset(
    {"n_action_occasions", "n_occasions", "n_gaps", "gap_m2", "occasion_value", "n_ratings", "n_contracts"}
    | {name for name in SCALARS if name.startswith("occasions_")}
)
"""Scalars that start at 0; all others start as NaN."""

PAIR_LAST, PAIR_TOTAL, PAIR_COUNTS = 0, 1, 2
PAIR_VALUES: Final = PAIR_COUNTS + N_HALF_LIVES
PAIR_WIDTH: Final = PAIR_VALUES + N_HALF_LIVES
"""Columns of a (channel, kind) pair: last time, total, then a decayed count and a decayed value per half-life."""
CONSENT, UNANSWERED, LAST_CONTACT, LAST_RESPONSE = range(4)
CHANNEL_WIDTH: Final = 4
HABIT_WEIGHT, HABIT_LAST, HABIT_SPAN, HABIT_COUNT = range(4)
HABIT_WIDTH: Final = 4
CART_CHANNEL, CART_QUANTITY, CART_TIME = range(3)
CART_WIDTH: Final = 3
N_PAIRS, N_CONTACT, CONTACT_HEAD, N_SEQ, SEQ_HEAD, N_HABIT, N_IN_CART, LAST_SEQ, N_HOURS_USED = range(9)
CURSOR_WIDTH: Final = 9
UNWRITTEN, WRITTEN, REWRITTEN = range(3)
"""Whether a moment gets a state row: no, as it is told of behaviour, or in any case, because the past before it is another."""
EVENT_CODE_BASE: Final = 16
"""A sequence's event code is kind * 16 + channel."""


class Scratch(NamedTuple):
    """The dense state of one customer, as the kernel works on it."""

    scalars: FloatArray  # (S,)
    pair_slots: IntArray  # (channels * kinds,) row of a pair in the next two; -1 while it never happened
    pair_codes: NDArray[np.int32]  # (channels * kinds,) in order of first use
    pairs: FloatArray  # (channels * kinds, PAIR_WIDTH)
    channels: FloatArray  # (channels, CHANNEL_WIDTH)
    contacts: FloatArray  # (N_CONTACTS, 2) ring of (channel, time)
    hour_slots: IntArray  # (168,) row of an hour in the next two; -1 while it has no weight
    hour_bins: NDArray[np.int32]  # (168,) in order of first use
    hour_weights: FloatArray  # (168,) as of HOURS_FROM
    seq_product: IntArray  # (SEQUENCE_LENGTH,) ring, as the next three
    seq_event: NDArray[np.int32]
    seq_time: FloatArray
    seq_value: Float32Array
    habit_codes: IntArray  # (N_HABITS,)
    habits: FloatArray  # (N_HABITS, HABIT_WIDTH)
    habit_ranks: FloatArray  # (N_HABITS,) log2 of the weight, moved to a common moment; derived, not stored
    cart_codes: IntArray  # (N_CART,)
    cart: FloatArray  # (N_CART, CART_WIDTH)
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


class RowBuffers(NamedTuple):
    """Where `fold_rows` writes encoded states: fixed columns plus ragged ones with offsets."""

    customer: IntArray  # (R,)
    time: FloatArray  # (R,)
    last_seq: IntArray  # (R,)
    products_changed: BoolArray  # (R,) whether the product part differs from the row before
    scalars: FloatArray  # (R, S)
    channels: FloatArray  # (R, channels * CHANNEL_WIDTH)
    pair_end: IntArray  # (R,) end offset into pair_codes / pair_stats
    pair_codes: NDArray[np.int32]
    pair_stats: FloatArray  # (M, PAIR_WIDTH)
    contact_end: IntArray
    contacts: FloatArray  # (M, 2)
    hour_end: IntArray
    hour_bins: NDArray[np.int32]
    hour_weights: FloatArray
    seq_end: IntArray
    seq_product: IntArray
    seq_event: NDArray[np.int32]
    seq_time: FloatArray
    seq_value: Float32Array
    habit_end: IntArray
    habit_codes: IntArray
    habits: FloatArray  # (M, HABIT_WIDTH)
    cart_end: IntArray
    cart_codes: IntArray
    cart: FloatArray  # (M, CART_WIDTH)


def new_buffers(rows: int) -> RowBuffers:
    """Room for `rows` state rows; the ragged parts hold at least one row of the largest possible size."""
    n_pairs = N_CHANNELS * N_KINDS
    pairs, contacts, hours = n_pairs + 24 * rows, 16 + 8 * rows, N_HOURS + 40 * rows
    sequence, habits, cart = 128 + 128 * rows, 128 + 128 * rows, 32 + 8 * rows
    return RowBuffers(
        customer=np.zeros(rows, np.int64),
        time=np.zeros(rows),
        last_seq=np.zeros(rows, np.int64),
        products_changed=np.zeros(rows, np.bool_),
        scalars=np.zeros((rows, len(SCALARS))),
        channels=np.zeros((rows, N_CHANNELS * CHANNEL_WIDTH)),
        pair_end=np.zeros(rows, np.int64),
        pair_codes=np.zeros(pairs, np.int32),
        pair_stats=np.zeros((pairs, PAIR_WIDTH)),
        contact_end=np.zeros(rows, np.int64),
        contacts=np.zeros((contacts, 2)),
        hour_end=np.zeros(rows, np.int64),
        hour_bins=np.zeros(hours, np.int32),
        hour_weights=np.zeros(hours),
        seq_end=np.zeros(rows, np.int64),
        seq_product=np.zeros(sequence, np.int64),
        seq_event=np.zeros(sequence, np.int32),
        seq_time=np.zeros(sequence),
        seq_value=np.zeros(sequence, np.float32),
        habit_end=np.zeros(rows, np.int64),
        habit_codes=np.zeros(habits, np.int64),
        habits=np.zeros((habits, HABIT_WIDTH)),
        cart_end=np.zeros(rows, np.int64),
        cart_codes=np.zeros(cart, np.int64),
        cart=np.zeros((cart, CART_WIDTH)),
    )
