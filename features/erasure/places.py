"""Every place that may hold something of a customer: an erasure whose steps are done in, what each place holds now out.

What can be read is read again. What cannot (memory of other processes, other machines) is said, with what is to do.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from features.erasure.files import files_left
from features.erasure.online import ONLINE_ROWS, online_left
from features.erasure.texts import Mentions
from features.log.erasure import ErasureBook
from features.log.receipt import Place, Receipt, State
from features.log.tombstones import Matcher
from features.offline.files import offline_files
from features.scoring.mlflow_home import tracking_database
from features.settings import Settings, without_password

logger = logging.getLogger(__name__)

FILES: Final = "files: Parquet under OMNI_HOME"
CACHES_CLEARED_S: Final = 60.0
"""By so long after an erasure no running service has anything of the customer in its memory (serving/erasure.py)."""
_TEXT_FILES: Final = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".log")
_LONGEST_LINE: Final = 100_000
_MOST_BYTES: Final = 16 * 2**20


def look_at_all(settings: Settings, book: ErasureBook, receipt: Receipt, backups: Iterable[str]) -> tuple[Place, ...]:
    """Look at every place; `backups` are the copies of this home that are known.

    Raises StoreError where the log or the online store does not answer.
    """
    in_log = book.look_again(receipt.receipt_id)
    matcher = replace(book.matcher(receipt.receipt_id), returned=in_log.returned)
    came_back = "came back since: what they did after the erasure is kept" if in_log.returned else ""
    return (
        *(_counted(place, rows, came_back) for place, rows in in_log.rows.items()),
        _counted(ONLINE_ROWS, online_left(settings, matcher), came_back),
        *_files(settings, matcher),
        *_text_files(settings, matcher),
        *_elsewhere(settings, receipt.erased_at),
        *_backups(backups),
    )


def left_in(places: Sequence[Place], kind: str) -> list[Place]:
    """Places of one kind that hold something still."""
    return [place for place in places if place.place.startswith(kind) and place.state is State.LEFT]


def _counted(place: str, rows: int, detail: str = "") -> Place:
    return Place(place=place, state=State.LEFT if rows else State.EMPTY, left=rows, detail=detail)


def _files(settings: Settings, matcher: Matcher) -> list[Place]:
    with offline_files(settings):
        found = files_left(settings, matcher)
    unreadable = [
        Place(place=place, state=State.UNVERIFIED, detail=f"it cannot be read ({why}): delete it, or make it anew")
        for place, why in found.unreadable.items()
    ]
    return [_counted(FILES, 0)] * (not found.rows) + [_counted(*each) for each in found.rows.items()] + unreadable


def _text_files(settings: Settings, matcher: Matcher) -> list[Place]:
    """Exports and logs of programs that somebody put into the home: they are not ours to change."""
    mentions = Mentions(matcher)
    places = []
    for path in sorted(path for path in settings.home.rglob("*") if path.suffix in _TEXT_FILES and path.is_file()):
        if settings.mlflow_artifacts_dir in path.parents:
            continue
        place = f"files: {path.relative_to(settings.home)}"
        if path.stat().st_size > _MOST_BYTES:
            places.append(Place(place=place, state=State.UNVERIFIED, detail="it is too large to be looked through"))
            continue
        try:
            n_lines = _lines_that_name(path, mentions)
        except OSError as error:
            places.append(Place(place=place, state=State.UNVERIFIED, detail=f"it cannot be read ({error.strerror})"))
            continue
        if n_lines:
            places.append(
                Place(place=place, state=State.YOURS, left=n_lines, detail="lines that name the customer: delete them")
            )
    return places


def _lines_that_name(path: Path, mentions: Mentions) -> int:
    with path.open(encoding="utf-8", errors="surrogateescape") as file:
        return sum(mentions.in_line(line[:_LONGEST_LINE]) for line in file)


def _elsewhere(settings: Settings, erased_at: datetime) -> list[Place]:
    by = (erased_at + timedelta(seconds=CACHES_CLEARED_S)).isoformat(timespec="seconds")
    return [
        Place(
            place="caches: products bought, in each worker's memory",
            state=State.EXPIRES,
            detail=f"gone by {by}, or with the process",
        ),
        Place(place="feast: registry", state=State.NAMELESS, left=0, detail="definitions only"),
        *_artifacts(settings),
        Place(
            place="exports: omni decide --out, omni audience --out",
            state=State.YOURS,
            detail="files outside OMNI_HOME are not known here",
        ),
    ]


def _artifacts(settings: Settings) -> list[Place]:
    if tracking_database(settings) is None:
        where = without_password(settings.mlflow_tracking_uri)
        words = f"at {where}: tables *evaluation.parquet of its runs name customers: delete them"
        return [Place(place="mlflow: artifacts", state=State.YOURS, detail=words)]
    words = "input examples (up to 3 rows of signals) and figures, without ids; tables with ids are among the files"
    return [
        Place(place="mlflow: artifacts", state=State.NAMELESS, detail=words),
        Place(
            place="mlflow: models", state=State.NAMELESS, detail="parameters learnt from many: see the models listed"
        ),
    ]


def _backups(backups: Iterable[str]) -> list[Place]:
    words = "it holds the customer until it is deleted; whoever restores it has them erased again"
    return [Place(place=f"backup: {place}", state=State.YOURS, detail=words) for place in backups]
