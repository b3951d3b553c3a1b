"""One customer's events in the timeline file: a name in, what the fold reads of them out, in the order in which they count."""

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.offline.state_files import FOLD_COLUMNS
from features.state.event_arrays import event_arrays, named_by_decisions
from features.state.layout import EventArrays
from features.state.order import in_order
from features.vocabulary import Columns

_KEPT: Final = 3
"""Row groups at hand: customers lie in the order of their names, and some lie across two groups."""
_FEW_VALUES: Final = (Columns.CUSTOMER_ID, Columns.KIND, Columns.CHANNEL)
"""Columns that are read as the file keeps them, each of their texts once: that takes a quarter of the time."""


class TimelineRows:
    """Reads the groups of rows that a customer lies in; quick for customers in the order of their names."""

    def __init__(self, timeline: Path) -> None:
        self._file = pq.ParquetFile(timeline, read_dictionary=list(_FEW_VALUES))
        self._groups: OrderedDict[int, tuple[EventArrays, dict[str, slice]]] = OrderedDict()
        fields = self._file.schema_arrow
        self._schema = pa.schema([fields.field(name) for name in FOLD_COLUMNS])
        column = fields.get_field_index(Columns.CUSTOMER_ID)
        metadata = self._file.metadata
        statistics = [metadata.row_group(number).column(column).statistics for number in range(metadata.num_row_groups)]
        self._spans = [None if found is None else (found.min, found.max) for found in statistics]

    def of(self, customer_id: str) -> EventArrays:
        """Their events, as `customer_arrays` has them; none of somebody who is not in the file."""
        parts = []
        for number, span in enumerate(self._spans):
            if span is None or span[0] <= customer_id <= span[1]:
                events, places = self._group(number)
                rows = places.get(customer_id, slice(0, 0))
                parts.append(EventArrays._make(column[rows] for column in events))
        parts = [part for part in parts if len(part.time)] or parts[:1] or [event_arrays(self._schema.empty_table())]
        whole = parts[0] if len(parts) == 1 else EventArrays._make(map(np.concatenate, zip(*parts, strict=True)))
        return in_order(named_by_decisions(whole))

    def _group(self, number: int) -> tuple[EventArrays, dict[str, slice]]:
        if number not in self._groups:
            table = self._file.read_row_group(number, columns=list(FOLD_COLUMNS), use_threads=False)
            names = table[Columns.CUSTOMER_ID].combine_chunks()
            codes = names.indices.to_numpy()
            borders = np.flatnonzero(codes[1:] != codes[:-1]) + 1
            bounds = [0, *borders.tolist(), len(codes)] if len(codes) else [0]
            owners = names.dictionary.take(pa.array(codes[bounds[:-1]])).to_pylist()
            places = {name: slice(*span) for name, span in zip(owners, pairwise(bounds), strict=True)}
            self._groups[number] = event_arrays(table), places
        self._groups.move_to_end(number)
        while len(self._groups) > _KEPT:
            self._groups.popitem(last=False)
        return self._groups[number]
