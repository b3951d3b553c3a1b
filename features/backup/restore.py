"""Puts a backup back: a folder that `omni backup` made in, a home with its log, models and files out, and what was there aside.

The log is made ready beside the one there is, with every erasure since, and takes its place in one step at the end: whatever
is cut short leaves a whole log, and can be done again. It is another log from then on (log/marks.py), so that feature
stores which are ahead of it do not count.
"""

import os
import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from features import atomic
from features.backup import sqlite_copy
from features.backup.backup import HOME, LOG, LOG_FILE, MLFLOW, mlflow_is_here
from features.backup.catalogue import KnownBackup, remember
from features.backup.manifest import Manifest, read_manifest, verify
from features.clock import Clock
from features.console import Progress
from features.errors import InputError, OmniError
from features.log.carried import CarriedErasure, carry_erasures, erasures_of, keep_erasures, kept_erasures, together
from features.log.engines import has_log, open_log, sqlite_path
from features.log.identity import identity_rules
from features.processes.running import RunFolder
from features.settings import SETTINGS_FILE, Settings, without_password

NEXT: Final = "Run omni features build, then start the service again; its stream makes the online store anew."


@dataclass(frozen=True)
class RestoreReport:
    """What was restored, and where that lies which was there before."""

    place: Path
    created_at: datetime
    log_id: str
    last_seq: int
    events: int
    replaced: tuple[str, ...]
    """Where what was there has been put; empty where nothing was, or it was not to be kept."""
    left_as_they_were: tuple[str, ...]
    """Files that the home has in another form than the backup, and keeps."""
    erasures_since: int
    """Erasures that the backup did not know of, and that hold in the restored log."""
    erased_again: int
    """Customers who were in the backup and were erased from it anew."""
    next: str = NEXT


def restore(
    settings: Settings, folder: Path, progress: Progress, *, discard: bool = False, log_only: bool = False
) -> RestoreReport:
    """Restore a backup into the home and the event log that the settings name; with `log_only` the log and nothing else.

    What is replaced is put aside, unless `discard`. Raises InputError for a backup that is damaged or of another engine,
    and while anything uses the log.
    """
    folder = folder.expanduser().resolve()
    manifest = read_manifest(folder)
    _check_engine(settings, manifest, folder)
    check_nothing_runs(settings)
    verify(folder, manifest, progress)
    now = datetime.now(UTC)
    name = f"replaced-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
    erasures = together(kept_erasures(settings), _erasures_here(settings))
    progress("making the log ready")
    with _staged(settings, folder, manifest, name, progress) as staged:
        with closing(open_log(staged)) as log:
            log_id = log.renew_id()
            carried = carry_erasures(log, erasures, Clock.from_settings(settings).now())
            last_seq, events = log.last_seq(), log.count()
        check_nothing_runs(settings)  # a service may have been started meanwhile
        progress("putting it in place")
        replaced, left = _Files(settings, folder, manifest, name, discard).put() if not log_only else (set(), ())
        replaced |= _swap_log(settings, staged, name, discard)
    with closing(open_log(settings)) as log:
        keep_erasures(settings, log)
    remember(settings, KnownBackup(str(folder), manifest.created_at, manifest.log_id, manifest.last_seq))
    for place in sorted(replaced):
        remember(settings, KnownBackup(place, now.replace(microsecond=0), "", 0, kind="replaced"))
    return RestoreReport(
        place=folder,
        created_at=manifest.created_at,
        log_id=log_id,
        last_seq=last_seq,
        events=events,
        replaced=tuple(sorted(replaced)),
        left_as_they_were=left,
        erasures_since=carried.carried,
        erased_again=len(carried.erased_again),
    )


def check_nothing_runs(settings: Settings) -> None:
    """Raises InputError while a service of this home runs, or anything has its log or its registry open."""
    for port in _ports_that_serve(settings):
        raise InputError(
            f"A service of {settings.home} runs on port {port}.",
            repair="Stop it, then restore, then start it again.",
        )
    path = sqlite_path(settings)
    if path is not None:
        sqlite_copy.check_unused(path)
    else:
        from features.backup.postgres_copy import check_unused

        check_unused(settings.event_log_url)
    if mlflow_is_here(settings):
        sqlite_copy.check_unused(settings.home / "mlflow" / "mlflow.db")


def _ports_that_serve(settings: Settings) -> Iterator[int]:
    """Of services of this home, whatever address they listen on and whether they answer yet."""
    run = settings.home / "run"
    for folder in sorted(run.iterdir()) if run.is_dir() else ():
        if folder.name.isdigit() and RunFolder(folder).is_held():
            yield int(folder.name)


def _check_engine(settings: Settings, manifest: Manifest, folder: Path) -> None:
    here = "sqlite" if sqlite_path(settings) is not None else "postgresql"
    if here != manifest.engine:
        raise InputError(
            f"The backup {folder} is of an event log on {manifest.engine}, and OMNI_EVENT_LOG is {settings.event_log_place}.",
            repair=f"Set OMNI_EVENT_LOG to where the log is to be; {folder / HOME / SETTINGS_FILE} says where it was, if the"
            " home had such a file.",
        )


def _erasures_here(settings: Settings) -> list[CarriedErasure]:
    """What the log that is replaced knows, if it can be read at all; the files beside it know the same."""
    if not has_log(settings):
        return []
    try:
        with closing(open_log(settings)) as log:
            return erasures_of(log)
    except (OmniError, sqlite3.DatabaseError):
        return []


@contextmanager
def _staged(settings: Settings, folder: Path, manifest: Manifest, name: str, progress: Progress) -> Iterator[Settings]:
    """Settings of a log beside the one there is, with what the backup holds; nothing of it is left if the block fails."""
    path = sqlite_path(settings)
    if path is None:
        from features.backup import postgres_copy

        schema = name.replace("-", "_").replace("replaced", "omni_restoring").lower()
        url, rules = settings.event_log_url, identity_rules(settings)
        try:
            postgres_copy.make_schema(url, schema, rules)
            postgres_copy.load_tables(url, schema, manifest.tables, folder / LOG, progress)
            yield replace(settings, event_log_schema=schema)
        finally:
            postgres_copy.drop_schema(url, schema)  # not there any more once it has taken the log's name
        return
    part = atomic.part_of(path)
    try:
        shutil.copyfile(folder / LOG / LOG_FILE, part)
        yield replace(settings, event_log_url=f"sqlite:///{part}")
    finally:
        for file in sqlite_copy.beside(part):
            file.unlink()


def _swap_log(settings: Settings, staged: Settings, name: str, discard: bool) -> set[str]:
    """Put the staged log in the place of the one there is; returns where that is now."""
    path, part = sqlite_path(settings), sqlite_path(staged)
    if path is None or part is None:
        from features.backup.postgres_copy import swap_schemas

        aside = name.replace("-", "_").replace("replaced", "omni_replaced").lower()
        was_there = swap_schemas(settings.event_log_url, staged.event_log_schema, aside, discard=discard)
        place = f"{without_password(settings.event_log_url)} schema {aside}"
        return {place} if was_there and not discard else set()
    replaced = set()
    if path.exists():
        sqlite_copy.settle(path)
        for file in sqlite_copy.beside(path) if not discard else ():
            aside_file = path.parent / name / file.name
            aside_file.parent.mkdir(exist_ok=True, mode=0o700)
            os.link(file, aside_file)  # the log keeps its name until the new one takes it
            replaced.add(str(aside_file.parent))
        for file in sqlite_copy.beside(path)[1:]:
            file.unlink()  # else SQLite would put what they hold into the new log
    sqlite_copy.settle(part)
    atomic.put_in_place(part, path)
    return replaced


@dataclass(frozen=True)
class _Files:
    """What lies beside the log in a backup, on its way into the home."""

    settings: Settings
    folder: Path
    manifest: Manifest
    name: str
    discard: bool

    def put(self) -> tuple[set[str], tuple[str, ...]]:
        """Put them there; returns where what was replaced is now, and which files were left as they were."""
        replaced, left = set(), []
        for stored in self.manifest.files:
            path = Path(stored.path)
            if path.parts[0] != HOME:
                continue
            below = path.relative_to(HOME)
            target, source = self.settings.home / below, self.folder / path
            if target.exists() and target.read_bytes() == source.read_bytes():
                continue
            if target.exists() and (below.parts[0] == "erasures" or below.name == SETTINGS_FILE):
                left += [below.as_posix()] if below.name == SETTINGS_FILE else []
                continue
            replaced |= self._put_aside(target)
            with atomic.replacing(target) as part:
                shutil.copyfile(source, part)
                part.chmod(source.stat().st_mode & 0o777)
        return replaced | self._put_models(), tuple(left)

    def _put_models(self) -> set[str]:
        source, target = self.folder / MLFLOW, self.settings.home / "mlflow"
        if not source.is_dir() or not mlflow_is_here(self.settings):
            return set()
        part = atomic.part_of(target)
        try:
            shutil.copytree(source, part)
            atomic.sync_tree(part)
            replaced = self._put_aside(target)
            if target.exists():
                shutil.rmtree(target)
            atomic.put_in_place(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return replaced

    def _put_aside(self, target: Path) -> set[str]:
        if not target.exists() or self.discard:
            return set()
        aside = self.settings.home / self.name
        place = aside / target.relative_to(self.settings.home)
        aside.mkdir(exist_ok=True, mode=0o700)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(target, place)
        return {str(aside)}
