"""Anybody's own CSV, Parquet or JSONL file and its mapping.toml come in; events and products go out.

Nothing is guessed and nothing is lost: what the mapping does not settle is rejected with the reason, row by row.
Spaces around a value are taken off, and ids of any type become text: a whole number stored as 17850.0 is 17850.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from features.errors import InputError
from features.events.rules import NUMBER_COLUMNS, Problem
from features.events.schema import EVENT_SCHEMA
from features.events.values import MAX_NUMBER, shorten
from features.ids import id_column, joined_ids
from features.sources.amounts import Money, parse_money, parse_numbers
from features.sources.batch import (
    ID_COLUMNS,
    ProductLines,
    SourceBatch,
    sampled,
    to_event_table,
    to_product_table,
)
from features.sources.files import RawRows, mentions, read_rows, select, text_ending, to_batch
from features.sources.mapping_config import MappingConfig, read_mapping
from features.sources.nested import flattened
from features.sources.parsing import Problems, note_inexact, parse_moments
from features.vocabulary import CHANNEL_CODES, KIND_CODES, Columns, EventKind

__all__ = ["MappingConfig", "load_mapped", "read_mapping"]

UNIT_PRICE = "unit_price"


def load_mapped(file: Path, mapping: Path, sample: float | None = None) -> Iterator[SourceBatch]:
    """Batches of a file as its mapping describes it; `sample` keeps a share of the customers.

    Raises InputError for a mapping or a file that cannot be used as a whole, with the key or the column to mend.
    """
    config = read_mapping(mapping)
    seen: Counter[str] = Counter()  # how often each row without an id of its own has come, over the whole file
    optional: set[str] = set()
    for raw in read_rows(file, config.encoding, config.delimiter):
        file_columns = raw.table.column_names
        if raw.table.num_rows:
            raw = _with_columns(raw, file, mapping, config, optional)
        yield _map_rows(raw, file_columns, config, sample, seen)


def _with_columns(raw: RawRows, file: Path, mapping: Path, config: MappingConfig, optional: set[str]) -> RawRows:
    """Rows with every column that the mapping reads; of JSONL a key that only other rows have is null here.

    `optional` remembers such keys over the batches of a file. Raises InputError for a name that the file does not have.
    """
    wanted = config.source_columns()
    table = flattened(raw.table, wanted)
    for name in [name for name in wanted if name not in table.column_names]:
        key = name.split(".")[-1]
        if name not in optional and not (_is_jsonl(file) and mentions(file, config.encoding, key)):
            raise InputError(
                f"{file} has no column {name!r}, which {mapping} names; it has {raw.table.column_names}.",
                repair="Correct the name in the mapping (what lies inside an object is named like user.id).",
            )
        optional.add(name)
        table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
    return RawRows(table, raw.numbers, raw.rejected)


def _is_jsonl(file: Path) -> bool:
    return text_ending(file) in (".jsonl", ".ndjson")


def _map_rows(
    raw: RawRows, file_columns: list[str], config: MappingConfig, sample: float | None, seen: Counter[str]
) -> SourceBatch:
    """Events of the rows; `file_columns` names the file's own columns, which are what names a row that has no id."""
    if raw.table.num_rows == 0:
        return to_batch(EVENT_SCHEMA.empty_table(), raw, {})
    if sample is not None:
        who = config.columns.get("customer_id") or next(iter(config.identifiers.values()))
        raw = select(raw, sampled(_clean(raw.table.column(who), config), sample))
    problems: Problems = {}
    table, n_rows = raw.table, raw.table.num_rows
    _note_lost_digits(table, config, problems)
    columns: dict[str, pa.Array | pa.ChunkedArray | str | None] = {
        target: _clean(table.column(source), config)
        for target, source in config.columns.items()
        if target not in (Columns.OCCURRED_AT, UNIT_PRICE, *NUMBER_COLUMNS)
    }
    for name, words in ((Columns.KIND, config.kinds), (Columns.CHANNEL, config.channels)):
        if name in columns:
            columns[name] = _translate(name, columns[name], {key: word.value for key, word in words.items()}, problems)
    for name, constant in config.constants.items():
        columns[name] = pc.fill_null(columns[name], constant) if name in columns else pa.repeat(constant, n_rows)
    columns[Columns.OCCURRED_AT] = moments = _moments(table, config, problems)
    _fill_numbers(columns, table, config, problems)
    price = _prices(columns, table, config, problems)
    columns[Columns.IDENTIFIERS] = _identifiers(table, config)
    columns[Columns.PROPERTIES] = _properties(table, config)
    if Columns.EVENT_ID in columns:
        columns[Columns.EVENT_ID] = pc.binary_join_element_wise(config.event_id_prefix, columns[Columns.EVENT_ID], "")
    else:
        columns[Columns.EVENT_ID] = _event_ids(table, file_columns, config, seen)
    batch = to_batch(to_event_table(columns, n_rows), raw, problems)
    return _with_products(batch, moments, price, table, raw, problems, config)


def _note_lost_digits(table: pa.Table, config: MappingConfig, problems: Problems) -> None:
    """Refuse rows with an id whose type could not hold all of its digits, whatever the id is of."""
    ids = {target: source for target, source in config.columns.items() if target in ID_COLUMNS}
    for name, source in (*ids.items(), *config.identifiers.items(), *((name, name) for name in config.event_id_from)):
        note_inexact(name, table.column(source), problems)


def _clean(column: pa.ChunkedArray, config: MappingConfig) -> pa.ChunkedArray:
    """A column as trimmed text, with null for what stands for a missing value."""
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    text = id_column(column)
    if not is_text and not pa.types.is_dictionary(column.type):
        return text
    trimmed = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.is_in(trimmed, value_set=pa.array(config.missing, pa.string())), None, trimmed)


def _translate(name: str, column: pa.ChunkedArray, words: dict[str, str], problems: Problems) -> pa.Array:
    ours = KIND_CODES if name == Columns.KIND else CHANNEL_CODES
    encoded = pc.dictionary_encode(column).combine_chunks()
    given = encoded.dictionary.to_pylist()
    meant = pa.array([words.get(word, word if word in ours else None) for word in given], pa.string())
    result = meant.take(encoded.indices)
    for place in pc.indices_nonzero(pc.and_(pc.is_null(result), pc.is_valid(column))).to_pylist():
        reason = f"is {shorten(column[place].as_py())}: say under [{name}s] of the mapping what that means."
        problems.setdefault(place, Problem(name, reason))
    return result


def _moments(table: pa.Table, config: MappingConfig, problems: Problems) -> pa.Array:
    column = table.column(config.columns["occurred_at"])
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = _clean(column, config)
    return parse_moments(Columns.OCCURRED_AT, column, problems, config.time_zone, config.time_format, config.ambiguous)


def _fill_numbers(
    columns: dict[str, pa.Array | pa.ChunkedArray | str | None],
    table: pa.Table,
    config: MappingConfig,
    problems: Problems,
) -> None:
    """Put quantity and value into `columns`, and turn purchases of a negative quantity into returns."""
    numbers: dict[str, pa.Array] = {}
    if Columns.QUANTITY in config.columns:
        column = _raw_numbers(table, config.columns["quantity"], config)
        numbers[Columns.QUANTITY] = parse_numbers(Columns.QUANTITY, column, problems, config.decimal, config.thousands)
    for name in (Columns.VALUE, UNIT_PRICE):
        source = config.columns.get(name)  # type: ignore[call-overload]
        if source is not None:
            money = _money(name, source, columns, table, config, problems)
            numbers[name], columns[Columns.CURRENCY] = money
    if UNIT_PRICE in numbers:
        units = pc.fill_null(numbers[Columns.QUANTITY], 1.0) if Columns.QUANTITY in numbers else 1.0
        numbers[Columns.VALUE] = pc.round(pc.multiply(numbers.pop(UNIT_PRICE), units), 6)
    if config.negative_quantity == "return" and Columns.QUANTITY in numbers:
        kinds = columns[Columns.KIND]
        back = pc.and_(pc.less(numbers[Columns.QUANTITY], 0.0), pc.equal(kinds, EventKind.PURCHASE.value))
        back = pc.fill_null(back, False)
        columns[Columns.KIND] = pc.if_else(back, EventKind.RETURN.value, kinds)
        for name in NUMBER_COLUMNS:
            if name in numbers:
                numbers[name] = pc.if_else(back, pc.abs(numbers[name]), numbers[name])
    columns.update(numbers)


def _raw_numbers(table: pa.Table, source: str, config: MappingConfig) -> pa.ChunkedArray:
    """A column of numbers without what stands for no value."""
    column = table.column(source)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return _clean(column, config) if is_text or pa.types.is_dictionary(column.type) else column


def _money(
    name: str,
    source: str,
    columns: dict[str, pa.Array | pa.ChunkedArray | str | None],
    table: pa.Table,
    config: MappingConfig,
    problems: Problems,
) -> Money:
    column, currencies = _raw_numbers(table, source, config), columns.get(Columns.CURRENCY)
    return parse_money(name, column, currencies, problems, config.decimal, config.thousands)


def _prices(
    columns: dict[str, pa.Array | pa.ChunkedArray | str | None],
    table: pa.Table,
    config: MappingConfig,
    problems: Problems,
) -> Money | None:
    """What the rows say their products cost; a price that cannot be one is a problem. None where they say nothing."""
    source = config.products.get(Columns.PRICE)
    if source is None:
        return None
    price = _money(Columns.PRICE, source, columns, table, config, problems)
    amounts = price.amounts.to_numpy(zero_copy_only=False)
    given = price.amounts.is_valid().to_numpy(zero_copy_only=False) & ~np.isnan(
        amounts
    )  # pandas writes NaN for nothing
    for place in np.flatnonzero(given & ~((amounts >= 0) & (amounts <= MAX_NUMBER))).tolist():
        problems.setdefault(
            place, Problem(Columns.PRICE, f"is {amounts[place]}: a price is from 0 to {MAX_NUMBER:.0e}.")
        )
    return Money(pa.array(amounts, pa.float64(), mask=~given), price.currencies)


def _identifiers(table: pa.Table, config: MappingConfig) -> pa.Array | None:
    if not config.identifiers:
        return None
    values = [_clean(table.column(source), config).to_pylist() for source in config.identifiers.values()]
    pairs = [
        [(id_type, value) for id_type, value in zip(config.identifiers, row, strict=True) if value is not None] or None
        for row in zip(*values, strict=True)
    ]
    return pa.array(pairs, EVENT_SCHEMA.field(Columns.IDENTIFIERS).type)


def _properties(table: pa.Table, config: MappingConfig) -> pa.Array | None:
    if not config.properties:
        return None
    values = [_clean(table.column(source), config).to_pylist() for source in config.properties.values()]
    texts = []
    for row in zip(*values, strict=True):
        kept = {name: value for name, value in zip(config.properties, row, strict=True) if value is not None}
        texts.append(json.dumps(kept, ensure_ascii=False, separators=(",", ":")) if kept else None)
    return pa.array(texts, pa.string())


def _event_ids(table: pa.Table, file_columns: list[str], config: MappingConfig, seen: Counter[str]) -> pa.Array:
    """Ids that come out the same each time the file is read: the naming columns, or a hash of the whole row."""
    prefix = config.event_id_prefix
    if config.event_id_from:
        parts = [_clean(table.column(name), config) for name in config.event_id_from]
        return pc.binary_join_element_wise(prefix, joined_ids(parts), "")
    ids = []
    for row in zip(*(table.column(name).cast(pa.string()).to_pylist() for name in sorted(file_columns)), strict=True):
        digest = hashlib.blake2b(repr(row).encode(), digest_size=16).hexdigest()
        if config.duplicates == "keep":
            seen[digest] += 1
            digest = digest if seen[digest] == 1 else f"{digest}:{seen[digest]}"
        ids.append(prefix + digest)
    return pa.array(ids, pa.string())


def _with_products(
    batch: SourceBatch,
    moments: pa.Array,
    price: Money | None,
    table: pa.Table,
    raw: RawRows,
    problems: Problems,
    config: MappingConfig,
) -> SourceBatch:
    """The batch with what its rows say of products; rows that have a problem say nothing."""
    if not (config.products or config.clear) or "product_id" not in config.columns:
        return batch
    ids = _clean(table.column(config.columns["product_id"]), config)
    usable = np.ones(table.num_rows, np.bool_)
    usable[list(problems)] = False
    places = pa.array(np.flatnonzero(usable & ids.is_valid().to_numpy()))
    said: dict[str, pa.Array | pa.ChunkedArray] = {
        target: _clean(table.column(source), config)
        for target, source in config.products.items()
        if target != Columns.PRICE
    }
    if price is not None:
        said |= {Columns.PRICE: price.amounts, Columns.CURRENCY: price.currencies}
    said = {target: column.take(places) for target, column in {Columns.PRODUCT_ID: ids, **said}.items()}
    return replace(
        batch,
        products=to_product_table(said, len(places)),
        product_lines=ProductLines(raw.numbers[places.to_numpy()], moments.take(places)),
        clear=config.clear,
    )
