"""The rows of one customer in the timeline file: a name in, what the fold reads of their events out, in their order."""

from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from features.offline.state_files import FOLD_COLUMNS
from features.vocabulary import Columns

_KEPT: Final = 3
"""Row groups at hand: customers lie in the order of their names, and some lie across two groups."""
_FEW_VALUES: Final = (Columns.CUSTOMER_ID, Columns.KIND, Columns.CHANNEL)
"""Columns that are read as the file keeps them, each of their texts once: that takes a tenth of the time."""


class TimelineRows:
    """Reads the groups of rows that a customer lies in; quick for customers in the order of their names."""

    def __init__(self, timeline: Path) -> None:
        self._file = pq.ParquetFile(timeline, read_dictionary=list(_FEW_VALUES))
        self._groups: OrderedDict[int, tuple[pa.Table, dict[str, tuple[int, int]]]] = OrderedDict()
        column = self._file.schema_arrow.get_field_index(Columns.CUSTOMER_ID)
        metadata = self._file.metadata
        statistics = [metadata.row_group(number).column(column).statistics for number in range(metadata.num_row_groups)]
        self._spans = [None if found is None else (found.min, found.max) for found in statistics]

    def of(self, customer_id: str) -> pa.Table:
        """Their events, sorted as the file is; no rows for somebody who is not in it."""
        parts = []
        for number, span in enumerate(self._spans):
            if span is None or span[0] <= customer_id <= span[1]:
                table, places = self._group(number)
                start, length = places.get(customer_id, (0, 0))
                parts.append(table.slice(start, length))
        schema = pa.schema([self._file.schema_arrow.field(name) for name in FOLD_COLUMNS])
        return pa.concat_tables([schema.empty_table(), *parts]).combine_chunks()

    def _group(self, number: int) -> tuple[pa.Table, dict[str, tuple[int, int]]]:
        if number not in self._groups:
            table = self._file.read_row_group(number, columns=list(FOLD_COLUMNS))
            encoded = table[Columns.CUSTOMER_ID].combine_chunks().dictionary_encode()
            codes = encoded.indices.to_numpy()
            starts = np.flatnonzero(np.append(True, codes[1:] != codes[:-1])) if len(codes) else np.empty(0, np.int64)
            lengths = np.diff(np.append(starts, len(codes)))
            names = encoded.dictionary.take(pa.array(codes[starts])).to_pylist()
            spans = zip(starts.tolist(), lengths.tolist(), strict=True)
            self._groups[number] = table, dict(zip(names, spans, strict=True))
        self._groups.move_to_end(number)
        while len(self._groups) > _KEPT:
            self._groups.popitem(last=False)
        return self._groups[number]
