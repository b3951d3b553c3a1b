"""Copies of models that passed their trial, under OMNI_HOME/models: what the service answers from, and falls back to.

A copy is its files, the digests of these, and the card of the version; it is looked at anew before every use. Examples of
inputs, which MLflow keeps with a model and nobody here reads, are left out: they are customers' signals.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from features import atomic
from features.errors import ModelError
from features.scoring.model_digests import (
    DIGESTS_FILE,
    Digests,
    differing_file,
    digest_files,
    model_files,
    of_plain,
    plain_digests,
)
from features.scoring.passed import tried_with
from features.vocabulary import Task
from serving.scorers.model_card import ModelCard

logger = logging.getLogger(__name__)

KEPT: Final = 3
"""Copies of a task that stay, the newest."""
_NOTE: Final = "kept.json"
_LAST_GOOD: Final = "last_good.json"
_FILES: Final = "files"
_LEFT_OUT: Final = frozenset(
    {DIGESTS_FILE, "input_example.json", "serving_input_example.json", "registered_model_meta"}
)


@dataclass(frozen=True)
class KeptModel:
    """A copy: where its files are, and what they were when it was made."""

    card: ModelCard
    folder: Path
    digests: Digests
    tried_with: str

    def files(self) -> Path:
        """The folder of its files. Raises ModelError where they are not as they were."""
        where = f"The copy of {self.card.task.value} version {self.card.version}"
        difference = differing_file(digest_files(self.folder, where), self.digests)
        if difference:
            raise ModelError(f"{where} is damaged: {difference}.")
        return self.folder


class KeptModels:
    """The copies of a home."""

    def __init__(self, home: Path) -> None:
        self._home = home / "models"

    def only_one_tries(self, task: Task) -> AbstractContextManager[None]:
        """Keeps the other workers of the home waiting, so that a version is tried once. Raises OSError on a full disk."""
        return atomic.locked(self._home / task.value / "trial")

    def copy_of(self, card: ModelCard) -> KeptModel | None:
        """The copy of exactly this version, tried with what reads it now; None where there is none."""
        kept = self._read(self._place(card))
        return kept if kept is not None and kept.card == card and kept.tried_with == tried_with() else None

    def last_good(self, task: Task) -> Iterator[KeptModel]:
        """The copies to fall back to: the champion that answered last, then the others, newest first."""
        last = self._last_good_version(task)
        places = [path.parent for path in (self._home / task.value).glob(f"*/{_NOTE}")]
        newest_first = sorted(places, key=lambda place: _written_at(place / _NOTE), reverse=True)
        for place in sorted(newest_first, key=lambda place: place.name != last):
            kept = self._read(place)
            if kept is not None and kept.card.task is task and kept.tried_with == tried_with():
                yield kept

    def keep(self, card: ModelCard, folder: Path) -> KeptModel:
        """Copy a model that passed its trial; what is there of the same version is replaced. Raises OSError on a full disk."""
        place = self._place(card)
        part = atomic.part_of(place)
        try:
            for name, path in model_files(folder, card.name).items():
                if name not in _LEFT_OUT:
                    copy = part / _FILES / name
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, copy)
            digests = digest_files(part / _FILES, card.name)
            note = {"card": asdict(card), "files": plain_digests(digests), "tried_with": tried_with()}
            (part / _NOTE).write_text(json.dumps(note, indent=1), encoding="utf-8")
            if place.exists():
                shutil.rmtree(place)
            part.rename(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return KeptModel(card, place / _FILES, digests, tried_with())

    def discard(self, kept: KeptModel) -> None:
        """Take a copy away."""
        shutil.rmtree(kept.folder.parent, ignore_errors=True)

    def note_champion(self, card: ModelCard) -> None:
        """Remember that a version answers as champion, and let go of the oldest copies."""
        if self._last_good_version(card.task) != card.version:
            atomic.write_text(self._home / card.task.value / _LAST_GOOD, json.dumps({"version": card.version}))
        for kept in list(self.last_good(card.task))[KEPT:]:
            self.discard(kept)

    def _last_good_version(self, task: Task) -> str:
        try:
            plain = json.loads((self._home / task.value / _LAST_GOOD).read_text(encoding="utf-8"))
            return str(plain["version"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

    def _place(self, card: ModelCard) -> Path:
        return self._home / card.task.value / str(int(card.version))

    def _read(self, place: Path) -> KeptModel | None:
        try:
            note: dict[str, Any] = json.loads((place / _NOTE).read_text(encoding="utf-8"))
            card = _card(note["card"])
            return KeptModel(card, place / _FILES, of_plain(note["files"]), str(note["tried_with"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            logger.warning(
                "The copy of a model at %s has no note that can be read, and counts for nothing (%s)", place, error
            )
            return None


def _card(plain: Mapping[str, Any]) -> ModelCard:
    return ModelCard(**{**plain, "task": Task(plain["task"])})


def _written_at(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_mtime_ns
    return 0
