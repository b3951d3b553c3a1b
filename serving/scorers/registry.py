"""The MLflow registry in, the champions' scorers out; asked again and again, loaded only when a version is new.

Where a champion must not answer, or the registry does not, the last good version does.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Final

from features.errors import InputError, OmniError, StoreError
from features.log.receipt import LearntModel
from features.scoring.mlflow_home import follow_home, has_registry, look_at_tracking, mlflow_at
from features.scoring.model_digests import DIGEST_TAG, local_folder, need_plain_files
from features.scoring.model_files import read_metadata
from features.settings import Settings
from features.views import feature_service_name
from features.vocabulary import Task
from serving.scorers.best_channel import ChannelScorer
from serving.scorers.bundle import Bundle, Scorer, load_scorer
from serving.scorers.churn import ChurnScorer
from serving.scorers.model_card import ModelCard
from serving.scorers.next_product import ProductScorer
from serving.scorers.registered import Version, open_registry
from serving.scorers.vetting import Download, Vetting
from serving.scorers.win_back import WinBackScorer

logger = logging.getLogger(__name__)

Found = tuple[ModelCard, Download]
Fetch = Callable[[Task], Found | None]
"""A task to its champion's card and a function that brings its files into a folder; None where there is no champion."""
FallBack = Callable[[Task], Iterable[Found]]
"""A task to the versions that may answer where its champion must not, best first."""
_EARLIER: Final = 3
"""How many earlier champions are tried."""
_SHORT_WAITS: Final = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""MLflow's own are minutes, in which a service that starts would answer nothing; it asks again by itself."""

_WAIT_S: Final = 2.0
"""How long one look waits for a registry that another process holds: every task is looked up, and again soon."""


def next_bundle(current: Bundle, fetch: Fetch, fall_back: FallBack = lambda _: ()) -> Bundle:
    """The champions of this moment: what is loaded already is kept, what is new is loaded.

    A champion that cannot be loaded leaves the one before it in place, and its problem is told; where nothing is loaded
    yet, the first of `fall_back` that can be.
    """
    scorers: dict[Task, Scorer | None] = {
        Task.CHURN: current.churn,
        Task.BEST_CHANNEL: current.channel,
        Task.NEXT_PRODUCT: current.product,
        Task.WIN_BACK: current.win_back,
    }
    problems: dict[Task, str] = {}
    changed = False
    for task in Task:
        try:
            found = fetch(task)
            if found is None:
                changed |= scorers[task] is not None
                scorers[task] = None
                continue
            card, download = found
            if card == current.card(task):
                continue
            scorers[task] = _load(card, download)
            changed = True
            logger.info("%s version %s answers now", task.value, card.version)
        except OmniError as error:
            problems[task] = str(error)
        except Exception as error:  # one model must not take the others with it; it is logged and told
            logger.debug("Looking up the champion failed", exc_info=error)
            problems[task] = f"The champion of {task.value} cannot be looked up ({type(error).__name__}: {error})."
    for task, problem in problems.items():
        if scorers[task] is None:
            scorers[task] = _first_good(fall_back(task))
            changed |= scorers[task] is not None
        answering = scorers[task]
        if answering is not None:
            problems[task] = f"{problem} Version {answering.card.version} answers."
    if not changed and problems == dict(current.problems):
        return current
    for task, problem in problems.items():
        if problem != current.problems.get(task):  # it is tried again every few seconds, and told once
            logger.error("%s", problem)
    churn, channel, product = (scorers[task] for task in (Task.CHURN, Task.BEST_CHANNEL, Task.NEXT_PRODUCT))
    win_back = scorers[Task.WIN_BACK]
    assert churn is None or isinstance(churn, ChurnScorer)
    assert channel is None or isinstance(channel, ChannelScorer)
    assert product is None or isinstance(product, ProductScorer)
    assert win_back is None or isinstance(win_back, WinBackScorer)
    return Bundle(churn, channel, product, problems, win_back)


def mlflow_fetch(settings: Settings, vetting: Vetting | None = None) -> Fetch:
    """Look champions up in the registry at `settings.mlflow_tracking_uri`.

    Their files come through `vetting`, by default the home's own. A registry that training has not made yet is not made
    here: it has no champions. One that is gone is a problem.
    """
    guard = vetting or Vetting(settings.home)

    @cache
    def follow() -> None:
        follow_home(settings)

    def fetch(task: Task) -> Found | None:
        if not has_registry(settings):
            if next(iter(guard.last_good(task)), None) is None:
                return None
            raise StoreError("The model registry is gone.", repair="Bring it back, or train anew.")
        for name, value in _SHORT_WAITS.items():
            os.environ.setdefault(name, value)
        look_at_tracking(settings, _WAIT_S)
        follow()
        version = open_registry(settings, _WAIT_S).champion(task)
        return None if version is None else _guarded(guard, *_found(task, version, settings))

    return fetch


def mlflow_fall_back(settings: Settings, vetting: Vetting) -> FallBack:
    """The last good copies of a home, and then the earlier champions of its registry, which are tried first as any other."""

    def fall_back(task: Task) -> Iterator[Found]:
        yield from vetting.last_good(task)
        if has_registry(settings):
            with suppress(Exception):  # what is wrong with the registry is told already
                for card, download in _earlier_champions(task, settings):
                    yield card, partial(vetting.files, card, download)

    return fall_back


def load_version(settings: Settings, vetting: Vetting, task: Task, number: int) -> Scorer:
    """What answers by one version of a task, champion or not; its files come through `vetting`.

    Raises InputError where the registry has no such version, ModelError for one that must not serve.
    """
    look_at_tracking(settings, _WAIT_S)
    version = open_registry(settings, _WAIT_S).version(task, number) if has_registry(settings) else None
    if version is None:
        raise InputError(f"There is no version {number} of {task.value}.", repair="See omni models.")
    card, download = _found(task, version, settings)
    return _load(card, partial(vetting.files, card, download))


def registered_models(settings: Settings) -> list[LearntModel]:
    """Every version of every task in the registry, with what it was trained on; none where there is no registry yet."""
    if not has_registry(settings):
        return []
    look_at_tracking(settings)
    registry = open_registry(settings)
    return [
        LearntModel(
            task=task.value,
            version=version.number,
            aliases=tuple(sorted(alias for alias, number in aliases.items() if number == version.number)),
            run_id=version.run_id,
            trained_at=version.tags.get("trained_at", ""),
            as_of_end=version.tags.get("as_of_end", ""),
            data_fingerprint=version.tags.get("data_fingerprint", ""),
        )
        for task in sorted(Task, key=lambda task: task.value)
        for aliases in [registry.aliases(task)]
        for version in registry.versions(task)
    ]


def _earlier_champions(task: Task, settings: Settings) -> Iterator[Found]:
    registry = open_registry(settings, _WAIT_S)
    for number in list(dict.fromkeys(reversed(registry.earlier_champions(task))))[:_EARLIER]:
        version = registry.version(task, number)
        if version is not None:
            yield _found(task, version, settings)


def _found(task: Task, version: Version, settings: Settings) -> Found:
    card = ModelCard(
        task=task,
        version=str(version.number),
        feature_service=version.tags.get("feature_service", ""),
        run_id=version.run_id,
        trained_at=version.tags.get("trained_at", ""),
        files_digest=version.tags.get(DIGEST_TAG, ""),
    )

    def download(folder: Path) -> Path:
        place = open_registry(settings, _WAIT_S).place(task, version.number)
        need_plain_files(place, card.name)
        here = local_folder(place)
        if here is not None:
            return shutil.copytree(here, folder, dirs_exist_ok=True)
        mlflow = mlflow_at(settings.mlflow_tracking_uri)
        source = f"models:/{task.value}/{version.number}"
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=str(folder)))

    return card, download


def _guarded(vetting: Vetting, card: ModelCard, download: Download) -> Found:
    def bring(folder: Path) -> Path:
        files = vetting.files(card, download, folder)
        vetting.champion(card)
        return files

    return card, bring


def _first_good(found: Iterable[Found]) -> Scorer | None:
    for card, download in found:
        try:
            scorer = _load(card, download)
        except OmniError as error:  # asked for every few seconds: what is told is what is wrong with the champion
            logger.debug("%s", error)
            continue
        logger.warning("%s version %s answers, instead of the champion", card.task.value, card.version)
        return scorer
    return None


def _load(card: ModelCard, download: Download) -> Scorer:
    known = feature_service_name(card.task)
    if card.feature_service != known:
        raise StoreError(
            f"Model {card.task.value} version {card.version} wants the feature service {card.feature_service!r}; "
            f"this version computes {known!r}.",
            repair=f"Train it again: `omni train {card.task.value}`.",
        )
    with tempfile.TemporaryDirectory(prefix="omni-model-") as folder:
        try:
            files = download(Path(folder))
            return load_scorer(card, read_metadata(files), files)
        except OmniError:
            raise
        except Exception as error:  # each library has its own word for a damaged file, and for one that is not there
            said = str(error).replace(folder, "")
            raise StoreError(
                f"Model {card.task.value} version {card.version} cannot be loaded ({type(error).__name__}: {said}).",
                repair=f"Train it again, or go back to the one before: `omni rollback {card.task.value}`.",
            ) from error
