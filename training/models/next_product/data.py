"""Cutoffs in, what the next-product network learns from out: inputs through the feature store, next baskets, popularity."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from features.arrays import BoolArray, FloatArray, IntArray
from features.errors import InputError
from features.scoring.model_inputs import INPUT_NAMES, STORE, CodeRows, model_inputs
from features.state.batch import StateBatch
from features.vocabulary import Columns, Task
from training.data.baskets import NextBaskets, Purchases, next_baskets
from training.data.interactions import Interactions
from training.data.training_set import StateSource
from training.evaluation.ranking import Targets
from training.task import Progress

_COMPACT = {"item": np.int32, "kind": np.int8, "channel": np.int8, "habit_item": np.int32, STORE: np.float64}
_CHUNK_ROWS = 12_000


@dataclass(frozen=True)
class ProductVocabulary:
    """The products that the network can name: vocabulary row i + 1 is catalogue row `catalogue_rows[i]`."""

    product_ids: tuple[str, ...]
    catalogue_rows: IntArray
    n_catalogue: int

    @classmethod
    def of_customers(cls, purchases: Purchases, before: float, n_min_customers: int) -> "ProductVocabulary":
        """Products that at least `n_min_customers` different customers bought before a moment (seconds)."""
        lines = purchases.lines.before(before)
        pairs = np.unique(lines.customer * (lines.n_items + 1) + lines.item)
        counts = np.bincount(pairs % (lines.n_items + 1), minlength=lines.n_items + 1)
        rows = np.flatnonzero(counts >= n_min_customers)
        if not len(rows):
            raise InputError(
                f"No product was bought by {n_min_customers} customers.", repair="Set a smaller n_min_customers."
            )
        return cls(tuple(str(name) for name in purchases.product_ids[rows - 1]), rows, lines.n_items)

    def __len__(self) -> int:
        return len(self.product_ids)

    def sold(self, past: Interactions) -> BoolArray:
        """Which rows (V + 1,) somebody bought in `past`; row 0, padding, is none."""
        counts = np.bincount(past.item, minlength=self.n_catalogue + 1)
        return np.concatenate(([False], counts[self.catalogue_rows] > 0))

    def from_catalogue(self, targets: Targets) -> Targets:
        """Targets in vocabulary rows; what is not in the vocabulary falls out."""
        row_of = np.zeros(self.n_catalogue + 1, dtype=np.int64)
        row_of[self.catalogue_rows] = np.arange(1, len(self) + 1)
        rows = row_of[targets.items]
        known = rows > 0
        return Targets.from_pairs(targets.owners()[known], rows[known], len(targets))

    def to_catalogue(self, top: IntArray) -> IntArray:
        """Vocabulary rows as catalogue rows, 0 staying 0."""
        return np.concatenate(([0], self.catalogue_rows))[top]


@dataclass(frozen=True)
class Examples:
    """n pairs of a customer and a moment: `model_inputs` by name, next baskets in catalogue rows, and the moment of each."""

    inputs: dict[str, NDArray[np.generic]]
    targets: Targets
    customers: IntArray
    moment: IntArray

    def __len__(self) -> int:
        return len(self.customers)

    def take(self, rows: IntArray) -> "Examples":
        """The examples `rows` (m,)."""
        return Examples(
            inputs={name: array[rows] for name, array in self.inputs.items()},
            targets=self.targets.take(rows),
            customers=self.customers[rows],
            moment=self.moment[rows],
        )

    def of_moments(self, first: int, end: int) -> "Examples":
        """The examples of the moments [first, end), whose numbers then start at 0."""
        rows = np.flatnonzero((self.moment >= first) & (self.moment < end))
        lo, hi = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        indptr = self.targets.indptr[lo : hi + 1]
        items = self.targets.items[indptr[0] : indptr[-1]]
        return Examples(
            inputs={name: array[lo:hi] for name, array in self.inputs.items()},
            targets=Targets(indptr - indptr[0], items),
            customers=self.customers[lo:hi],
            moment=self.moment[lo:hi] - first,
        )

    def lengths(self) -> IntArray:
        """Events, or habits where there are more of them, that each example has (n,)."""
        known = [np.count_nonzero(self.inputs[name], axis=1) for name in ("item", "habit_item")]
        return np.maximum(*known).astype(np.int64)

    def batch(self, index: IntArray, width: int | None = None) -> tuple[Tensor, ...]:
        """The network's inputs for the examples `index`, in order; only the last `width` columns where that is given."""
        newest = slice(None) if width is None else slice(-max(width, 1), None)
        return as_tensors({name: self.inputs[name][index][:, newest] for name in INPUT_NAMES})


def as_tensors(inputs: dict[str, NDArray[np.generic]]) -> tuple[Tensor, ...]:
    """Inputs by name as tensors in the order of `forward`, whole numbers as int64."""
    tensors = (torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in INPUT_NAMES)
    return tuple(tensor if tensor.is_floating_point() else tensor.long() for tensor in tensors)


def load_examples(
    store: StateSource,
    purchases: Purchases,
    vocabulary: ProductVocabulary,
    windows: Sequence[tuple[datetime, datetime]],
    progress: Progress,
) -> tuple[Examples, StateBatch, pd.DataFrame]:
    """Examples of every customer who buys in [cutoff, end), for each window (cutoff, end) in order.

    Also answers the states and entity rows of the last window. Inputs are as of the cutoff, through the store. Raises
    InputError when nobody buys in some window.
    """
    labels = [next_baskets(purchases.lines, start.timestamp(), end.timestamp()) for start, end in windows]
    entities = pd.concat(
        [_entities(purchases, found, start) for found, (start, _) in zip(labels, windows, strict=True)]
    )
    entities = entities.reset_index(drop=True)
    first_kept = len(entities) - len(labels[-1].customers)
    to_rows = CodeRows(vocabulary.product_ids)
    parts: list[dict[str, NDArray[np.generic]]] = []
    kept: list[StateBatch] = []
    for rows in _chunks(len(entities), _CHUNK_ROWS):
        part = entities.iloc[rows].reset_index(drop=True)
        states = store.training_states(part, Task.NEXT_PRODUCT)
        parts.append(_compact(model_inputs(states, seconds(part[Columns.AS_OF]), to_rows)))
        kept.append(states.take(np.flatnonzero(rows >= first_kept)))
        progress(f"next-product: sequences of {int(rows[-1]) + 1:,} of {len(entities):,} customer moments")
    sizes = np.concatenate([found.targets.sizes for found in labels])
    targets = Targets(
        np.concatenate(([0], np.cumsum(sizes))), np.concatenate([found.targets.items for found in labels])
    )
    examples = Examples(
        inputs={name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
        targets=targets,
        customers=np.concatenate([found.customers for found in labels]),
        moment=np.repeat(np.arange(len(windows)), [len(found.customers) for found in labels]),
    )
    return examples, StateBatch.concat(kept), entities.iloc[first_kept:].reset_index(drop=True)


def seconds(moments: pd.Series) -> FloatArray:
    """Aware moments (n,) as seconds since 1970."""
    return moments.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64) / 1e6


def vocabulary_json(vocabulary: ProductVocabulary) -> str:
    """The file that travels with the model: product ids, row i + 1 being entry i."""
    return json.dumps(list(vocabulary.product_ids))


def _entities(purchases: Purchases, found: NextBaskets, as_of: datetime) -> pd.DataFrame:
    moment = pd.Timestamp(as_of.astimezone(UTC)).as_unit("us")
    frame = pd.DataFrame({Columns.CUSTOMER_ID: purchases.customer_ids[found.customers]})
    return frame.assign(**{Columns.AS_OF: pd.Series(moment, index=frame.index, dtype="datetime64[us, UTC]")})


def _compact(inputs: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    return {name: array.astype(_COMPACT.get(name, np.float32)) for name, array in inputs.items()}


def _chunks(n: int, size: int) -> Iterator[IntArray]:
    for start in range(0, n, size):
        yield np.arange(start, min(start + size, n))
