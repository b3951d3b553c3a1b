"""Valid events come in batch by batch; the same batches go out again, once all of them are known to be sound.

Between the two they lie in a file without a name, so that a source is refused as a whole before any of it is in the log, and a
source of any size takes the memory of a batch.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.arrays import IntArray
from features.errors import InputError
from features.events.hashing import hash_bytes
from features.events.schema import EVENT_SCHEMA
from features.sources.batch import PRODUCT_SCHEMA, ProductLines
from features.vocabulary import Columns

_NUMBER: Final = "row"
_MOMENT: Final = "moment"
_EVENTS: Final = EVENT_SCHEMA.append(pa.field(_NUMBER, pa.int64()))
_PRODUCTS: Final = PRODUCT_SCHEMA.append(pa.field(_NUMBER, pa.int64())).append(
    pa.field(_MOMENT, pa.timestamp("us", "UTC"))
)


@dataclass(frozen=True)
class Spooled:
    """Valid events (n), the rows of the source that they came from, `numbers` (n,), and what those rows said of products."""

    events: pa.Table
    numbers: IntArray
    products: pa.Table | None
    product_lines: ProductLines | None


class Spool:
    """A file of batches that is gone when it is closed."""

    def __init__(self, folder: Path) -> None:
        """`folder` is where the file takes room."""
        folder.mkdir(parents=True, exist_ok=True)
        self._files = [
            tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by close()
            for _ in range(2)
        ]
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writers = [
            pa.ipc.new_stream(file, schema, options=options)
            for file, schema in zip(self._files, (_EVENTS, _PRODUCTS), strict=True)
        ]
        self._with_products: list[bool] = []
        self._with_lines: list[bool] = []

    def add(
        self, events: pa.Table, numbers: IntArray, products: pa.Table | None = None, lines: ProductLines | None = None
    ) -> None:
        """Keep a batch; its products come once, with the first events of their batch."""
        events = events.append_column(_NUMBER, pa.array(numbers, pa.int64()))
        self._writers[0].write_batch(_one_batch(events, _EVENTS))
        self._with_products.append(products is not None)
        self._with_lines.append(lines is not None)
        if products is not None:
            count = products.num_rows
            rows = pa.nulls(count, pa.int64()) if lines is None else pa.array(lines.numbers, pa.int64())
            moments = pa.nulls(count, _PRODUCTS.field(_MOMENT).type) if lines is None else lines.moments
            products = products.append_column(_NUMBER, rows).append_column(_MOMENT, moments)
            self._writers[1].write_batch(_one_batch(products, _PRODUCTS))

    def read(self) -> Iterator[Spooled]:
        """The batches in their order; none can be added after that."""
        while self._writers:
            self._writers.pop().close()
        for file in self._files:
            file.seek(0)
        with pa.ipc.open_stream(self._files[0]) as events, pa.ipc.open_stream(self._files[1]) as products:
            for has_products, has_lines in zip(self._with_products, self._with_lines, strict=True):
                table = pa.Table.from_batches([events.read_next_batch()])
                said = pa.Table.from_batches([products.read_next_batch()]) if has_products else None
                lines = None
                if said is not None and has_lines:
                    lines = ProductLines(said.column(_NUMBER).to_numpy(), said.column(_MOMENT).combine_chunks())
                yield Spooled(
                    table.drop_columns([_NUMBER]),
                    table.column(_NUMBER).to_numpy(),
                    None if said is None else said.drop_columns([_NUMBER, _MOMENT]),
                    lines,
                )

    def head(self) -> pa.Table:
        """The events of the first batch (EVENT_SCHEMA)."""
        return next((spooled.events for spooled in self.read()), EVENT_SCHEMA.empty_table())

    def close(self) -> None:
        """Give the room back."""
        for file in self._files:
            file.close()


class RepeatedIds:
    """Whether rows of one source share an event_id and yet differ: 16 bytes of memory a row."""

    def __init__(self) -> None:
        self._ids: list[NDArray[np.uint64]] = []
        self._contents: list[NDArray[np.uint64]] = []

    def add(self, events: pa.Table, contents: NDArray[np.uint64]) -> None:
        """Note events (n) and a hash of the row behind each, (n,)."""
        self._ids.append(id_hashes(events.column(Columns.EVENT_ID)))
        self._contents.append(contents)

    def differing(self) -> list[tuple[int, int]]:
        """Pairs of places, among all events, of neighbours that share an id and differ."""
        if not self._ids:
            return []
        ids, contents = np.concatenate(self._ids), np.concatenate(self._contents)
        order = np.argsort(ids, kind="stable")
        repeats = np.flatnonzero(ids[order[1:]] == ids[order[:-1]])
        apart = repeats[contents[order[repeats + 1]] != contents[order[repeats]]]
        return list(zip(order[apart].tolist(), order[apart + 1].tolist(), strict=True))


def refuse_differing(repeated: RepeatedIds, spool: Spool) -> None:
    """Raises InputError where rows of a source share an event_id and differ, with one such id."""
    pairs = repeated.differing()
    if not pairs:
        return
    ids = pa.chunked_array([spooled.events.column(Columns.EVENT_ID).combine_chunks() for spooled in spool.read()])
    shared = [ids[first].as_py() for first, second in pairs if ids[first] == ids[second]]
    if not shared:  # two ids of one hash
        return
    raise InputError(
        f"event_id_from does not tell rows apart: {len(shared)} rows have the event id of another row and differ from it,"
        f" for example {shared[0]!r}; all but the first of each would be lost.",
        repair='Add the column that tells them apart to event_id_from, or number the lines of a group with line_of = "…", or'
        ' say duplicates = "first" to keep the first of each.',
    )


def _one_batch(table: pa.Table, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        table.column(field.name).combine_chunks() if table.num_rows else pa.nulls(0, field.type) for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def id_hashes(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    """One hash per id, (n,)."""
    parts = []
    for chunk in ids.chunks:
        _, offsets, data = chunk.buffers()
        ends = np.frombuffer(offsets, np.int32, len(chunk) + 1, 4 * chunk.offset).astype(np.int64)
        parts.append(hash_bytes(np.frombuffer(data or b"", np.uint8), ends))
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)
