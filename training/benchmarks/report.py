"""A benchmark's report: figures with intervals of a model and its baselines in, JSON and a table out."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from features.arrays import IntArray
from features.errors import InputError
from features.evaluation.resampling import Metric
from features.events.values import parse_properties
from features.vocabulary import CHANNEL_CODES, KIND_CODES, Channel, Columns, EventKind, Task
from training.data.frames import called, customer_names, moments, names, names_or_rows, numbers, words
from training.data.training_set import epoch_seconds

logger = logging.getLogger(__name__)

_MIN_COLUMNS: Final = (Columns.CUSTOMER_ID, Columns.OCCURRED_AT)
_OTHER_NAMES: Final = {"user_id": Columns.CUSTOMER_ID, "timestamp": Columns.OCCURRED_AT}
_FILL: Final[dict[str, Any]] = {
    Columns.KIND: EventKind.PURCHASE.value,
    Columns.CHANNEL: Channel.STORE.value,
    Columns.PRODUCT_ID: None,
    Columns.QUANTITY: 1.0,
    Columns.VALUE: np.nan,
}
"""What a column that is not there holds."""


@dataclass(frozen=True)
class BenchmarkReport:
    """The one shape of every benchmark's answer; `metrics` and `baselines` hold value, low and high."""

    task: Task
    metrics: Mapping[str, Metric]
    baselines: Mapping[str, Mapping[str, Metric]]
    gains: Mapping[str, Metric]
    seconds: Mapping[str, float]
    protocol: Mapping[str, Any]
    rows: Mapping[str, int]
    seed: int
    ablation: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    """The model without one part, or one part alone, where that was asked for."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What else a task has to report: more keys of the JSON object; metrics may lie anywhere in it."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `--report` writes."""
        found = {
            "task": self.task.value,
            "metrics": {name: metric.to_dict() for name, metric in self.metrics.items()},
            "baselines": {
                name: {key: metric.to_dict() for key, metric in values.items()}
                for name, values in self.baselines.items()
            },
            "gains": {name: metric.to_dict() for name, metric in self.gains.items()},
            "seconds": dict(self.seconds),
            "protocol": dict(self.protocol),
            "rows": dict(self.rows),
            "seed": self.seed,
            **_plain(dict(self.details)),
        }
        if self.ablation:
            found["ablation"] = {
                name: {key: metric.to_dict() for key, metric in values.items()}
                for name, values in self.ablation.items()
            }
        return found

    def __rich__(self) -> Any:
        """The figures as a table, under the protocol."""
        from rich.console import Group

        from training.evaluation.tables import ablation_table, metric_table

        told = {name: value for name, value in self.protocol.items() if not _is_nested(value)}  # the file holds all
        protocol = ", ".join(f"{name} {value}" for name, value in told.items())
        tables = [metric_table([(self.task.value, self.metrics, self.baselines)])]
        if self.ablation:
            tables += ["", ablation_table(self.metrics, self.ablation)]
        gains = [f"gain over {name} on the primary metric: {gain}" for name, gain in self.gains.items()]
        return Group(protocol, "", *tables, "", *gains)

    def write(self, path: Path) -> None:
        """Write the report as one JSON object; undefined numbers become null."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(_finite(self.to_dict()), indent=2) + "\n", encoding="utf-8")


class MemoryStates:
    """States folded from a timeline that is held in memory: what a benchmark uses instead of the feature store."""

    def __init__(self, timeline: pa.Table) -> None:
        """`timeline` has the timeline's columns, sorted by (customer_id, occurred_at, event_id)."""
        from features.state.fold import fold_timeline

        rows = pa.concat_tables([states for states, _ in fold_timeline(timeline)])
        self._rows = rows
        self._times: IntArray = rows[Columns.EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
        names = rows[Columns.CUSTOMER_ID].to_pandas()
        first = np.flatnonzero(np.concatenate([[True], names.to_numpy()[1:] != names.to_numpy()[:-1]]))
        ends = np.append(first[1:], len(names))
        self._spans = dict(zip(names.iloc[first], zip(first, ends, strict=True), strict=True))

    def training_states(self, entities: pd.DataFrame, task: Task) -> Any:
        """State i from events strictly before the moment of entity row i."""
        from features.state.encoding import decode

        moments = np.round(epoch_seconds(entities[Columns.AS_OF]) * 1e6).astype(np.int64)
        found = np.full(len(entities), -1)
        for i, (customer, moment) in enumerate(zip(entities[Columns.CUSTOMER_ID], moments, strict=True)):
            first, end = self._spans.get(customer, (0, 0))
            at = first + int(np.searchsorted(self._times[first:end], moment)) - 1
            found[i] = at if at >= first and end > first else -1
        return decode(self._rows.take(pa.array(found, mask=found < 0)), None)

    def feature_service_name(self, task: Task) -> str:
        """No feature service is involved."""
        return "in-memory"


def timeline_of(table: pd.DataFrame, path: Path) -> pa.Table:
    """The frame of a file as a timeline: customer_id, occurred_at, and where there kind, channel, value.

    A file without `kind` holds purchases in a store (returns, where the quantity or the value is negative), and times
    without a zone are UTC. Left out are rows without a customer or a moment, and all but the first of one event_id.
    user_id and timestamp are other names of the first two columns. Raises InputError for a file that lacks a column or
    a value that cannot be read, or values in several currencies.
    """
    table = called(table, _OTHER_NAMES)
    missing = [name for name in _MIN_COLUMNS if name not in table.columns]
    if missing:
        raise InputError(
            f"{path} has no column {missing[0]!r}.", repair="Columns: customer_id, occurred_at and, if known, value."
        )
    return as_timeline(table)


def as_timeline(table: pd.DataFrame) -> pa.Table:
    """A frame with at least customer_id and occurred_at as a timeline, sorted; see `timeline_of`."""
    named = {name: table.get(name, pd.Series(fill, index=table.index)) for name, fill in _FILL.items()}
    ids = table.get(Columns.EVENT_ID, pd.Series(table.index.astype(str), index=table.index))
    units, money = (numbers(named[name], name) for name in (Columns.QUANTITY, Columns.VALUE))
    _check_currencies(table, money)
    kind = named[Columns.KIND]
    if Columns.KIND not in table.columns:
        kind = kind.where(~((units < 0) | (money < 0)), EventKind.RETURN.value)
        units, money = units.abs(), money.abs()
    frame = pd.DataFrame(
        {
            Columns.CUSTOMER_ID: customer_names(table[Columns.CUSTOMER_ID]),
            Columns.OCCURRED_AT: moments(table[Columns.OCCURRED_AT], Columns.OCCURRED_AT),
            Columns.EVENT_ID: names_or_rows(ids),
            Columns.KIND: words(kind, Columns.KIND, KIND_CODES),
            Columns.CHANNEL: words(named[Columns.CHANNEL], Columns.CHANNEL, CHANNEL_CODES),
            Columns.PRODUCT_ID: names(named[Columns.PRODUCT_ID]),
            Columns.QUANTITY: units,
            Columns.VALUE: money,
        }
    )
    if Columns.PROPERTIES in table.columns:
        frame[Columns.PROPERTIES] = _json_texts(table[Columns.PROPERTIES])
    frame[Columns.SEQ] = np.arange(1, len(frame) + 1)  # of one moment, events count as they come in the file
    frame = frame.dropna(subset=list(_MIN_COLUMNS)).drop_duplicates(Columns.EVENT_ID)
    frame = frame.sort_values([Columns.CUSTOMER_ID, Columns.OCCURRED_AT, Columns.EVENT_ID], kind="stable")
    types = {Columns.OCCURRED_AT: pa.timestamp("us", tz="UTC"), Columns.PRODUCT_ID: pa.string()}
    schema = pa.schema([*types.items(), (Columns.PROPERTIES, pa.string())])
    columns = {
        name: pa.array(frame[name], type=schema.field(name).type if name in schema.names else None, from_pandas=True)
        for name in frame.columns
    }
    return pa.table(columns)


def _json_texts(column: pd.Series) -> pd.Series:
    """Properties as JSON text, None for what is no object: such as the orders that returns name."""
    texts = []
    for value in column:
        text = json.dumps(value, default=str) if isinstance(value, dict) else value
        texts.append(text if isinstance(text, str) and isinstance(parse_properties(text), dict) else None)
    return pd.Series(texts, index=column.index, dtype=object)


def _check_currencies(table: pd.DataFrame, money: pd.Series) -> None:
    """Raises InputError where values are in several currencies: their sums would be of nothing."""
    if Columns.CURRENCY not in table.columns:
        return
    several = sorted(set(table[Columns.CURRENCY][money.notna()].dropna().astype(str)))
    if len(several) > 1:
        raise InputError(
            f"The values are in {len(several)} currencies ({', '.join(several[:5])}).",
            repair="Convert them to one; `omni ingest` does so by rates.csv.",
        )


class parquet:  # noqa: N801 - used like a function
    """A table as a Parquet file for the time of a with-block."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __enter__(self) -> Path:
        import tempfile

        import pyarrow.parquet as pq

        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "timeline.parquet"
        pq.write_table(self._table, path)
        return path

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(inner, dict) for inner in value))


def _plain(value: Any) -> Any:
    if isinstance(value, Metric):
        return value.to_dict()
    return {key: _plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
