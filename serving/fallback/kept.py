"""Everybody's numbers in, one file under OMNI_HOME out, and back: all workers map it, and it takes memory once.

The file is a digest and then an Arrow file of one row: half of one, a damaged one and one of another version read as none,
and are written anew by whoever counts. It says nothing of any single customer.
"""

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from features import atomic
from features.arrays import IntArray
from features.settings import Settings
from features.state.layout import N_HOURS
from serving.fallback.counting import Counts
from serving.fallback.population import ChurnRate, Population, Sales

logger = logging.getLogger(__name__)

VERSION: Final = 1
"""Raised when the file, or what is counted, becomes another one."""
_DIGEST_BYTES: Final = 64
"""As many as Arrow wants its columns to begin at a multiple of."""
_NOTE: Final = b"omni"
_COLUMNS: Final = ("names", "places", "pairs", "weights", "hours")

Stamp = tuple[int, int]
"""Of a file: when it was written (nanoseconds), and its size."""


@dataclass(frozen=True)
class Basis:
    """What was counted."""

    build: str
    """The build whose timeline was counted, by its place in the log; empty: the log alone."""
    log: str
    """A place in the log that was passed: a log without it is another one, or an older copy."""
    done_seq: int
    """The newest event that was counted."""
    counted_s: float
    """When everything was counted anew, seconds since the epoch."""
    timeline: Stamp | None = None


@dataclass(frozen=True, eq=False)
class Kept:
    """Everybody counted: by moments, sales and contacts, by who came back, and by hours of the week."""

    basis: Basis
    counts: Counts
    churn: ChurnRate | None = None
    hours: IntArray = field(default_factory=lambda: np.zeros(N_HOURS, np.int64))
    """How often customers acted in each hour of the week, by the timeline (168,)."""

    @property
    def population(self) -> Population:
        """What is answered with."""
        return Population(self.counts.sales, self.counts.contacts, self.churn)


def kept_path(settings: Settings) -> Path:
    """Where the file lies."""
    return settings.home / "run" / "everybody.arrow"


def stamp_of(path: Path) -> Stamp | None:
    """What changes whenever a file is written; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


def write(path: Path, kept: Kept) -> None:
    """Keep it. Raises OSError where that cannot be done."""
    counts = kept.counts
    note = {
        "version": VERSION,
        "basis": asdict(kept.basis),
        "churn": None if kept.churn is None else asdict(kept.churn),
        "contacts": [[*key, n] for key, n in counts.contacts.items()],
        "origin_s": counts.origin_s,
        "newest_s": counts.newest_s,
    }
    places = pa.array(list(counts.sales.places), pa.string())
    columns = (counts.sales.names, places, counts.sales.pairs, counts.sales.weights, kept.hours)
    row = pa.record_batch([_in_one_row(column) for column in columns], list(_COLUMNS))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, row.schema.with_metadata({_NOTE: json.dumps(note).encode()})) as writer:
        writer.write_batch(row)
    content = sink.getvalue()
    with atomic.replacing(path) as part, part.open("wb") as file:
        file.write(hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest())
        file.write(content)


def read(path: Path) -> Kept | None:
    """What is kept, its columns where they lie in the file; None where nothing is that can be used."""
    try:
        with pa.memory_map(str(path)) as file:
            whole = file.read_buffer()
        content = whole.slice(_DIGEST_BYTES)
        if hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest() != whole[:_DIGEST_BYTES].to_pybytes():
            raise ValueError("its digest is another one")
        return _read(pa.ipc.open_file(content))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError, pa.ArrowException) as error:
        logger.warning("%s is of no use (%s): everybody is counted anew", path, error)
        return None


@contextmanager
def turn(path: Path, *, wait: bool) -> Iterator[bool]:
    """Whether this process alone may count for a file, in the block; who need not `wait` is told no where another does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _read(file: Any) -> Kept:
    note = json.loads(file.schema.metadata[_NOTE])
    if note["version"] != VERSION:
        raise ValueError("it is another version's")
    row = file.get_batch(0)
    names, places, pairs, weights, hours = (row.column(name).values for name in _COLUMNS)
    numbers = {name: number for number, name in enumerate(places.to_pylist())}
    sales = Sales(names, numbers, pairs.to_numpy(), weights.to_numpy())
    contacts = {(channel, kind): n for channel, kind, n in note["contacts"]}
    stamp = note["basis"].pop("timeline")
    return Kept(
        Basis(**note["basis"], timeline=None if stamp is None else tuple(stamp)),
        Counts(note["origin_s"], note["newest_s"], sales, contacts),
        None if note["churn"] is None else ChurnRate(**note["churn"]),
        hours.to_numpy(),
    )


def _in_one_row(column: Any) -> pa.ListArray:
    values = column if isinstance(column, pa.Array) else pa.array(column)
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)
