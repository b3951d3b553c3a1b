"""What need not be done again: sources that the log holds already, and how far the feature stores lag behind it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from features.build import _layout, is_fresh, read_note
from features.log import open_log
from features.settings import Settings
from features.vocabulary import Columns, EventKind


def events_since_build(settings: Settings) -> int | None:
    """Events that came after the last build and change a state; None where a whole build is due.

    Decisions do not count: the service writes one for every answer, and the fold passes over them.
    """
    note = read_note(settings)
    if note is None or note.layout != _layout():
        return None
    log = open_log(settings)
    try:
        if is_fresh(settings, log):
            return 0
        new = log.count() - note.events
        if new <= 0:
            return None  # same length or shorter, and not the same: another log
        kinds = [batch[Columns.KIND].cast(pa.string()) for batch in log.read(after_seq=log.last_seq() - new)]
    finally:
        log.close()
    return sum(int(pc.sum(pc.not_equal(column, EventKind.DECISION.value)).as_py()) for column in kinds)


def is_ingested(settings: Settings, source: str, sample: float | None, path: Path | None) -> bool:
    """Whether `note_ingested` was called for the same source, and the log still is the one that took it."""
    seq = _read_notes(settings).get(_key(settings, source, sample, path))
    if seq is None:
        return False
    log = open_log(settings)
    try:
        return log.last_seq() >= seq
    finally:
        log.close()


def note_ingested(settings: Settings, source: str, sample: float | None, path: Path | None) -> None:
    """Remember that the log holds this source, whole."""
    log = open_log(settings)
    try:
        notes = {**_read_notes(settings), _key(settings, source, sample, path): log.last_seq()}
    finally:
        log.close()
    file = _notes_path(settings)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(notes, indent=2), encoding="utf-8")
    part.replace(file)


def _key(settings: Settings, source: str, sample: float | None, path: Path | None) -> str:
    changed = path.stat().st_mtime_ns if path is not None and path.exists() else None
    return json.dumps([source, sample, str(path), changed, settings.event_log_url])


def _read_notes(settings: Settings) -> dict[str, int]:
    file = _notes_path(settings)
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def _notes_path(settings: Settings) -> Path:
    return settings.home / "ingested.json"
