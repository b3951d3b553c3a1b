"""Writes files that appear whole or not at all: a path and a content in, the file in its place out.

Whoever reads `path` finds the old file or the new one, never a part of either, also where the writing process is killed.
When `replacing` or `put_in_place` has returned, the new file survives a power cut: its content is on the disk before it
gets its name, and the name is on the disk before the function returns. A power cut earlier leaves the old file, or the
new one whole. (On a file system that cannot wait, as some network ones, that much is not promised.) What is cut short
leaves at most a file that ends in `.part` beside `path`. Who reads a file to write it changed does so in `locked`.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other threads and processes that ask for it out of reading, changing and replacing `path`; waits for them first.

    Makes the folder, and an empty file beside `path` that stays. A process that dies lets go of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when the block ends without an error.

    Makes the folder. After an error nothing is left behind, and `path` is as it was.
    """
    part = part_of(path)
    try:
        yield part
        put_in_place(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path` as a whole."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def part_of(path: Path) -> Path:
    """A name beside `path`, another one at every call, for what is not whole yet. Makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f"{path.name}.{token_hex(4)}.part")


def put_in_place(part: Path, path: Path) -> None:
    """Give the finished file or folder `part` the name `path`, which is no folder, and wait for the disk."""
    for file in sorted(part.iterdir()) if part.is_dir() else ():
        _sync(file)
    _sync(part)
    os.replace(part, path)
    _sync(path.parent)


def sync_tree(folder: Path) -> None:
    """Wait for the disk with everything below a folder; `put_in_place` does so for its own files only."""
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk, where the file system knows how to."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
