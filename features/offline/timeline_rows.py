"""One customer's events in the timeline file: a name in, what the fold reads of them out, in the order in which they count."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.offline.state_files import FOLD_COLUMNS
from features.state.event_arrays import event_arrays, event_codes, named_by_decisions
from features.state.layout import EventArrays
from features.state.order import in_order
from features.vocabulary import Columns

_KEPT: Final = 3
"""Row groups at hand: customers lie in the order of their names, and some lie across two groups."""
_OF_CONTACTS: Final = (Columns.CAMPAIGN_ID, Columns.DECISION_ID, Columns.SEQ)
"""Columns that tell nothing of what was bought."""
_FEW_VALUES: Final = (Columns.CUSTOMER_ID, Columns.KIND, Columns.CHANNEL)
"""Columns that are read as the file keeps them, each of their texts once: that takes a quarter of the time."""


class TimelineRows:
    """Reads the groups of rows that a customer lies in; quick for customers in the order of their names."""

    def __init__(self, timeline: Path) -> None:
        self._file = pq.ParquetFile(timeline, read_dictionary=list(_FEW_VALUES))
        self._groups: OrderedDict[int, _Group] = OrderedDict()
        fields = self._file.schema_arrow
        self._schema = pa.schema([fields.field(name) for name in FOLD_COLUMNS])
        column = fields.get_field_index(Columns.CUSTOMER_ID)
        metadata = self._file.metadata
        statistics = [metadata.row_group(number).column(column).statistics for number in range(metadata.num_row_groups)]
        self._spans = [None if found is None else (found.min, found.max) for found in statistics]

    def of(self, customer_id: str) -> EventArrays:
        """Their events, as `customer_arrays` has them; none of somebody who is not in the file."""
        return in_order(named_by_decisions(self._whole(customer_id, purchases_only=False)))

    def purchases_of(self, customer_id: str) -> EventArrays:
        """`of`, without what only contacts are told by: in half the time."""
        return in_order(self._whole(customer_id, purchases_only=True))

    def _whole(self, customer_id: str, *, purchases_only: bool) -> EventArrays:
        parts = []
        for number, span in enumerate(self._spans):
            if span is None or span[0] <= customer_id <= span[1]:
                group = self._group(number)
                events = group.purchases if purchases_only else group.events
                rows = group.places.get(customer_id, slice(0, 0))
                parts.append(EventArrays._make(column[rows] for column in events))
        parts = [part for part in parts if len(part.time)] or parts[:1] or [event_arrays(self._schema.empty_table())]
        return parts[0] if len(parts) == 1 else EventArrays._make(map(np.concatenate, zip(*parts, strict=True)))

    def _group(self, number: int) -> "_Group":
        if number not in self._groups:
            self._groups[number] = _Group(self._file, number)
        self._groups.move_to_end(number)
        while len(self._groups) > _KEPT:
            self._groups.popitem(last=False)
        return self._groups[number]


class _Group:
    """The rows of one group, and where each customer's lie; columns that few are asked for are read when they are."""

    def __init__(self, file: pq.ParquetFile, number: int) -> None:
        self._file, self._number = file, number
        table = self._read([name for name in FOLD_COLUMNS if name not in _OF_CONTACTS])
        names = table[Columns.CUSTOMER_ID].combine_chunks()
        codes = names.indices.to_numpy()
        borders = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        bounds = [0, *borders.tolist(), len(codes)] if len(codes) else [0]
        owners = names.dictionary.take(pa.array(codes[bounds[:-1]])).to_pylist()
        self.places = {name: slice(*span) for name, span in zip(owners, pairwise(bounds), strict=True)}
        self.purchases = event_arrays(table)

    @cached_property
    def events(self) -> EventArrays:
        table = self._read(_OF_CONTACTS)
        campaign, decision = (event_codes(table, name) for name in (Columns.CAMPAIGN_ID, Columns.DECISION_ID))
        seq = table[Columns.SEQ].to_numpy().astype(np.int64, copy=False)
        return self.purchases._replace(seq=seq, campaign=campaign, decision=decision)

    def _read(self, columns: Sequence[str]) -> pa.Table:
        return self._file.read_row_group(self._number, columns=list(columns), use_threads=False)
