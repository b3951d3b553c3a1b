"""A champion's card and its download in, the folder of files that may be loaded out; bad ones go into quarantine.

Order: a copy that passed before; else its files, compared with the digests that training recorded before anything parses
them; then the trial in a process of its own, once for all workers of the home. Only then does a worker load it.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from features.errors import ModelError
from features.scoring.model_digests import check_files, digest_files, digest_of
from features.scoring.passed import Passed
from features.scoring.quarantine import Quarantine, Quarantined
from features.scoring.trial import Verdict, try_model
from features.vocabulary import Task
from serving.scorers.kept_models import KeptModel, KeptModels
from serving.scorers.model_card import ModelCard

logger = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 60.0
"""How often the files of a version in quarantine are looked at: whether they are others by now."""

Download = Callable[[Path], Path]
"""Brings a version's files into a folder, and answers where they are."""
Trial = Callable[[Task, str, Path], Verdict]


class Vetting:
    """What stands between the registry and the workers of a home."""

    def __init__(self, home: Path, trial: Trial = try_model, look_again_s: float = LOOK_AGAIN_S) -> None:
        self.kept = KeptModels(home)
        self.quarantine = Quarantine(home)
        self._passed = Passed(home)
        self._trial = trial
        self._look_again_s = look_again_s
        self._looked_at_s: dict[ModelCard, float] = {}

    def files(self, card: ModelCard, download: Download, folder: Path) -> Path:
        """The files of a version, downloaded into `folder` where no copy is kept.

        Raises ModelError, with the reason, for a version that must not serve.
        """
        ready = self._copy(card)
        if ready is not None:
            return ready
        self._need_time_to_look(card)
        with self._alone(card.task):
            ready = self._copy(card)  # another worker was quicker
            if ready is not None:
                return ready
            self._need_time_to_look(card)
            return self._vetted(card, download, folder)

    def champion(self, card: ModelCard) -> None:
        """Remember that a version answers as champion: it is the first to fall back to."""
        try:
            self.kept.note_champion(card)
        except OSError as error:
            logger.warning("Which %s model answered last cannot be noted (%s)", card.task.value, error)

    def last_good(self, task: Task) -> Iterator[tuple[ModelCard, Download]]:
        """What may answer where the champion must not, best first."""
        for kept in self.kept.last_good(task):
            entry = self.quarantine.entry(task, kept.card.version, kept.card.run_id)
            if entry is None:
                yield kept.card, _from_copy(kept)

    def _copy(self, card: ModelCard) -> Path | None:
        kept = self.kept.copy_of(card)
        if kept is None:
            return None
        try:
            return kept.files()
        except (ModelError, OSError) as error:
            logger.warning("%s It is brought anew", error)
            self.kept.discard(kept)
            return None

    def _need_time_to_look(self, card: ModelCard) -> None:
        entry = self._held_against(card)
        if entry is None:
            return
        looked_at_s, now_s = self._looked_at_s.get(card), time.monotonic()
        if looked_at_s is None or now_s - looked_at_s < self._look_again_s:
            self._looked_at_s.setdefault(card, now_s)
            raise ModelError(f"{card.name} is not loaded. {entry}")

    def _vetted(self, card: ModelCard, download: Download, folder: Path) -> Path:
        files = download(folder)
        entry, digest = self._held_against(card), ""
        self._looked_at_s[card] = time.monotonic()
        try:
            digest = digest_of(digest_files(files, card.name))
            if entry is not None and entry.digest == digest:
                raise ModelError(f"{card.name} is not loaded. {entry}")
            check_files(files, card.files_digest, card.name)
        except ModelError as error:
            if entry is None or entry.digest != digest:
                self._hold(card, digest, Verdict(str(error)))
            raise
        if not self._passed.knows(card.task, digest):
            verdict = self._trial(card.task, card.version, files)
            if verdict.reason:
                self._hold(card, digest, verdict)
                raise ModelError(f"{card.name} is not loaded: {verdict.reason}", repair=_repair(card))
        self._note_passed(card, digest)
        try:
            return self.kept.keep(card, files).files()
        except OSError as error:  # what is good answers all the same
            logger.warning("No copy of %s can be kept (%s)", card.name, error)
            return files

    def _held_against(self, card: ModelCard) -> Quarantined | None:
        entry = self.quarantine.entry(card.task, card.version, card.run_id)
        return entry if entry is not None and entry.holds(datetime.now(UTC)) else None

    def _hold(self, card: ModelCard, digest: str, verdict: Verdict) -> None:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        entry = Quarantined(
            card.task.value, card.version, card.run_id, digest, verdict.reason, at, uncertain=verdict.uncertain
        )
        try:
            self.quarantine.add(entry)
        except OSError as error:
            logger.warning("%s cannot be put into quarantine, and is tried again and again (%s)", card.name, error)

    def _note_passed(self, card: ModelCard, digest: str) -> None:
        try:
            self._passed.note(card.task, digest)
            self.quarantine.lift(card.task, card.version)
        except OSError as error:
            logger.warning("That %s passed cannot be noted (%s)", card.name, error)

    @contextmanager
    def _alone(self, task: Task) -> Iterator[None]:
        """Alone among the workers, where the home can be written to; else each for itself."""
        with ExitStack() as stack:
            try:
                stack.enter_context(self.kept.only_one_tries(task))
            except OSError as error:
                logger.warning("Every worker tries %s for itself (%s)", task.value, error)
            yield


def _from_copy(kept: KeptModel) -> Download:
    return lambda _: kept.files()


def _repair(card: ModelCard) -> str:
    return f"Train it again, or go back to the one before: omni rollback {card.task.value}"
