"""Customer states in memory: arrays of many customers at once, whose lists of any length lie end to end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.state import kernel, kernel_batch, layout
from features.state.layout import RowBuffers
from features.vocabulary import DAY_S

LIST_WIDTHS: Final[Mapping[str, int]] = {
    "pair_codes": 0,
    "pair_stats": layout.PAIR_WIDTH,
    "contacts": 2,
    "hour_bins": 0,
    "hour_weights": 0,
    "seq_product": 0,
    "seq_event": 0,
    "seq_time": 0,
    "seq_value": 0,
    "habit_product": 0,
    "habit_stats": layout.HABIT_WIDTH,
    "cart_product": 0,
    "cart_stats": layout.CART_WIDTH,
}
"""The lists of a state, and how many numbers each of their entries has; 0 for a plain number."""
_IN_BUFFERS: Final[Mapping[str, tuple[str, str]]] = {
    "pair_codes": ("pair_end", "pair_codes"),
    "pair_stats": ("pair_end", "pair_stats"),
    "contacts": ("contact_end", "contacts"),
    "hour_bins": ("hour_end", "hour_bins"),
    "hour_weights": ("hour_end", "hour_weights"),
    "seq_product": ("seq_end", "seq_product"),
    "seq_event": ("seq_end", "seq_event"),
    "seq_time": ("seq_end", "seq_time"),
    "seq_value": ("seq_end", "seq_value"),
    "habit_product": ("habit_end", "habit_codes"),
    "habit_stats": ("habit_end", "habits"),
    "cart_product": ("cart_end", "cart_codes"),
    "cart_stats": ("cart_end", "cart"),
}
"""Where the kernel writes them: the ends of every row's list, and the entries."""


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

    @classmethod
    def concat(cls, parts: "Sequence[Ragged]") -> "Ragged":
        """All lists of all parts, in order."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        return cls(np.concatenate([[0], np.cumsum(lengths)]), np.concatenate([part.values for part in parts]))


@dataclass(frozen=True)
class StateBatch:
    """States of `n` customers, each as of its own last event. Times are seconds since the epoch, NaN means never."""

    scalars: FloatArray  # (n, S), see layout.SCALARS
    channels: FloatArray  # (n, channels, CHANNEL_WIDTH): consent, unanswered contacts, last contact, last response
    last_seq: IntArray  # (n,) the newest log row folded in; 0 for none
    pair_codes: Ragged  # channel * kinds + kind
    pair_stats: Ragged  # (m, PAIR_WIDTH)
    contacts: Ragged  # (m, 2): channel, time; oldest first, at most 16
    hour_bins: Ragged  # hour of the week, Monday 00:00 UTC = 0, in order of first use
    hour_weights: Ragged  # as of the scalar "hours_from"; `hours` opens and decays them
    seq_product: Ragged  # product codes, oldest first, at most 128
    seq_event: Ragged  # kind * 16 + channel
    seq_time: Ragged
    seq_value: Ragged
    habit_product: Ragged  # at most 128
    habit_stats: Ragged  # (m, HABIT_WIDTH): weight at last, last, span in days, count
    cart_product: Ragged  # at most 32
    cart_stats: Ragged  # (m, CART_WIDTH): channel, units, time

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

    def scalar(self, name: str) -> FloatArray:
        """One scalar by its name in `layout.SCALARS`, shape (n,)."""
        return self.scalars[:, layout.SCALARS.index(name)]


def list_in_buffers(buffers: RowBuffers, name: str) -> tuple[IntArray, NDArray[Any]]:
    """A list of LIST_WIDTHS as the kernel wrote it: where each row's part ends, and the entries of all."""
    ends, entries = _IN_BUFFERS[name]
    return getattr(buffers, ends), getattr(buffers, entries)


def first_row(buffers: RowBuffers) -> StateBatch:
    """The one row in the buffers as a batch of n = 1, which goes on using their memory."""
    lists = {}
    for name in LIST_WIDTHS:
        ends, entries = list_in_buffers(buffers, name)
        lists[name] = Ragged(one_offsets(int(ends[0])), entries[: ends[0]])
    return StateBatch(
        scalars=buffers.scalars[:1],
        channels=buffers.channels[:1].reshape(1, layout.N_CHANNELS, layout.CHANNEL_WIDTH),
        last_seq=buffers.last_seq[:1],
        **lists,
    )


@cache
def blank() -> StateBatch:
    """One customer of whom nothing is known; shared, hence not to be written to."""
    buffers = layout.new_buffers(1)
    kernel_batch.write_row(kernel.new_scratch(), buffers, 0, 0, np.nan, True)
    return first_row(buffers)


@lru_cache(maxsize=1_000)
def one_offsets(length: int) -> IntArray:
    """Offsets of one list; shared, hence not to be written to."""
    offsets = np.array([0, length], dtype=np.int64)
    offsets.flags.writeable = False
    return offsets
