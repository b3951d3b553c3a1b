"""A next-product network's weights and customers in, the scores of its graph out, at half the graph's cost or less.

The graph scores all products at every question by three hundred small steps. Here what concerns the customer (their vector,
what each event adds to its own product, the scores of products that they buy habitually) is one compiled walk over events and
habits, and what concerns the products is one product of matrices. What is computed is the forward pass of
`training/models/next_product/network.py`; every graph is compared with this at its export and at its trial.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.arrays import IntArray
from features.scoring.item_tables import Floats32
from features.scoring.model_inputs import INPUT_NAMES
from features.scoring.network.kernel import BLOCK, N_HABIT_FEATURES, add_halves, read_customers

_ITEM, _KIND, _CHANNEL, _AGE, _HABIT_ITEM, *_HABIT_NUMBERS = INPUT_NAMES
_LINEAR: Final = ("time", "pool.relevance", "pool.mix", "summary.2", "habit_in", "habit_out.1", "habit_out.3")
"""The layers that multiply by a matrix and add a bias."""


class Weights(NamedTuple):
    """The network's parameters; matrices lie so that the last axis is what a row is multiplied into."""

    item: Floats32  # (V + 1, D)
    item_bias: Floats32  # (V + 1,)
    repeat: Floats32  # (V + 1, R)
    kind: Floats32  # (kinds, D)
    channel: Floats32  # (channels, D)
    time: Floats32  # (3, D) of the age, of the gap, and what is always added
    relevance: Floats32  # (D + 1, heads) the last row is always added
    forgetting: Floats32  # (heads,)
    mix: Floats32  # (heads * D + 1, D) likewise
    summary: Floats32  # (D + 1, D) likewise
    trace_kind: Floats32  # (kinds, T)
    trace_channel: Floats32  # (channels, T)
    trace_rate: Floats32  # (T,)
    trace_score: Floats32  # (T,)
    context: Floats32  # (D, hidden)
    habit_in: Floats32  # (12 + T + R + 1, hidden) the last row is always added
    habit_hidden: Floats32  # (hidden + 1, hidden) likewise
    habit_out: Floats32  # (hidden + 1,) likewise
    scalars: Floats32  # (3,) popularity_weight, habit_level, habit_frequency


class Customers(NamedTuple):
    """What n customers bring to their scores."""

    vector: Floats32  # (n, D)
    event: Floats32  # (n, S) what each event adds to its own product
    habit: Floats32  # (n, H) the score of each habitual product


class SplitNetwork:
    """A network that pools events and has no transformer blocks, in its two halves."""

    def __init__(self, weights: Weights, max_length: int) -> None:
        """`max_length` newest events are looked at."""
        self.weights = weights
        self.max_length = max_length

    @classmethod
    def of(cls, arrays: Mapping[str, Floats32], max_length: int) -> "SplitNetwork | None":
        """From the arrays of a graph; None where they are those of another kind of network."""
        if arrays.keys() != _RANKS.keys() or any(arrays[name].ndim != rank for name, rank in _RANKS.items()):
            return None
        shapes = _shapes(arrays)
        if any(arrays[name].shape != shape for name, shape in shapes.items()):
            return None
        return cls(_weights(arrays), max_length)

    def base(self, log_popularity: Floats32) -> Floats32:
        """What products score for everybody (V + 1,) where so much is popular."""
        base: Floats32 = self.weights.item_bias + self.weights.scalars[0] * log_popularity
        return base

    def customers(self, inputs: Mapping[str, NDArray[Any]], log_popularity: Floats32) -> Customers:
        """The customers' half, from `model_inputs`. Raises IndexError for a code that the network has no row for."""
        item, kind, channel, habit_item = (_ints(inputs[name]) for name in (_ITEM, _KIND, _CHANNEL, _HABIT_ITEM))
        age, weight, habit_age, gap, count = (_floats(inputs[name]) for name in (_AGE, *_HABIT_NUMBERS))
        made = Customers(
            np.empty((len(item), self.weights.item.shape[1]), np.float32),
            np.zeros(item.shape, np.float32),
            np.zeros(habit_item.shape, np.float32),
        )
        asked = (item, kind, channel, age, habit_item, weight, habit_age, gap, count)
        read_customers(self.weights, log_popularity, self.max_length, *asked, *made, *self._scratch())
        return made

    def scores(
        self, inputs: Mapping[str, NDArray[Any]], log_popularity: Floats32, base: Floats32, n_rows: int
    ) -> Floats32:
        """Scores (n, n_rows) of `model_inputs`, column 0 minus infinity; `base` is of the same popularity."""
        made = self.customers(inputs, log_popularity)
        item = self.weights.item[:n_rows]
        scores = np.empty((len(made.vector), n_rows), np.float32)
        if len(scores) == 1:
            np.dot(item, made.vector[0], out=scores[0])
        else:
            np.matmul(made.vector, item.T, out=scores)
        add_halves(scores, base, _ints(inputs[_ITEM]), made.event, _ints(inputs[_HABIT_ITEM]), made.habit)
        return scores

    def _scratch(self) -> tuple[NDArray[Any], ...]:
        weights = self.weights
        heads, (n_traces, hidden) = len(weights.forgetting), (len(weights.trace_rate), weights.context.shape[1])
        return (
            np.empty((self.max_length, weights.item.shape[1]), np.float32),  # events
            np.empty((self.max_length, heads), np.float32),  # attention
            np.empty((self.max_length, n_traces), np.float32),  # traces
            np.empty(len(weights.mix) - 1, np.float32),  # pooled
            np.empty(weights.item.shape[1], np.float32),  # mixed
            np.empty(hidden, np.float32),  # what the customer adds to every habit
            np.zeros((BLOCK, len(weights.habit_in) - 1), np.float32),  # features of habits
            np.empty((BLOCK, hidden), np.float32),  # their first layer
            np.empty((BLOCK, hidden), np.float32),  # their second
            np.empty(BLOCK, np.int64),  # which habits they are
        )


_RANKS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("popularity_weight", "habit_level", "habit_frequency"), 0),
    **dict.fromkeys(("trace_rate", "trace_score", "pool.forgetting"), 1),
    **dict.fromkeys(("item.weight", "item_bias.weight", "repeat.weight", "kind.weight", "channel.weight"), 2),
    **dict.fromkeys(("trace_kind.weight", "trace_channel.weight", "context.weight"), 2),
    **dict.fromkeys((f"{name}.weight" for name in _LINEAR), 2),
    **dict.fromkeys((f"{name}.bias" for name in _LINEAR), 1),
}
"""The parameters of NextProductNet without blocks, and how many axes each has."""


def _shapes(arrays: Mapping[str, Floats32]) -> dict[str, tuple[int, ...]]:
    """What shapes fit together."""
    (n_rows, dim), n_repeat = arrays["item.weight"].shape, arrays["repeat.weight"].shape[1]
    n_kinds, n_channels = len(arrays["kind.weight"]), len(arrays["channel.weight"])
    n_traces, heads, hidden = (len(arrays[name]) for name in ("trace_rate", "pool.forgetting", "context.weight"))
    linear = {
        "time": (dim, 2),
        "pool.relevance": (heads, dim),
        "pool.mix": (dim, heads * dim),
        "summary.2": (dim, dim),
        "habit_in": (hidden, N_HABIT_FEATURES + n_traces + n_repeat),
        "habit_out.1": (hidden, hidden),
        "habit_out.3": (1, hidden),
    }
    return {
        "item_bias.weight": (n_rows, 1),
        "repeat.weight": (n_rows, n_repeat),
        "kind.weight": (n_kinds, dim),
        "channel.weight": (n_channels, dim),
        "trace_kind.weight": (n_kinds, n_traces),
        "trace_channel.weight": (n_channels, n_traces),
        "trace_score": (n_traces,),
        "context.weight": (hidden, dim),
        **{f"{name}.weight": shape for name, shape in linear.items()},
        **{f"{name}.bias": shape[:1] for name, shape in linear.items()},
    }


def _weights(arrays: Mapping[str, Floats32]) -> Weights:
    def linear(name: str) -> Floats32:
        return np.vstack((arrays[f"{name}.weight"].T, arrays[f"{name}.bias"]))

    def positive(values: Floats32) -> Floats32:
        return np.asarray(np.logaddexp(values, 0.0), np.float32)  # softplus

    found = Weights(
        item=arrays["item.weight"],
        item_bias=arrays["item_bias.weight"][:, 0],
        repeat=arrays["repeat.weight"],
        kind=arrays["kind.weight"],
        channel=arrays["channel.weight"],
        time=linear("time"),
        relevance=linear("pool.relevance"),
        forgetting=positive(arrays["pool.forgetting"]),
        mix=linear("pool.mix"),
        summary=linear("summary.2"),
        trace_kind=arrays["trace_kind.weight"],
        trace_channel=arrays["trace_channel.weight"],
        trace_rate=positive(arrays["trace_rate"]),
        trace_score=arrays["trace_score"],
        context=arrays["context.weight"].T,
        habit_in=linear("habit_in"),
        habit_hidden=linear("habit_out.1"),
        habit_out=linear("habit_out.3")[:, 0],
        scalars=np.stack([arrays[name] for name in ("popularity_weight", "habit_level", "habit_frequency")]),
    )
    return Weights(*(np.array(array, np.float32, order="C") for array in found))


def _ints(values: NDArray[Any]) -> IntArray:
    return np.ascontiguousarray(values, np.int64)


def _floats(values: NDArray[Any]) -> Floats32:
    return np.ascontiguousarray(values, np.float32)
