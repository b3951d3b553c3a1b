"""Whose turn it is to erase: a name of the work in, the right to do it alone out, or who is doing it.

The turn is a lock on a file, which the operating system takes back from a process that dies.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, Final

from features.errors import StoreError
from features.settings import Settings

WORK: Final = "work"
"""Finishing erasures: one worker per home."""
ONLINE: Final = "online"
"""Removing rows of the online store, which whoever begins an erasure does, too."""
WAIT_S: Final = 60.0
_LOOK_S: Final = 0.05


@contextmanager
def turn(settings: Settings, work: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Do something alone. Raises StoreError, which says who does it, where they are not done after `wait_s`."""
    ends = time.monotonic() + wait_s
    with _lock_file(settings, work) as file:
        while not _take(file):
            if time.monotonic() >= ends:
                raise StoreError(
                    f"Another process is at work on erasures: {_holder(file)}.",
                    repair="It does what is pending, too: `omni features check` says what is left. Or end it; what it"
                    " has not done is done by: omni erase --finish",
                )
            time.sleep(_LOOK_S)
        yield


@contextmanager
def turn_if_free(settings: Settings, work: str) -> Iterator[bool]:
    """Do something alone, or do not: true where nobody else does it."""
    with _lock_file(settings, work) as file:
        yield _take(file)


@contextmanager
def _lock_file(settings: Settings, work: str) -> Iterator[IO[str]]:
    path = settings.home / "erasures" / f"{work}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        yield file


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    file.truncate(0)
    file.write(f"process {os.getpid()}, since {datetime.now(UTC).isoformat(timespec='seconds')}")
    file.flush()
    return True


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "it does not say which"
