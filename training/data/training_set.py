"""Training sets: entity rows with labels in, signals as of each row's moment, through the feature store, beside them out."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.arrays import BoolArray, Float32Array, FloatArray
from features.errors import InputError
from features.vocabulary import Columns, Task
from training.task import Progress

if TYPE_CHECKING:
    from features.state.batch import StateBatch

logger = logging.getLogger(__name__)

CHUNK_ROWS = 25_000
"""Rows whose states are held at once: a state takes about 10 KB, its signals about 0.6 KB."""


class StateSource(Protocol):
    """What this module needs of features.store.feature_store.Store."""

    def training_states(self, entities: pd.DataFrame, task: Task) -> "StateBatch":
        """State i is that of entity row i, from events strictly before its `as_of`."""
        ...

    def feature_service_name(self, task: Task) -> str:
        """The FeatureService that the task's features come through."""
        ...


@dataclass(frozen=True)
class TrainingSet:
    """Row i of every part belongs to row i of `entities` (customer_id, as_of, label, and the task's own columns).

    `features` is float32 (n, F) with NaN for missing, its columns named by `feature_names`; `labels` float64 (n,).
    `states` is None unless asked for.
    """

    entities: pd.DataFrame
    states: "StateBatch | None"
    features: Float32Array
    feature_names: tuple[str, ...]
    labels: FloatArray
    feature_service: str
    fingerprint: str

    def __len__(self) -> int:
        return len(self.entities)

    def select(self, mask: BoolArray) -> "TrainingSet":
        """The rows where `mask` (n,) holds, without their states."""
        return TrainingSet(
            self.entities[mask].reset_index(drop=True),
            None,
            self.features[mask],
            self.feature_names,
            self.labels[mask],
            self.feature_service,
            self.fingerprint,
        )

    def joined(self, other: "TrainingSet") -> "TrainingSet":
        """The rows of both, without their states."""
        return TrainingSet(
            pd.concat([self.entities, other.entities], ignore_index=True),
            None,
            np.concatenate([self.features, other.features]),
            self.feature_names,
            np.concatenate([self.labels, other.labels]),
            self.feature_service,
            self.fingerprint,
        )

    def columns(self, names: Sequence[str]) -> Float32Array:
        """Signals (n, len(names)) by their names, in that order."""
        return np.column_stack([self.column(name) for name in names])

    def column(self, name: str) -> Float32Array:
        """One signal (n,) by its name. Raises InputError for a name that is not among the signals."""
        if name not in self.feature_names:
            raise InputError(f"There is no signal {name!r}.", repair="See features/signals.py for the names.")
        return self.features[:, self.feature_names.index(name)]


def build_training_set(
    entities: pd.DataFrame,
    task: Task,
    store: StateSource,
    data_fingerprint: str,
    *,
    keep_states: bool = False,
    chunk_rows: int = CHUNK_ROWS,
    progress: Progress = lambda _: None,
) -> TrainingSet:
    """Fetch states through the store, as of each row, and compute their signals.

    `entities` needs customer_id, as_of (aware UTC) and label; the order is kept. States are fetched in chunks of
    customers, so memory stays bounded; with `keep_states` all are fetched at once and kept.
    """
    from features.signals import compute_signals, signal_names

    table = entities.reset_index(drop=True)
    features = np.empty((len(table), len(signal_names())), dtype=np.float32)
    states: Any = None
    done = 0
    for rows in _chunks(table, len(table) if keep_states else chunk_rows):
        part = table.loc[rows, [Columns.CUSTOMER_ID, Columns.AS_OF]].reset_index(drop=True)
        states = store.training_states(part, task)
        features[rows] = compute_signals(states, epoch_seconds(part[Columns.AS_OF]))
        done += len(rows)
        progress(f"{task.value}: features of {done:,} of {len(table):,} rows")
    return TrainingSet(
        entities=table,
        states=states if keep_states else None,
        features=features,
        feature_names=signal_names(),
        labels=table[Columns.LABEL].to_numpy(dtype=np.float64),
        feature_service=store.feature_service_name(task),
        fingerprint=entities_fingerprint(table, data_fingerprint),
    )


def epoch_seconds(moments: pd.Series) -> FloatArray:
    """Aware moments (n,) as seconds since 1970."""
    return moments.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64) / 1e6


def entities_fingerprint(entities: pd.DataFrame, data_fingerprint: str) -> str:
    """A hash of the data and of which rows with which labels were drawn from it."""
    columns = [Columns.CUSTOMER_ID, Columns.AS_OF, Columns.LABEL]
    hashes = pd.util.hash_pandas_object(entities[columns], index=False).to_numpy()
    return hashlib.sha256(data_fingerprint.encode() + hashes.tobytes()).hexdigest()[:16]


def _chunks(table: pd.DataFrame, size: int) -> Sequence[NDArray[np.intp]]:
    """Row positions in groups of about `size`, ordered by customer so that a chunk touches few customers' histories."""
    order = np.lexsort((table[Columns.AS_OF].to_numpy(), table[Columns.CUSTOMER_ID].to_numpy(str)))
    return np.array_split(order, max(1, -(-len(order) // max(1, size)))) if len(order) else []
