"""The backups made of a home: a backup in, the list of all in OMNI_HOME/backups.json out, so that an erasure can name them."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from features import atomic
from features.backup.manifest import NAME
from features.errors import StoreError
from features.moments import utc
from features.settings import Settings

FILE: Final = "backups.json"


@dataclass(frozen=True)
class KnownBackup:
    """A copy of the log outside it. It may hold whoever was in the log at `created_at`, whatever was erased since."""

    place: str
    created_at: datetime
    log_id: str
    last_seq: int
    """The newest event in it."""
    kind: str = "backup"
    """"replaced" for what a restore has put aside."""

    @property
    def is_there(self) -> bool:
        """Whether it still lies there, as far as this machine can see; of a database's schema that is taken to be so."""
        if "://" in self.place:
            return True
        return (Path(self.place) / NAME).exists() if self.kind == "backup" else Path(self.place).exists()


def known_backups(settings: Settings) -> list[KnownBackup]:
    """Every backup made of this home or restored into it, and what restores put aside, oldest first.

    Raises StoreError where the list cannot be read.
    """
    path = settings.home / FILE
    if not path.exists():
        return []
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
        backups = [KnownBackup(**{**item, "created_at": utc(item["created_at"])}) for item in items]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"The list of backups {path} cannot be read ({type(error).__name__}).",
            repair="Move it away; backups that are made from then on are listed again.",
        ) from error
    return sorted(backups, key=lambda backup: (backup.created_at, backup.last_seq))


def remember(settings: Settings, backup: KnownBackup) -> None:
    """Put a backup on the list, in place of an earlier one at the same place."""
    path = settings.home / FILE
    with atomic.locked(path):
        others = [other for other in known_backups(settings) if other.place != backup.place]
        rows = [{**asdict(one), "created_at": one.created_at.isoformat()} for one in (*others, backup)]
        atomic.write_text(path, json.dumps(rows, indent=2))
