"""Whether a stream follows this home's log: the lock that it holds in, a word for the operator out.

`omni serve` starts one; `bentoml serve` does not, and whoever runs it has to start `python -m features.stream` beside it.
"""

import fcntl
from pathlib import Path
from typing import Final

from features.settings import Settings

NOBODY_FOLLOWS: Final = (
    "No stream follows the event log, so every answer reads what is new from the log, which takes longer the more it is."
    " Start one on this home: python -m features.stream (omni serve does it by itself)."
)


def stream_lock(settings: Settings) -> Path:
    """The file that the one stream of a home holds a lock on."""
    return settings.home / "run" / "stream.lock"


def is_followed(settings: Settings) -> bool:
    """Whether a process of this machine holds the stream's lock."""
    try:
        with stream_lock(settings).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of when the file is closed
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
