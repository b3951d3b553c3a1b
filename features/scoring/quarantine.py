"""Versions that must not serve: one small file each under OMNI_HOME/quarantine, for all workers of a home; read and written.

An entry is of one version with one content: it ends with the content, and with `omni promote`.
"""

import json
import logging
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from features import atomic
from features.vocabulary import Task

logger = logging.getLogger(__name__)

AGAIN_AFTER: Final = timedelta(minutes=10)
"""After which a version is tried again whose trial was cut short: by time, by memory, by somebody."""


@dataclass(frozen=True)
class Quarantined:
    """A version that failed, why, and when. `digest` is of the files that failed; empty where there was nothing to read."""

    task: str
    version: str
    run_id: str
    digest: str
    reason: str
    at: str
    uncertain: bool = False
    """Whether the trial was cut short, so that the version may be a good one."""

    def holds(self, now: datetime) -> bool:
        """Whether it still counts."""
        return not self.uncertain or now - datetime.fromisoformat(self.at) < AGAIN_AFTER

    def __str__(self) -> str:
        return f"{self.reason} It is in quarantine since {self.at}."


class Quarantine:
    """The entries of a home."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "quarantine"

    def entry(self, task: Task, version: str, run_id: str) -> Quarantined | None:
        """What is held against a version, or None. The run tells versions of the same number apart in a registry made anew."""
        entry = _read(self._file(task, version))
        return entry if entry is not None and entry.run_id == run_id else None

    def entries(self) -> list[Quarantined]:
        """Everything that is held against any version."""
        found = [_read(path) for path in sorted(self._folder.glob("*.json"))]
        return [entry for entry in found if entry is not None]

    def add(self, entry: Quarantined) -> None:
        """Hold something against a version, for everybody. Raises OSError where the home cannot be written to."""
        atomic.write_text(self._file(Task(entry.task), entry.version), json.dumps(asdict(entry), indent=1))

    def lift(self, task: Task, version: str) -> None:
        """Hold nothing against a version any more."""
        self._file(task, version).unlink(missing_ok=True)

    def _file(self, task: Task, version: str) -> Path:
        return self._folder / f"{task.value}-{int(version)}.json"


def _read(path: Path) -> Quarantined | None:
    try:
        entry = Quarantined(**json.loads(path.read_text(encoding="utf-8")))
        datetime.fromisoformat(entry.at)
        return entry
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:  # then the version is tried again, no worse
        logger.warning("%s cannot be read and counts for nothing (%s)", path, error)
        return None
