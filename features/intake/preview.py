"""Batches of a source come in; what they would become in the log goes out, and nothing is kept: `omni ingest --dry-run`."""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import InputError
from features.events.placeholders import Placeholders
from features.events.schema import validate_table
from features.money.home import Screened
from features.rejects import without_values
from features.sources.batch import SourceBatch, without_rows
from features.sources.spool import id_hashes
from features.vocabulary import Columns, EventKind

SHOWN: Final = 10
"""So many events, ids and reasons are shown."""
_NO_CURRENCY: Final = "no currency"
_ID_SCHEMA: Final = pa.schema([(Columns.EVENT_ID, pa.string())])


@dataclass(frozen=True)
class Sum:
    """How many events there are, and their values by currency."""

    events: int
    value: dict[str, float]


@dataclass(frozen=True)
class RepeatedId:
    """An id that several rows give: `differ` where these rows are not the same one again."""

    event_id: str
    rows: int
    differ: bool


@dataclass(frozen=True)
class Preview:
    """What an ingest would bring: sums of its events, the first of them, and what would not come in and why."""

    source: str
    rows: int
    events: int
    by_kind: dict[str, Sum]
    by_channel: dict[str, Sum]
    """Their values are those of purchases."""
    by_month: dict[str, Sum]
    """Likewise."""
    skipped: int
    skipped_by_word: dict[str, int]
    rejected: int
    rejected_by_reason: dict[str, int]
    repeated: int
    """Ids that more than one row gives."""
    repeated_ids: tuple[RepeatedId, ...]
    products: int
    first: tuple[dict[str, Any], ...]
    problem: str | None = None
    """Why the source as a whole would be refused."""

    @property
    def nothing_usable(self) -> bool:
        """Whether rows came, and every one of them would be rejected."""
        return self.rejected > 0 and self.events == 0 and self.products == 0

    def __rich__(self) -> Any:
        """The same for a person: tables of sums, and the first events."""
        from rich.console import Group
        from rich.table import Table

        told = Table(box=None, show_header=False, pad_edge=False)
        told.add_row("rows", f"{self.rows:,}")
        told.add_row("events", f"{self.events:,}")
        for name, count, details in (
            ("skipped", self.skipped, self.skipped_by_word),
            ("rejected", self.rejected, self.rejected_by_reason),
        ):
            told.add_row(
                name, f"{count:,}" + "".join(f"\n  {number:,} × {_plain(why)}" for why, number in details.items())
            )
        repeated = [
            f"\n  {_plain(one.event_id)}: {one.rows} rows{', which differ' if one.differ else ''}"
            for one in self.repeated_ids
        ]
        told.add_row("ids that repeat", f"{self.repeated:,}" + "".join(repeated))
        told.add_row("products", f"{self.products:,}")
        if self.problem is not None:
            told.add_row("refused", _plain(self.problem))
        parts: list[Any] = [told]
        for title, value, sums in (
            ("kind", "value", self.by_kind),
            ("channel", "bought", self.by_channel),
            ("month", "bought", self.by_month),
        ):
            table = Table(title, "events", value, box=None, pad_edge=False)
            for name, total in sums.items():
                money = ", ".join(f"{amount:,.2f} {code}" for code, amount in total.value.items())
                table.add_row(name, f"{total.events:,}", money)
            parts += ["", table]
        parts += ["", "The first events (nothing is kept):"]
        parts += [_plain(json.dumps(event, ensure_ascii=False)) for event in self.first]
        return Group(*parts)


@dataclass
class _Sums:
    events: Counter[str] = field(default_factory=Counter)
    values: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, names: pa.ChunkedArray, table: pa.Table) -> None:
        rows = pa.table({"name": names, "currency": table[Columns.CURRENCY], "value": table[Columns.VALUE]})
        grouped = rows.group_by(["name", "currency"]).aggregate(
            [([], "count_all"), ("value", "sum"), ("value", "count")]
        )
        for row in grouped.to_pylist():
            self.events[row["name"]] += row["count_all"]
            if row["value_count"]:
                self.values[row["name"]][row["currency"] or _NO_CURRENCY] += row["value_sum"]

    def counted(self, by_name: bool = False) -> dict[str, Sum]:
        names = sorted(self.events) if by_name else [name for name, _ in self.events.most_common()]
        return {
            name: Sum(self.events[name], {code: round(value, 2) for code, value in self.values[name].items()})
            for name in names
        }


class _Reasons:
    """Why rows are rejected: those that say the same of other values are counted as one, under the first of them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, fields: list[str], reasons: list[str]) -> None:
        for name, reason in zip(fields, reasons, strict=True):
            shape = f"{name} {without_values(reason)}"
            self.counts[shape] += 1
            self._first.setdefault(shape, f"{name} {reason}")

    def counted(self) -> dict[str, int]:
        return {self._first[shape]: count for shape, count in self.counts.most_common(SHOWN)}


class _Ids:
    """Ids as they come, to tell in the end which of them came more than once: 16 bytes of memory each, and a file of texts."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []
        self._contents: list[np.ndarray] = []
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._texts = pa.ipc.new_stream(self._file, _ID_SCHEMA, options=options)

    def add(self, ids: pa.ChunkedArray, contents: np.ndarray | None) -> None:
        self._texts.write_table(pa.Table.from_arrays([ids], schema=_ID_SCHEMA))
        self._hashes.append(id_hashes(ids))
        self._contents.append(np.zeros(len(ids), np.uint64) if contents is None else contents)

    def repeated(self) -> tuple[int, tuple[RepeatedId, ...], bool]:
        """How many ids came more than once, the first of them, and whether any is of rows that differ; asked once."""
        self._texts.close()
        if not self._hashes:
            return 0, (), False
        hashes, contents = np.concatenate(self._hashes), np.concatenate(self._contents)
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        counts = np.diff(np.append(starts, len(ordered)))
        starts, counts = starts[counts > 1], counts[counts > 1]
        differ = np.array(
            [
                len(set(contents[order[start : start + count]].tolist())) > 1
                for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
            ],
            np.bool_,
        )
        firsts = order[starts]
        shown = np.lexsort([firsts, ~differ])[:SHOWN].tolist()
        texts = self._at(firsts[shown].tolist())
        told = tuple(RepeatedId(text, int(counts[i]), bool(differ[i])) for text, i in zip(texts, shown, strict=True))
        return len(starts), told, bool(differ.any())

    def _at(self, places: list[int]) -> list[str]:
        """The texts of the ids at some places."""
        texts: dict[int, str] = {}
        self._file.seek(0)
        first = 0
        with pa.ipc.open_stream(self._file) as batches:
            for batch in batches:
                texts.update(
                    {place: batch[0][place - first].as_py() for place in places if 0 <= place - first < len(batch)}
                )
                first += len(batch)
        return [texts[place] for place in places]

    def close(self) -> None:
        self._file.close()


def preview(
    source: str,
    batches: Iterable[SourceBatch],
    now: datetime,
    nobody: Placeholders,
    screen: Callable[[pa.Table], Screened],
    progress: Callable[[str], None] = lambda words: None,
) -> Preview:
    """What the batches of a source would become; `now` and `nobody` are as for an ingest (validate_table).

    `screen` brings values into the home's currency, or says why it cannot (HomeCurrency).
    """
    problem = None
    with closing(_Ids()) as ids:
        gathered = _Gathered(ids)
        try:
            for batch in batches:
                gathered.take(batch, now, nobody, screen)
                progress(f"{gathered.rows:,} rows read")
        except InputError as error:
            problem = str(error)
        return gathered.preview(source, problem)


class _Gathered:
    """What the batches have come to so far."""

    def __init__(self, ids: _Ids) -> None:
        self.rows = self._events = 0
        self._by_kind, self._by_channel, self._by_month = _Sums(), _Sums(), _Sums()
        self._ids, self._reasons = ids, _Reasons()
        self._skipped: Counter[str] = Counter()
        self._first: list[dict[str, Any]] = []
        self._products: set[str] = set()
        self._refuses = False

    def take(
        self, batch: SourceBatch, now: datetime, nobody: Placeholders, screen: Callable[[pa.Table], Screened]
    ) -> None:
        self.rows += batch.rows_total
        self._skipped.update(batch.skipped)
        self._refuses = self._refuses or batch.repeats == "refuse"
        valid, rejected = validate_table(batch.events, now, nobody)
        for table in (batch.rejected, rejected):
            if table is not None and table.num_rows:
                self._reasons.add(table["field"].to_pylist(), table["reason"].to_pylist())
        good, problems = screen(valid)
        self._reasons.add([each.field for each in problems.values()], [each.reason for each in problems.values()])
        left = np.delete(np.arange(batch.events.num_rows), rejected["index"].to_numpy())
        kept = np.delete(left, list(problems))
        self._ids.add(good[Columns.EVENT_ID], None if batch.contents is None else batch.contents[kept])
        self._events += good.num_rows
        of_purchases = _values_of_purchases(good)
        self._by_kind.add(good[Columns.KIND], good)
        self._by_channel.add(good[Columns.CHANNEL], of_purchases)
        self._by_month.add(pc.strftime(good[Columns.OCCURRED_AT], "%Y-%m"), of_purchases)
        self._first += [_said(row) for row in good.slice(0, SHOWN - len(self._first)).to_pylist()]
        if batch.products is not None:
            bad = np.delete(np.arange(batch.events.num_rows), kept)
            numbers = bad if batch.row_numbers is None else batch.row_numbers[bad]
            products, _ = without_rows(batch.products, batch.product_lines, numbers.tolist())
            self._products.update(products[Columns.PRODUCT_ID].to_pylist())

    def preview(self, source: str, problem: str | None) -> Preview:
        """`problem` is what the source is refused for, where it is."""
        n_repeated, repeated, differ = self._ids.repeated()
        if problem is None and self._refuses and differ:
            problem = (
                f"rows that differ share an event id, such as {repeated[0].event_id!r}: name more columns in event_id_from,"
                ' add line_of, or say duplicates = "first".'
            )
        return Preview(
            source=source,
            rows=self.rows,
            events=self._events,
            by_kind=self._by_kind.counted(),
            by_channel=self._by_channel.counted(),
            by_month=self._by_month.counted(by_name=True),
            skipped=sum(self._skipped.values()),
            skipped_by_word=dict(self._skipped.most_common()),
            rejected=sum(self._reasons.counts.values()),
            rejected_by_reason=self._reasons.counted(),
            repeated=n_repeated,
            repeated_ids=repeated,
            products=len(self._products),
            first=tuple(self._first),
            problem=problem,
        )


def _values_of_purchases(events: pa.Table) -> pa.Table:
    """The events, with no value but those of purchases."""
    place = events.schema.get_field_index(Columns.VALUE)
    bought = pc.if_else(pc.equal(events[Columns.KIND], EventKind.PURCHASE.value), events[Columns.VALUE], None)
    return events.set_column(place, Columns.VALUE, bought)


def _said(row: dict[str, Any]) -> dict[str, Any]:
    """An event as it would be sent over HTTP: only what it says."""
    moment = row[Columns.OCCURRED_AT]
    row[Columns.OCCURRED_AT] = moment.isoformat().replace("+00:00", "Z")
    row[Columns.IDENTIFIERS] = dict(row[Columns.IDENTIFIERS] or []) or None
    if row[Columns.PROPERTIES] is not None:
        row[Columns.PROPERTIES] = json.loads(row[Columns.PROPERTIES])
    return {name: value for name, value in row.items() if value is not None}


def _plain(text: str) -> str:
    """Text in which a terminal takes nothing for a style."""
    from rich.markup import escape

    return escape(text)
