"""The list of what a backup holds: files in, their digests out, and back again as a check that each is what it was."""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from features.console import Progress
from features.errors import InputError

NAME: Final = "manifest.json"
FORMAT: Final = 1
"""Of the folder; raised when an older Omni could not restore it."""
_CHUNK: Final = 2**20


class StoredFile(BaseModel):
    """One file of the backup; `path` is relative to the folder, with slashes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    size: int
    sha256: str


class CopiedTable(BaseModel):
    """One table of a PostgreSQL log, in `log/NAME.copy` as `COPY` writes it; `last_values` by column that counts up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    columns: tuple[str, ...]
    rows: int
    last_values: dict[str, int] = {}


class Manifest(BaseModel):
    """What a backup is of, and all its files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    created_at: datetime
    version: str
    """Of Omni."""
    engine: Literal["sqlite", "postgresql"]
    """Of the event log."""
    log_id: str
    last_seq: int
    events: int
    erasures: int
    """How many customers had been erased from the log by then."""
    left_out: tuple[str, ...]
    """What is not in it, and why."""
    tables: tuple[CopiedTable, ...] = ()
    files: tuple[StoredFile, ...]
    digest: str = ""
    """Of all the rest."""

    def signed(self) -> "Manifest":
        """The same with its digest."""
        text = self.model_dump_json(exclude={"digest"})
        return self.model_copy(update={"digest": hashlib.sha256(text.encode()).hexdigest()})


def list_files(folder: Path, progress: Progress) -> tuple[StoredFile, ...]:
    """Every file below a folder but the manifest, with its digest."""
    return tuple(_stored(folder, path, progress) for path in _files(folder))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a backup. Raises InputError where there is none that this version can read."""
    path = folder / NAME
    if not path.is_file():
        raise InputError(f"{folder} is no backup: it has no {NAME}.", repair="Name a folder that `omni backup` made.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.get("format", FORMAT) != FORMAT:
            raise InputError(
                f"{folder} was made by Omni {content.get('version')}, in a form that this version does not know.",
                repair="Take the version of Omni that made it.",
            )
        manifest = Manifest.model_validate(content)
    except (OSError, ValueError, ValidationError) as error:
        raise InputError(
            f"The backup {folder} is damaged: its {NAME} cannot be read ({type(error).__name__}).",
            repair="Take another backup.",
        ) from error
    if manifest != manifest.signed():
        raise InputError(f"The backup {folder} is damaged: its {NAME} was changed.", repair="Take another backup.")
    return manifest


def verify(folder: Path, manifest: Manifest, progress: Progress) -> None:
    """Read every file again. Raises InputError for the first that is missing, damaged, or not on the list."""
    listed = {stored.path: stored for stored in manifest.files}
    there = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    for name in sorted(listed.keys() | there.keys()):
        if name not in there:
            problem = "is missing"
        elif name not in listed:
            problem = "is not on its list"
        elif _stored(folder, there[name], progress) != listed[name]:
            problem = "is not what was backed up: its digest differs"
        else:
            continue
        raise InputError(f"The backup {folder} is damaged: {name} {problem}.", repair="Take another backup.")


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or (path.is_file() and path != folder / NAME):
            yield path


def _stored(folder: Path, path: Path, progress: Progress) -> StoredFile:
    name = path.relative_to(folder).as_posix()
    progress(f"checking {name}")
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", repair="Look at the disk it lies on.") from error
    return StoredFile(path=name, size=size, sha256=digest.hexdigest())
