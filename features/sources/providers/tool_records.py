"""Files of other tools' records come in (JSON, Avro, Parquet); batches of events go out, by the words of `features/formats`."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from features.errors import InputError
from features.formats import FORMATS
from features.formats.messages import EVENT_TYPE
from features.sources.batch import SourceBatch
from features.sources.providers.outcomes import Outcome, to_batch
from features.sources.readers import RawRows, read_rows

_braze_word = re.compile(r"users\.[A-Za-z]+(\.[A-Za-z]+)+")
_AVRO: Final = b"Obj\x01"


def load(name: str, path: str | None, sample: float | None) -> Iterator[SourceBatch]:
    """Batches of the records at `path`, in the format `name`. Raises InputError where not one of them is of that format."""
    asked = FORMATS[name]
    understood, problem = 0, None
    for raw in read_rows(path or ""):
        rows: list[Mapping[str, Any]] = list(raw.objects())
        if name == "messages":
            rows = _with_word(rows, _word_of_part(raw, path or ""))
        outcomes = [Outcome.of(asked.records(row), asked.read) for row in rows]
        understood += sum(1 for outcome in outcomes if outcome.events or outcome.skipped)
        problem = problem or next((one for outcome in outcomes for one in outcome.problems), None)
        yield to_batch(raw, outcomes, sample)
    if not understood and problem is not None:
        raise InputError(
            f"Nothing in {path} is one of {asked.title}: in its first row {problem.field} {problem.reason}",
            repair="Check the source's name, or bring the file with --mapping (omni mapping suggest writes a first one).",
        )


def _with_word(rows: list[Mapping[str, Any]], word: str | None) -> list[Mapping[str, Any]]:
    """Rows that say what happened, where only their file does."""
    if word is None:
        return rows
    return [row if row.get(EVENT_TYPE) else {**row, EVENT_TYPE: word} for row in rows]


def _word_of_part(raw: RawRows, path: str) -> str | None:
    """What Braze's files are of: it stands in the name of their folder, or of their schema."""
    file = Path(path) / raw.part if Path(path).is_dir() else Path(path)
    found = _braze_word.search(str(file)) or _braze_word.search(_schema_name(file))
    return None if found is None else found.group()


def _schema_name(file: Path) -> str:
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        if stream.read(len(_AVRO)) != _AVRO:
            return ""
        import fastavro

        stream.seek(0)
        schema = fastavro.reader(stream).writer_schema
    return str(schema.get("name", "")) if isinstance(schema, dict) else ""
