"""A place where data lies comes in; a mapping.toml of it goes out, and what its first rows become under that mapping."""

import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, Final

import pyarrow as pa

from features.errors import InputError
from features.events.rules import EVENT_COLUMNS, REQUIRED_COLUMNS
from features.events.schema import validate_table
from features.sources.mapped.joined import read_joined
from features.sources.mapping import map_rows
from features.sources.mapping_config import MISSING, JoinSpec, MappingConfig
from features.sources.readers import RawRows, ReadOptions, read_rows
from features.sources.readers.rows import no_rejected, numbered
from features.sources.suggesting.columns import table_of
from features.sources.suggesting.draft import Draft
from features.sources.suggesting.guessing import guess, missing_words

ROWS: Final = 10_000
"""So many rows are looked at."""
ENCODINGS: Final = ("utf-8", "cp1252")
_TOLD: Final = 5


@dataclass(frozen=True)
class Suggestion:
    """A mapping as text, and what comes of the rows that were looked at: events, rows that are skipped or rejected."""

    text: str
    rows: int
    events: int
    skipped: int
    rejected: int
    why: dict[str, int]
    """Of the rejected rows: the most frequent reasons."""
    problem: str | None = None
    """What the file as a whole is refused for, where it is."""

    @property
    def verdict(self) -> str:
        """What the first rows become, in a sentence."""
        told = f"Of the first {self.rows:,} rows come {self.events:,} events; {self.skipped:,} rows are skipped."
        if self.rejected:
            told += f" {self.rejected:,} are rejected: " + "; ".join(self.why)
        return f"{told} The file would be refused: {self.problem}" if self.problem else told


def write(suggestion: Suggestion, file: Path) -> bool:
    """Write a mapping where there is none yet; whether it was."""
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(suggestion.text)
    except FileExistsError:
        return False
    return True


def suggest(place: str, join: JoinSpec | None = None) -> Suggestion:
    """A first mapping of what lies at a place. Raises InputError where it cannot be read, or says neither when nor who."""
    options, raw = _read(place)
    seen = raw if join is None else next(iter(map(read_joined(join, options, None).add, [raw])))
    table = table_of(seen.objects())
    draft = guess(table)
    if "occurred_at" not in draft.columns:
        raise InputError(
            f"No column of {place} holds times; it has {[column.path for column in table.columns]}.",
            repair="Write the mapping by hand, with the time_format of its times (docs/your-data.md).",
        )
    if "customer_id" not in draft.columns and not draft.identifiers:
        raise InputError(
            f"No column of {place} says who; it has {[column.path for column in table.columns]}.",
            repair="Write the mapping by hand: name columns.customer_id, or a column under [identifiers].",
        )
    _say_how_to_read(draft, options, missing_words(table))
    if join is not None:
        draft.top["join"] = ({"file": join.file, "key": join.key}, "the rest of each row lies there")
    if set(REQUIRED_COLUMNS) <= set(seen.names) <= set(EVENT_COLUMNS):
        draft.notes.append(
            "the columns are our own already: omni ingest takes the file without a mapping, identifiers and all"
        )
    name = PurePath(place).name
    text = draft.to_toml(f"What {name} seems to say: mend what is wrong, then look with omni ingest … --dry-run")
    config = MappingConfig.model_validate(tomllib.loads(text))
    return _tried(text, config, raw, place)


def _read(place: str) -> tuple[ReadOptions, RawRows]:
    """The first rows, and how they could be read."""
    refused: InputError | None = None
    for options in _ways():
        try:
            raw = _first_rows(place, options)
        except InputError as error:
            refused = refused or error
            if "several lines" not in str(error):
                break
            continue
        if raw.rejected.num_rows and options.encoding == ENCODINGS[0]:
            other = replace(options, encoding=ENCODINGS[1])
            again = _first_rows(place, other)
            if again.rejected.num_rows < raw.rejected.num_rows:
                return other, again
        if not len(raw):
            break
        return options, raw
    raise refused or InputError(f"{place} holds no rows.", repair="Give a file with at least one.")


def _ways() -> Iterator[ReadOptions]:
    yield ReadOptions()
    yield ReadOptions(multiline=True)
    yield ReadOptions(quoting="none")


def _first_rows(place: str, options: ReadOptions) -> RawRows:
    rows: list[dict[str, Any]] = []
    rejected = [no_rejected()]
    typed = True
    for raw in read_rows(place, options):
        rows += islice(raw.objects(), ROWS - len(rows))
        rejected.append(raw.rejected)
        typed = raw.typed
        if len(rows) >= ROWS:
            break
    return RawRows(numbered(0, len(rows)), pa.concat_tables(rejected), items=rows, typed=typed)


def _say_how_to_read(draft: Draft, options: ReadOptions, missing: list[str]) -> None:
    usual = ReadOptions()
    if options.multiline != usual.multiline:
        draft.top["multiline"] = (True, "some fields go over several lines")
    if options.quoting != usual.quoting:
        draft.top["quoting"] = (options.quoting, "a quote in this file is a character like any other")
    if options.encoding != usual.encoding:
        draft.top["encoding"] = (options.encoding, "CHECK: it is not utf-8")
    if missing:
        known, why = draft.top.get("missing", (list(MISSING), "what stands for nothing"))
        draft.top["missing"] = ([*known, *missing], why)


def _tried(text: str, config: MappingConfig, raw: RawRows, place: str) -> Suggestion:
    """What the rows become; what only a whole file shows is told, too."""
    events = skipped = 0
    why: Counter[str] = Counter()
    problem = None
    try:
        for batch in map_rows([raw], place, config):
            good, rejected = validate_table(batch.events, datetime.now(UTC))
            events += good.num_rows
            skipped += sum(batch.skipped.values())
            tables = [rejected] if batch.rejected is None else [rejected, batch.rejected]
            for table in tables:
                fields, reasons = table.column("field").to_pylist(), table.column("reason").to_pylist()
                why.update(f"{field} {reason}" for field, reason in zip(fields, reasons, strict=True))
    except InputError as error:
        problem = str(error)
    return Suggestion(text, len(raw), events, skipped, sum(why.values()), dict(why.most_common(_TOLD)), problem)
