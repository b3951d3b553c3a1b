"""The note of the last build of the feature stores: what they were built from, and how far they lag behind the log."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features import atomic
from features.attributes.declared import declared
from features.errors import StoreError
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.marks import Anchor
from features.offline.files import part_files
from features.offline.timeline import count_events
from features.settings import Settings
from features.state import layout as fold_layout
from features.state.encoding import PRODUCTS_FIELDS, STATE_FIELDS
from features.state.packing import LAYOUT_CODE
from features.state.product_blocks import BLOCK_FIELDS
from features.state.products import POPULARITY_DAYS
from features.vocabulary import CHANNELS, HALF_LIVES_DAYS, KINDS, Columns, EventKind

NOT_OF_THE_LOG: Final = "were built from events that the event log does not hold, as after a backup was restored"
LAYOUT_VERSION: Final = 6
"""Raised by hand when the same events fold to other states: a build with another version is done anew."""


@dataclass(frozen=True)
class BuildNote:
    """What the feature stores were built from; kept beside them."""

    log_fingerprint: str
    layout: str
    last_seq: int
    events: int
    customers: int
    state_rows: int
    last_event_at: str
    places: str
    """The event log and the online store that it was built from and into."""
    anchor: str
    """The end of the log when it had been read: a log without that place is another one, or an older copy of it."""


def read_note(settings: Settings) -> BuildNote | None:
    """The note of the last build; None before the first, for one between other stores, an older Omni's, and a damaged one."""
    path = _build_path(settings)
    if not path.exists():
        return None
    try:
        note = BuildNote(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError, OSError):  # damaged: as before the first build, so all of it is done again
        return None
    # The same events have other seqs in another log, and another online store holds no states yet.
    return note if note.places == places(settings) else None


def write_note(settings: Settings, note: BuildNote) -> None:
    """Keep the note of a build that is complete."""
    atomic.write_text(_build_path(settings), json.dumps(asdict(note), indent=2))


def places(settings: Settings) -> str:
    """The event log and the online store, without secrets; the same when the whole home has moved."""
    online = settings.redis_place if settings.online_store == "redis" else settings.online_db_path
    return f"{settings.event_log_place} {settings.online_store}:{online}".replace(str(settings.home), "OMNI_HOME")


def fit_note_to_files(settings: Settings) -> None:
    """After rows were taken out of log and files alike: note what the files hold now, and of which log that is."""
    note = read_note(settings)
    timeline, states = settings.timeline_path, settings.customer_state_path
    if note is None or not timeline.exists() or not states.exists():
        return
    customers = pc.count_distinct(pq.read_table(timeline, columns=[Columns.CUSTOMER_ID])[Columns.CUSTOMER_ID])
    state_rows = sum(pq.read_metadata(file).num_rows for file in part_files(states))
    note = replace(note, events=count_events(timeline), customers=customers.as_py(), state_rows=state_rows)
    log = open_log(settings)
    try:
        if events_since(note, log) == 0:
            note = replace(note, log_fingerprint=log.fingerprint())
    finally:
        log.close()
    write_note(settings, note)


def layout() -> str:
    """Changes when the same events would be stored as other states."""
    parts = (
        LAYOUT_VERSION,
        LAYOUT_CODE,
        STATE_FIELDS,
        PRODUCTS_FIELDS,
        BLOCK_FIELDS,
        POPULARITY_DAYS,
        fold_layout.SCALARS,
        HALF_LIVES_DAYS,
        CHANNELS,
        KINDS,
        declared().stored,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def events_since_build(settings: Settings) -> int | None:
    """Events that came after the last build and change a state; None where a whole build is due."""
    note = read_note(settings)
    if note is None:
        return None
    log = open_log(settings)
    try:
        return events_since(note, log)
    finally:
        log.close()


def events_since(note: BuildNote, log: EventLog) -> int | None:
    """Events in `log` after the noted build that change a state; None where the log or the layout is another one.

    Decisions do not count: the service writes one for every answer, and the fold passes over them.
    """
    if note.layout != layout() or not is_of_log(note, log):
        return None
    if note.log_fingerprint == log.fingerprint():
        return 0
    n_new = n_changing = 0
    for batch in log.read(after_seq=note.last_seq):
        n_new += batch.num_rows
        n_changing += pc.sum(pc.not_equal(batch[Columns.KIND].cast(pa.string()), EventKind.DECISION.value)).as_py()
    return n_changing if note.events + n_new == log.count() else None


def is_of_log(note: BuildNote, log: EventLog) -> bool:
    """Whether `log` holds everything that the build was made of: not so where it was restored from an older copy."""
    anchor = Anchor.parse(note.anchor)
    return anchor is not None and log.holds(anchor)


def check_of_log(settings: Settings, log: EventLog) -> None:
    """Raises StoreError where the last build holds events that `log` does not; without a build there is nothing to say."""
    note = read_note(settings)
    if note is not None and not is_of_log(note, log):
        raise StoreError(
            f"The features in {settings.timeline_path.parent} {NOT_OF_THE_LOG}.", repair="Run: omni features build"
        )


def _build_path(settings: Settings) -> Path:
    return settings.timeline_path.with_name("build.json")
