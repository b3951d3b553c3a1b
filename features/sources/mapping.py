"""Anybody's own file, folder or query and its mapping.toml come in; events and products go out.

Nothing is guessed and nothing is lost: what the mapping does not settle is rejected with the reason, row by row, and a file
that cannot be what the mapping says is refused as a whole. Spaces around a value are taken off, and ids of any type become
text: a whole number stored as 17850.0 is 17850.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.arrays import BoolArray, IntArray
from features.events.rules import Problem
from features.events.schema import EVENT_SCHEMA
from features.events.values import MAX_NUMBER
from features.sources.amounts import Money
from features.sources.batch import (
    ID_COLUMNS,
    ProductLines,
    SourceBatch,
    sampled,
    to_batch,
    to_event_table,
    to_product_table,
)
from features.sources.mapped import words
from features.sources.mapped.details import joined_objects, read_consents, read_identifiers, read_properties
from features.sources.mapped.event_ids import RowHasher, content_ids, given_ids, named_ids
from features.sources.mapped.groups import Carrier, LineCounter, whole_groups
from features.sources.mapped.joined import read_joined
from features.sources.mapped.money import AMOUNTS, Texts, fill_numbers, read_money
from features.sources.mapped.rows import Hits, MappedRows
from features.sources.mapped.times import TimeReader
from features.sources.mapped.values import clean, clean_id, clean_raw, joined_texts
from features.sources.mapping_config import ColumnSpec, JoinSpec, MappingConfig, read_mapping
from features.sources.parsing import Problems
from features.sources.readers import RawRows, ReadOptions, read_rows
from features.vocabulary import Columns, EventKind

__all__ = ["MappingConfig", "load_mapped", "map_rows", "read_mapping"]

logger = logging.getLogger(__name__)

_APART = (Columns.OCCURRED_AT, Columns.EVENT_ID, Columns.QUANTITY, *AMOUNTS)
"""Columns of a mapping that are not words or ids."""
_PROFILE_ID = ":profile"
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio, which spreads small numbers over all bits (Knuth's multiplicative hash)."""


def load_mapped(
    place: str | Path, mapping: Path | MappingConfig, sample: float | None = None, join: JoinSpec | None = None
) -> Iterator[SourceBatch]:
    """Batches of what lies at a place as its mapping describes it; `sample` keeps a share of the customers.

    `join` names a second file, in place of the mapping's. Raises InputError for a mapping or a file that cannot be used as a
    whole, with the key or the column to mend: at the latest after the last batch, so nothing may be kept before.
    """
    config = mapping if isinstance(mapping, MappingConfig) else read_mapping(mapping)
    yield from map_rows(read_rows(place, read_options(config)), str(place), mapping, sample, join)


def read_options(config: MappingConfig) -> ReadOptions:
    """What a mapping says of how its file is read."""
    return ReadOptions(
        encoding=config.encoding,
        delimiter=config.delimiter,
        quoting=config.quoting,
        multiline=config.multiline,
        header=config.header,
        names=frozenset(config.source_columns()),
        sheet=config.sheet,
    )


def map_rows(
    batches: Iterable[RawRows],
    place: str,
    mapping: Path | MappingConfig,
    sample: float | None = None,
    join: JoinSpec | None = None,
) -> Iterator[SourceBatch]:
    """`load_mapped` of rows that somebody reads; `place` is for messages."""
    config = mapping if isinstance(mapping, MappingConfig) else read_mapping(mapping)
    hits = Hits(place, "the mapping" if isinstance(mapping, MappingConfig) else str(mapping))
    mapper = _Mapper(config, hits, sample)
    rows = iter(batches)
    join = join or config.join
    if join is not None:
        second = read_joined(
            join,
            replace(read_options(config), header=(), names=frozenset()),
            None if isinstance(mapping, MappingConfig) else mapping.parent,
        )
        rows = map(second.add, rows)
    rows = map(Carrier(config, hits).fill, rows)
    group = config.within or config.line_of
    if "order_discount" in config.columns and config.explode is None and group is not None:
        rows = whole_groups(rows, ColumnSpec(column=group), config, hits)
    for raw in rows:
        yield mapper.map(raw)
    mapper.finish()


class _Mapper:
    """Batches of a file in their order; what has to be known over all of them is kept here."""

    def __init__(self, config: MappingConfig, hits: Hits, sample: float | None) -> None:
        self._config, self._hits, self._sample = config, hits, sample
        self._times = TimeReader(config, hits.place)
        self._counter = LineCounter()
        self._seen: Counter[str] = Counter()
        self._hasher = RowHasher()
        self._named = bool(config.event_id_from or config.line_of or "event_id" in config.columns)

    def map(self, raw: RawRows) -> SourceBatch:
        """Events of the rows of a batch, or of the elements in each."""
        config = self._config
        self._hits.learn(raw)
        if not len(raw):
            return to_batch(EVENT_SCHEMA.empty_table(), raw, {})
        rows = MappedRows(raw, self._hits, config.explode)
        lines = rows.lines
        if lines is None and config.line_of is not None:
            keys = clean(rows.column(ColumnSpec(column=config.line_of)), config)
            lines = self._counter.number(keys)
        total = len(raw) + raw.rejected.num_rows
        contents = self._hasher.hashes(raw) if self._named else None
        if not len(rows):
            return self._nothing(raw, total, {})
        rows, kept, texts, skipped = self._wanted(rows)
        if not len(rows):
            return self._nothing(raw, total, skipped)
        lines = None if lines is None else lines[kept]
        problems: Problems = {}
        columns = self._columns(rows, texts, lines, problems)
        consents = read_consents(rows, config, problems)
        properties = read_properties(rows, config, problems)
        is_profile = pc.fill_null(pc.equal(columns[Columns.KIND], EventKind.PROFILE.value), False)
        members = [pc.if_else(is_profile, text, None) for text in consents]
        columns[Columns.PROPERTIES] = joined_objects([*members, *properties])
        price = self._prices(columns, rows, problems)
        events = to_event_table(columns, len(rows))
        batch = to_batch(events, rows.raw, problems, rows.parents)
        batch = replace(
            batch,
            rows_total=total,
            skipped=skipped,
            repeats="first" if config.duplicates == "first" else "refuse",
        )
        if contents is not None:
            batch = replace(batch, contents=self._contents(contents, raw, batch.row_numbers, lines, problems))
        batch = self._with_products(batch, columns, price, rows, problems)
        return _with_profiles(batch, events, consents, is_profile, rows, problems)

    def _nothing(self, raw: RawRows, total: int, skipped: dict[str, int]) -> SourceBatch:
        """A batch of which no row is left: Arrow (25) crashes where columns of no chunks meet."""
        batch = to_batch(EVENT_SCHEMA.empty_table(), raw.select(np.empty(0, np.int64)), {})
        return replace(batch, rows_total=total, skipped=skipped)

    def finish(self) -> None:
        """Say what only the whole file shows. Raises InputError for paths that hit nothing and for a wrong unit of time."""
        optional = {path for spec in self._config.specs() if spec.optional for path in spec.paths}
        several = {path for spec in self._config.specs() if len(spec.paths) > 1 for path in spec.paths}
        missed = self._hits.missed()
        for spec in self._config.specs():
            if len(spec.paths) > 1 and not spec.optional and all(path in missed for path in spec.paths):
                raise self._hits.complaint(spec.paths[0])
        for path in missed:
            if path in optional:
                logger.warning("%s has no %s in any row, which the mapping calls optional.", self._hits.place, path)
            elif path not in several:
                raise self._hits.complaint(path)
        self._times.finish()

    def _wanted(self, rows: MappedRows) -> tuple[MappedRows, BoolArray, Texts, dict[str, int]]:
        """The rows that are wanted, which they are (n,), their kind and channel, and how many others there are by word."""
        config = self._config
        unwanted = np.zeros(len(rows), np.bool_)
        skipped: Counter[str] = Counter()
        texts: dict[str, pa.Array | pa.ChunkedArray] = {}
        for name, meanings in ((Columns.KIND, config.kinds), (Columns.CHANNEL, config.channels)):
            column = self._words(name, rows)
            if column is None:
                continue
            meant, skip = words.read_words(
                name,
                column,
                {word: ours.value for word, ours in meanings.items()},
                config.skip.get(name, ()),  # type: ignore[call-overload]
            )
            texts[name], texts[f"given {name}"] = meant, column
            self._count(column, skip.to_numpy(zero_copy_only=False), unwanted, rows, skipped)
        for target, unwanted_words in config.skip.items():
            if target not in texts and target in config.columns:
                column = clean(rows.column(config.columns[target]), config)
                self._count(column, words.unwanted_rows(column, unwanted_words), unwanted, rows, skipped)
        wanted = ~unwanted
        if self._sample is not None:
            who = config.columns.get("customer_id") or next(iter(config.identifiers.values()))
            share = sampled(clean(rows.column(who), config), self._sample)
            wanted &= share.to_numpy(zero_copy_only=False)
        if not wanted.all():
            places = pa.array(np.flatnonzero(wanted))
            rows = rows.keep(wanted)
            texts = {name: column.take(places) for name, column in texts.items()}
        return rows, wanted, {**texts}, dict(skipped)

    def _words(self, name: str, rows: MappedRows) -> pa.ChunkedArray | None:
        """The file's own words for what happened, or where; None where the mapping names no column of them."""
        config = self._config
        if name == Columns.KIND and config.kind_from:
            parts = [clean(rows.column(ColumnSpec(column=path)), config) for path in config.kind_from]
            return joined_texts(parts, "/")
        spec = config.columns.get(name)  # type: ignore[call-overload]
        return None if spec is None else clean(rows.column(spec), config)

    def _count(
        self, column: pa.ChunkedArray, skip: BoolArray, unwanted: BoolArray, rows: MappedRows, skipped: Counter[str]
    ) -> None:
        fresh = skip & ~unwanted
        if fresh.any():
            skipped.update(words.count_words(column, fresh, rows.numbers))
            unwanted |= fresh

    def _columns(self, rows: MappedRows, texts: Texts, lines: IntArray | None, problems: Problems) -> Texts:
        """The columns of the events but their properties."""
        config, n_rows = self._config, len(rows)
        columns: Texts = {}
        for target, spec in config.columns.items():
            if target in _APART or target in (Columns.KIND, Columns.CHANNEL):
                continue
            if target in ID_COLUMNS:
                columns[target] = clean_id(target, rows.column(spec), config, problems, rows.raw.typed)
            else:
                columns[target] = clean(rows.column(spec), config)
        for name in (Columns.KIND, Columns.CHANNEL):
            if name in texts:
                columns[name] = texts[name]
                words.note_unknown(name, texts[f"given {name}"], texts[name], problems)
        for name, constant in config.constants.items():
            columns[name] = pc.fill_null(columns[name], constant) if name in columns else pa.repeat(constant, n_rows)
        if Columns.KIND not in columns:
            columns[Columns.KIND] = pa.repeat(EventKind.PROFILE.value, n_rows)
        columns[Columns.OCCURRED_AT] = self._times.read(
            clean_raw(rows.column(config.columns["occurred_at"]), config), problems
        )
        fill_numbers(columns, rows, self._groups(rows), config, problems)
        columns[Columns.IDENTIFIERS] = read_identifiers(rows, config, problems)
        if "event_id" in config.columns:
            columns[Columns.EVENT_ID] = given_ids(rows, lines, config, problems)
        elif self._named:
            columns[Columns.EVENT_ID] = named_ids(rows, lines, config, problems)
        else:
            own = rows.raw.names
            columns[Columns.EVENT_ID] = content_ids(rows.raw, rows, own, config, self._seen)
        return columns

    def _groups(self, rows: MappedRows) -> IntArray | None:
        """The order of each row (n,), as a number; None where no amount is of a whole order."""
        if "order_discount" not in self._config.columns:
            return None
        if rows.parents is not None:
            return rows.parents
        key = self._config.within or self._config.line_of
        column = clean(rows.column(ColumnSpec(column=key)), self._config)
        codes: IntArray = pc.dictionary_encode(column, null_encoding="encode").combine_chunks().indices.to_numpy()
        return np.cumsum(np.diff(codes, prepend=codes[:1]) != 0)

    def _contents(
        self, contents: np.ndarray, raw: RawRows, numbers: IntArray | None, lines: IntArray | None, problems: Problems
    ) -> NDArray[np.uint64]:
        """Hashes of the rows behind the events that are left."""
        assert numbers is not None
        of_rows: NDArray[np.uint64] = contents[np.searchsorted(raw.numbers, numbers)]
        if lines is None or self._config.explode is None:
            return of_rows
        left = np.delete(np.arange(len(lines)), list(problems))
        return of_rows ^ (lines[left].astype(np.uint64) * _GOLDEN)

    def _prices(self, columns: Texts, rows: MappedRows, problems: Problems) -> Money | None:
        """What the rows say their products cost; a price that cannot be one is a problem. None where they say nothing."""
        spec = self._config.products.get("price")
        if spec is None:
            return None
        price = read_money(Columns.PRICE, spec, columns, rows, self._config, problems)
        amounts = price.amounts.to_numpy(zero_copy_only=False)
        given = price.amounts.is_valid().to_numpy(zero_copy_only=False) & ~np.isnan(amounts)
        for place in np.flatnonzero(given & ~((amounts >= 0) & (amounts <= MAX_NUMBER))).tolist():
            reason = f"is {amounts[place]}: a price is from 0 to {MAX_NUMBER:.0e}."
            problems.setdefault(place, Problem(Columns.PRICE, reason))
        return Money(pa.array(amounts, pa.float64(), mask=~given), price.currencies)

    def _with_products(
        self, batch: SourceBatch, columns: Texts, price: Money | None, rows: MappedRows, problems: Problems
    ) -> SourceBatch:
        """The batch with what its rows say of products; rows that have a problem say nothing."""
        config = self._config
        ids, moments = columns.get(Columns.PRODUCT_ID), columns[Columns.OCCURRED_AT]
        if not (config.products or config.clear) or ids is None:
            return batch
        usable = np.ones(len(rows), np.bool_)
        usable[list(problems)] = False
        places = pa.array(np.flatnonzero(usable & pc.is_valid(ids).to_numpy()))
        said: dict[str, pa.Array | pa.ChunkedArray] = {
            target: clean(rows.column(spec), config)
            for target, spec in config.products.items()
            if target != Columns.PRICE
        }
        if price is not None:
            said |= {Columns.PRICE: price.amounts, Columns.CURRENCY: price.currencies}
        said = {target: column.take(places) for target, column in {Columns.PRODUCT_ID: ids, **said}.items()}
        return replace(
            batch,
            products=to_product_table(said, len(places)),
            product_lines=ProductLines(rows.numbers[places.to_numpy()], moments.take(places)),  # type: ignore[union-attr]
            clear=config.clear,
        )


def _with_profiles(
    batch: SourceBatch,
    events: pa.Table,
    consents: list[pa.Array],
    is_profile: pa.Array,
    rows: MappedRows,
    problems: Problems,
) -> SourceBatch:
    """Beside events of another kind, a profile event for each good row that says something of consent."""
    said = joined_objects(consents)
    if said is None:
        return batch
    wanted = pc.and_(pc.is_valid(said), pc.invert(is_profile)).to_numpy(zero_copy_only=False).copy()
    wanted[list(problems)] = False
    if not wanted.any():
        return batch
    assert batch.row_numbers is not None
    places = pa.array(np.flatnonzero(wanted))
    profiles = events.take(places)
    columns: Texts = {
        name: profiles.column(name)
        for name in (Columns.OCCURRED_AT, Columns.CHANNEL, Columns.CUSTOMER_ID, Columns.IDENTIFIERS)
    }
    columns[Columns.EVENT_ID] = pc.binary_join_element_wise(profiles.column(Columns.EVENT_ID), _PROFILE_ID, "")
    columns |= {Columns.KIND: EventKind.PROFILE.value, Columns.PROPERTIES: said.take(places)}
    numbers = rows.numbers[places.to_numpy()]
    contents = batch.contents
    if contents is not None:
        contents = np.concatenate([contents, contents[np.searchsorted(batch.row_numbers, numbers)]])
    return replace(
        batch,
        events=pa.concat_tables([batch.events, to_event_table(columns, len(places))]),
        row_numbers=np.concatenate([batch.row_numbers, numbers]),
        contents=contents,
    )
