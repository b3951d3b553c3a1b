"""Customer states in memory: arrays of many customers at once, whose lists of any length lie end to end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.arrays import ByteArray, Float32Array, FloatArray, IntArray
from features.attributes.values import NOTHING_SAID, prefix_lengths, read_prefix
from features.errors import StoreError, UnreadableError
from features.state import kernel, layout, packing, unpacking
from features.state.layout import RowBuffers
from features.vocabulary import DAY_S

_SCALARS: Final = {name: column for column, name in enumerate(layout.SCALARS)}


@dataclass(frozen=True)
class Ragged:
    """`n` lists of rows laid end to end: list i is `values[offsets[i]:offsets[i + 1]]`."""

    offsets: IntArray  # (n + 1,)
    values: NDArray[Any]  # (m,) or (m, width)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> NDArray[Any]:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def rows(self) -> IntArray:
        """For every value the list it belongs to, shape (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def positions(self, width: int) -> IntArray:
        """For every value its column when lists are right-aligned in `width` columns, shape (m,)."""
        lengths = np.diff(self.offsets)
        starts, blanks = np.repeat(self.offsets[:-1], lengths), np.repeat(width - lengths, lengths)
        return np.asarray(np.arange(len(self.values)) - starts + blanks)

    def dense(self, width: int, fill: float) -> NDArray[Any]:
        """Right-aligned matrix (n, width), `fill` on the left; newest values last."""
        out = np.full((len(self), width), fill, dtype=self.values.dtype)
        out[self.rows(), self.positions(width)] = self.values
        return out

    def take(self, index: IntArray) -> "Ragged":
        """The lists at `index`, in that order."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        source = np.repeat(self.offsets[:-1][index] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(offsets, self.values[source])

    def one(self, row: int) -> "Ragged":
        """The list at `row`, in the same memory."""
        values = self[row]
        return Ragged(one_offsets(len(values)), values)

    def part(self, begin: int, end: int) -> "Ragged":
        """The lists from `begin` to before `end`, in the same memory."""
        offsets = self.offsets[begin : end + 1]
        return Ragged(offsets - offsets[0], self.values[offsets[0] : offsets[-1]])

    @classmethod
    def concat(cls, parts: "Sequence[Ragged]") -> "Ragged":
        """All lists of all parts, in order."""
        before = np.cumsum([0, *(len(part.values) for part in parts)])[:-1]
        ends = np.concatenate([part.offsets[1:] for part in parts]) + np.repeat(before, [len(part) for part in parts])
        return cls(np.concatenate([[0], ends]), np.concatenate([part.values for part in parts]))


@dataclass(frozen=True)
class StateBatch:
    """States of `n` customers, each as of its own last event. Times are seconds since the epoch, NaN means never."""

    scalars: FloatArray  # (n, S), see layout.SCALARS
    channels: FloatArray  # (n, channels, CHANNEL_WIDTH): consent, unanswered contacts, last contact, last response
    last_seq: IntArray  # (n,) the newest log row folded in; 0 for none
    pair_codes: Ragged  # channel * kinds + kind
    pair_stats: Ragged  # (m, PAIR_WIDTH)
    contacts: Ragged  # (m, 2): channel, time; by channel, oldest first, at most 16 of each
    hour_bins: Ragged  # hour of the week, Monday 00:00 UTC = 0, in order of first use
    hour_weights: Ragged  # as of the scalar "hours_from"; `hours` opens and decays them
    seq_product: Ragged  # product codes, oldest first, at most 128
    seq_event: Ragged  # kind * 16 + channel
    seq_time: Ragged
    seq_value: Ragged  # NaN beyond the newest 20
    habit_product: Ragged  # at most 128
    habit_stats: Ragged  # (m, HABIT_WIDTH), see layout.py
    forgotten: (
        ByteArray  # (n, FORGOTTEN_BITS / 8) filter of products that the habits had no room for, see kernel_products.py
    )
    cart_product: Ragged  # at most 128
    cart_stats: Ragged  # (m, CART_WIDTH): channel, units, time
    exposure_code: Ragged  # products and, with CAMPAIGN_MARK, campaigns that there were contacts about; at most 256
    exposure_stats: Ragged  # (m, EXPOSURE_WIDTH), see layout.py
    attributes: Ragged  # (m, 3): what profile events said, see features/attributes/values.py

    def __len__(self) -> int:
        return len(self.scalars)

    @classmethod
    def empty(cls, n: int) -> "StateBatch":
        """`n` customers of whom nothing is known."""
        return blank().take(np.zeros(n, dtype=np.int64))

    def take(self, index: IntArray) -> "StateBatch":
        """The states at `index`, in that order; an index may repeat."""
        parts: dict[str, Any] = {
            name: part.take(index) if isinstance(part, Ragged) else part[index] for name, part in vars(self).items()
        }
        return StateBatch(**parts)

    def one(self, row: int) -> "StateBatch":
        """The state at `row` (n = 1), in the same memory."""
        parts: dict[str, Any] = {
            name: part.one(row) if isinstance(part, Ragged) else part[row : row + 1]
            for name, part in vars(self).items()
        }
        return StateBatch(**parts)

    def part(self, begin: int, end: int) -> "StateBatch":
        """The states from `begin` to before `end`, in the same memory."""
        parts: dict[str, Any] = {
            name: part.part(begin, end) if isinstance(part, Ragged) else part[begin:end]
            for name, part in vars(self).items()
        }
        return StateBatch(**parts)

    @classmethod
    def concat(cls, parts: "Sequence[StateBatch]") -> "StateBatch":
        """All states of all parts, in order."""
        columns: dict[str, Any] = {}
        for name, first in vars(parts[0]).items():
            pieces = [getattr(part, name) for part in parts]
            columns[name] = Ragged.concat(pieces) if isinstance(first, Ragged) else np.concatenate(pieces)
        return cls(**columns)

    def hours(self) -> FloatArray:
        """Decayed number of active moments by hour of the week as of each customer's last action, shape (n, 168)."""
        out = np.zeros((len(self), layout.N_HOURS))
        rows = self.hour_bins.rows()
        later_days = (self.scalar("last_action") - self.scalar("hours_from")) / DAY_S
        left = np.exp2(-np.nan_to_num(later_days) / layout.HOUR_HALF_LIFE_DAYS)
        out[rows, self.hour_bins.values] = self.hour_weights.values * left[rows]
        return out

    def with_attributes(self, values: Sequence[FloatArray]) -> "StateBatch":
        """The same states with other values of attributes, (m, 3) for each of them."""
        ends = np.cumsum([0, *map(len, values)])
        return replace(self, attributes=Ragged(ends, np.concatenate([NOTHING_SAID, *values])))

    def scalar(self, name: str) -> FloatArray:
        """One scalar by its name in `layout.SCALARS`, shape (n,)."""
        return self.scalars[:, _SCALARS[name]]


@cache
def blank() -> StateBatch:
    """One customer of whom nothing is known; shared, hence not to be written to."""
    nothing: ByteArray = np.zeros(0, np.uint8)
    return read_parts(nothing, np.zeros((2, 1), np.int64), nothing, np.zeros((2, 1), np.int64), np.zeros(1, np.int64))


class StateLists(NamedTuple):
    """What the state parts of n customers hold: two dense arrays, and lists end to end."""

    scalars: FloatArray
    channels: FloatArray
    pair_codes: NDArray[np.int32]
    pair_stats: FloatArray
    contacts: FloatArray
    hour_bins: NDArray[np.int32]
    hour_weights: FloatArray
    cart_product: IntArray
    cart_stats: FloatArray
    exposure_code: IntArray
    exposure_stats: FloatArray


class ProductLists(NamedTuple):
    """What the product parts of n customers hold: one dense array, and lists end to end."""

    forgotten: ByteArray
    habit_product: IntArray
    habit_stats: FloatArray
    seq_product: IntArray
    seq_event: NDArray[np.int32]
    seq_time: FloatArray
    seq_value: Float32Array


def read_parts(
    states: ByteArray, states_at: IntArray, products: ByteArray, products_at: IntArray, last_seq: IntArray
) -> StateBatch:
    """Both parts of n customers as packing.py writes them: bytes of all, and where each part begins and ends (2, n).

    Raises StoreError for parts of another layout, UnreadableError for damaged ones.
    """
    n = len(last_seq)
    states_at, attributes = _attributes(states, states_at)
    of_state = np.zeros((n, packing.N_STATE_LISTS), np.int64)
    of_products = np.zeros((n, packing.N_PRODUCT_LISTS), np.int64)
    for part, (starts, ends), counts in ((states, states_at, of_state), (products, products_at, of_products)):
        wrong = _in_words(unpacking.measure, part, starts, ends, counts)
        if wrong is not None and wrong >= 0:
            if part[starts[wrong] : starts[wrong] + 2].tobytes() == packing.LAYOUT_CODE.to_bytes(2, "little"):
                raise _damaged()
            raise StoreError(
                "The states are of another version of the fold.", repair="Run: omni features build --force"
            )
    _, pairs, contacts, hours, lines, exposures = of_state.sum(axis=0).tolist()
    habits, entries = of_products.sum(axis=0).tolist()
    a = StateLists(
        scalars=np.repeat(kernel.SCALAR_START[None], n, axis=0),
        channels=np.broadcast_to(kernel.CHANNEL_START, (n, layout.N_CHANNELS, layout.CHANNEL_WIDTH)).copy(),
        pair_codes=np.empty(pairs, np.int32),
        pair_stats=np.empty((pairs, layout.PAIR_WIDTH)),
        contacts=np.empty((contacts, 2)),
        hour_bins=np.empty(hours, np.int32),
        hour_weights=np.empty(hours),
        cart_product=np.empty(lines, np.int64),
        cart_stats=np.empty((lines, layout.CART_WIDTH)),
        exposure_code=np.empty(exposures, np.int64),
        exposure_stats=np.empty((exposures, layout.EXPOSURE_WIDTH)),
    )
    _in_words(unpacking.read_state_parts, states, states_at[0], states_at[1], of_state, a)
    b = ProductLists(
        forgotten=np.zeros((n, layout.FORGOTTEN_BITS // 8), np.uint8),
        habit_product=np.empty(habits, np.int64),
        habit_stats=np.empty((habits, layout.HABIT_WIDTH)),
        seq_product=np.empty(entries, np.int64),
        seq_event=np.empty(entries, np.int32),
        seq_time=np.empty(entries),
        seq_value=np.empty(entries, np.float32),
    )
    _in_words(unpacking.read_product_parts, products, products_at[0], products_at[1], of_products, b)
    _, of_pair, of_contact, of_hour, of_line, of_exposure = (_offsets(lengths) for lengths in of_state.T)
    of_habit, of_entry = (_offsets(lengths) for lengths in of_products.T)
    return StateBatch(
        scalars=a.scalars,
        channels=a.channels,
        last_seq=last_seq,
        pair_codes=Ragged(of_pair, a.pair_codes),
        pair_stats=Ragged(of_pair, a.pair_stats),
        contacts=Ragged(of_contact, a.contacts),
        hour_bins=Ragged(of_hour, a.hour_bins),
        hour_weights=Ragged(of_hour, a.hour_weights),
        seq_product=Ragged(of_entry, b.seq_product),
        seq_event=Ragged(of_entry, b.seq_event),
        seq_time=Ragged(of_entry, b.seq_time),
        seq_value=Ragged(of_entry, b.seq_value),
        habit_product=Ragged(of_habit, b.habit_product),
        habit_stats=Ragged(of_habit, b.habit_stats),
        forgotten=b.forgotten,
        cart_product=Ragged(of_line, a.cart_product),
        cart_stats=Ragged(of_line, a.cart_stats),
        exposure_code=Ragged(of_exposure, a.exposure_code),
        exposure_stats=Ragged(of_exposure, a.exposure_stats),
        attributes=attributes,
    )


def rows_in_buffers(buffers: RowBuffers, n: int) -> StateBatch:
    """The first `n` rows that the kernel wrote."""
    return read_parts(
        buffers.state,
        _spans(buffers.state_end[:n]),
        buffers.products,
        _spans(buffers.products_end[:n]),
        buffers.last_seq[:n].copy(),
    )


def _attributes(states: ByteArray, states_at: IntArray) -> tuple[IntArray, Ragged]:
    """Where the states' own bytes lie (2, n), and what profile events said of each, which comes before them."""
    lengths = prefix_lengths(states, states_at)
    if lengths is None:
        n = states_at.shape[1]
        return states_at, Ragged(one_offsets(0) if n == 1 else np.zeros(n + 1, np.int64), NOTHING_SAID)
    spans = zip(states_at[0].tolist(), lengths.tolist(), strict=True)
    try:
        said = [read_prefix(states, begin, length) if length else NOTHING_SAID for begin, length in spans]
    except IndexError as error:
        raise _damaged() from error
    ends = np.cumsum([0, *map(len, said)])
    return np.stack([states_at[0] + lengths, states_at[1]]), Ragged(ends, np.concatenate(said))


def _in_words(read: Callable[..., int | None], *arguments: object) -> int | None:
    try:
        return read(*arguments)
    except IndexError as error:
        raise _damaged() from error


def _damaged() -> UnreadableError:
    return UnreadableError("A stored state is damaged.", repair="Run: omni features build --force")


def _offsets(lengths: IntArray) -> IntArray:
    if len(lengths) == 1:
        return one_offsets(int(lengths[0]))
    return np.concatenate([[0], np.cumsum(lengths)])


def _spans(ends: IntArray) -> IntArray:
    """Where parts that lie end to end begin and end, (2, n)."""
    return np.stack([np.concatenate([[0], ends[:-1]]), ends])


@lru_cache(maxsize=1_000)
def one_offsets(length: int) -> IntArray:
    """Offsets of one list; shared, hence not to be written to.

    NumPy is not told so: for arrays that it guards, all that is compiled would be compiled once more.
    """
    return np.array([0, length], dtype=np.int64)
