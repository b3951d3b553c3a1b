"""A home's timeline and log in, everybody counted out; `python -m serving.fallback.whole` does so apart.

A worker has a long count done by a process of its own, which ends: what a timeline leaves behind in memory would stay.
"""

import contextlib
import logging
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np

from features.clock import Clock
from features.errors import OmniError
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.offline.build_note import BuildNote, is_of_log, read_note
from features.processes.lifeline import LIFELINES, hang_on
from features.settings import Settings
from features.state.layout import N_HOURS
from features.vocabulary import Columns
from serving.decision.send_time import hour_counts
from serving.fallback.counting import Buyers, Counting, Counts, timeline_batches
from serving.fallback.kept import Basis, Kept, kept_path, stamp_of, write

logger = logging.getLogger(__name__)

APART: Final = 20_000
"""More events than this are counted by a process of its own."""
_NEWER_ROWS: Final = 10_000
_NEWER_BATCHES: Final = 50
"""Parts of the log that a worker takes in at a time: what is left comes with its next look."""
_BATCH_ROWS: Final = 50_000


@dataclass(frozen=True)
class _Task:
    settings: Settings
    log_level: int


def build_of_log(settings: Settings, log: EventLog) -> BuildNote | None:
    """The build whose timeline counts; None where there is none of this log."""
    note = read_note(settings)
    usable = note is not None and settings.timeline_path.exists() and is_of_log(note, log)
    return note if usable else None


def count_all(settings: Settings, log: EventLog, clock: Clock) -> Kept:
    """Count everybody anew. Raises StoreError for a timeline that cannot be used."""
    at_s = clock.now().timestamp()
    build, stamp = build_of_log(settings, log), stamp_of(settings.timeline_path)
    counting, hours = Counting(Counts(at_s)), np.zeros(N_HOURS, np.int64)
    buyers: list[Buyers] = []
    done_seq = 0 if build is None else build.last_seq
    if build is None:
        for events in log.read(0, _BATCH_ROWS):
            counting.add(events)
            buyers.append(Buyers.of(events, Columns.RESOLVED_CUSTOMER_ID))
            done_seq = int(events[Columns.SEQ][-1].as_py())
    else:
        for events in timeline_batches(settings.timeline_path):
            counting.add(events)
            buyers.append(Buyers.of(events, Columns.CUSTOMER_ID))
            hours += hour_counts(events)
    counts = counting.counts()
    basis = Basis("" if build is None else build.anchor, "", done_seq, at_s, None if build is None else stamp)
    churn = Buyers.together(buyers).churn(min(at_s, counts.newest_s))
    return count_newer(Kept(basis, counts, churn, hours), log)


def count_newer(kept: Kept, log: EventLog) -> Kept:
    """Take in what the log holds beyond what was counted, a part of it where that is much."""
    counting, done_seq = Counting(kept.counts), kept.basis.done_seq
    for events in islice(log.read(done_seq, _NEWER_ROWS), _NEWER_BATCHES):
        counting.add(events)
        done_seq = int(events[Columns.SEQ][-1].as_py())
    basis = replace(kept.basis, log=str(log.anchor()), done_seq=done_seq)
    return replace(kept, counts=counting.counts(), basis=basis)


def count_apart(settings: Settings) -> None:
    """Have everybody counted anew and kept by a process that ends with this one's service; waits for it.

    Raises OmniError where it could not.
    """
    pipes = tuple(int(number) for number in os.environ.get(LIFELINES, "").split(",") if number)
    task = _Task(settings, logging.getLogger("serving").getEffectiveLevel())
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=pickle.dumps(task),
        pass_fds=pipes,
        start_new_session=True,
        check=False,
    )
    if done.returncode != 0:
        raise OmniError(f"The process that counts everybody ended with status {done.returncode}.")


def main() -> int:
    """Do the task that comes in."""
    hang_on(os.environ)
    task: _Task = pickle.load(sys.stdin.buffer)
    logging.basicConfig(level=task.log_level, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    try:
        with contextlib.closing(open_log(task.settings)) as log:
            write(kept_path(task.settings), count_all(task.settings, log, Clock.from_settings(task.settings)))
    except (OmniError, OSError) as error:
        logger.warning("Everybody could not be counted: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
