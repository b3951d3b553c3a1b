"""A Parquet source in one file or in a folder of part files: how it is scanned, told apart from an older one, replaced."""

import os
import shutil
from pathlib import Path


def scan_path(source: Path) -> str:
    """What DuckDB's `read_parquet` takes for a file or for a folder of part files."""
    return str(source / "*.parquet") if source.is_dir() else str(source)


def stamp(source: Path) -> str:
    """Sizes and times of the files of `source`: another stamp means other content."""
    files = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    return ";".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)


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
