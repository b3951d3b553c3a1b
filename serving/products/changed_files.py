"""Files that are watched: a stamp that is another one whenever a file is, and the wait until one of them is."""

import threading
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

LOOK_S: Final = 0.5
"""How often tables of products and of stock are looked at: what is put there counts within a second."""
Stamp = tuple[int, int]


def stamp_of(path: Path) -> Stamp | None:
    """What changes whenever a file is written; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


def wait_for_change(stop: threading.Event, seconds: float, paths: Collection[Path], seen: Mapping[Path, Stamp]) -> None:
    """Wait so long, or until one of the files is another one than was `seen`, or until it is to stop."""
    ends = time.monotonic() + seconds
    while (left_s := ends - time.monotonic()) > 0 and not stop.wait(min(left_s, LOOK_S)):
        if any((stamp := stamp_of(path)) is not None and stamp != seen.get(path) for path in paths):
            return
