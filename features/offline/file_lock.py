"""Settings come in; a block runs while no other process rewrites the offline files."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from features.settings import Settings


@contextmanager
def offline_files(settings: Settings) -> Iterator[None]:
    """Waits for a build or an erasure that is under way, then keeps others out; a process that dies lets go of it."""
    path = settings.home / "files.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
