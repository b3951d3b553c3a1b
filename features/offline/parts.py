"""A Parquet source in one file or in a folder of part files: how it is scanned, told apart from an older one, replaced."""

import os
import shutil
from pathlib import Path


def scan_path(source: Path) -> str:
    """What DuckDB's `read_parquet` takes for a file or for a folder of part files."""
    return str(source / "*.parquet") if source.is_dir() else str(source)


def files(source: Path) -> list[Path]:
    """The file, or the part files of the folder; none where there is neither."""
    return sorted(source.glob("*.parquet")) if source.is_dir() else [source] if source.exists() else []


def stamp(source: Path) -> str:
    """Sizes and times of the files of `source`: another stamp means other content."""
    facts = [(file.name, file.stat()) for file in (files(source) or [source])]
    return ";".join(f"{name}:{fact.st_size}:{fact.st_mtime_ns}" for name, fact in facts)


def replace(new: Path, target: Path) -> None:
    """Put the finished file or folder `new` in the place of `target`, whichever of the two that was."""
    if not target.is_dir() and not new.is_dir():
        os.replace(new, target)
        return
    old = target.with_suffix(".old")
    discard(old)  # left by a process that was killed right here
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)
    discard(old)


def discard(source: Path) -> None:
    """Delete a file or a folder of part files, if it is there."""
    if source.is_dir():
        shutil.rmtree(source)
    else:
        source.unlink(missing_ok=True)
