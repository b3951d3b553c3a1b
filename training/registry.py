"""The model registry's aliases: promote a version through the gates or roll back; who serves, and who served before."""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import pandas as pd

from features.errors import MissingError, ModelError, OmniError
from features.fingerprint import FEATURE_CODE_TAG, feature_code
from features.moments import utc
from features.scoring.mlflow_home import HISTORY_TAG
from features.scoring.quarantine import Quarantine
from features.settings import Settings
from features.vocabulary import Task
from training import tracking
from training.gates import PolicyGain, Verdict, judge_against, judge_first, load_gates
from training.tracking import CHALLENGER, CHAMPION, CONFIG_FILE, EVALUATION_FILE, ModelVersion

logger = logging.getLogger(__name__)

POLICY_FILE = "policy_gain.json"
"""Where a challenger's run keeps how its policy compares with the champion's: a PolicyGain."""


class GateError(OmniError):
    """A promotion that the gates refuse; the message holds the numbers."""


ALREADY: Final = "it is the champion already; the next training makes a challenger"


@dataclass(frozen=True)
class Promotion:
    """What changed: the new champion, the one before (None at first), and the gates' figures."""

    task: Task
    version: int
    previous: int | None
    forced: bool
    reasons: tuple[str, ...]


def rescored_file(champion_version: int) -> str:
    """Where a challenger's run keeps that champion's scores on the challenger's own test rows."""
    return f"champion_v{champion_version}_evaluation.parquet"


def promote(task: Task, settings: Settings, *, version: int | None = None, force: bool = False) -> Promotion:
    """Make the challenger (or the version named) the champion, if the gates of mlflow/gates.toml let it.

    Without a challenger the champion stays: a training whose first version passed has promoted it already. With `force` a
    refusal is overruled and recorded on the version; never that of a model which cannot be loaded and asked. Raises
    MissingError when there is nothing to promote and GateError, with the numbers, when refused.
    """
    champion = tracking.by_alias(settings, task, CHAMPION)
    if version is None and champion is not None and tracking.by_alias(settings, task, CHALLENGER) is None:
        _lift_if_good(champion, settings)
        return Promotion(task, champion.version, champion.version, False, (ALREADY,))
    challenger = _candidate(task, settings, version)
    if champion is not None and champion.version == challenger.version:
        _lift_if_good(champion, settings)
        raise GateError(f"Version {challenger.version} of {task.value} is the champion already.")
    verdict = judge(challenger, champion, settings)
    if not verdict.passed and not force:
        raise GateError(
            f"Version {challenger.version} of {task.value} is not promoted: {verdict}.",
            repair=f"Train a better one, or one on newer data, or overrule with: omni promote {task.value} --force",
        )
    _need_good(challenger, settings)
    forced = force and not verdict.passed
    tracking.tag_version(
        settings,
        challenger,
        {
            "promoted_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "gates": str(verdict)[:4000],
            "forced": str(forced).lower(),
        },
    )
    tracking.move_alias(settings, task, CHAMPION, challenger.version)
    if CHALLENGER in challenger.aliases:
        tracking.drop_alias(settings, task, CHALLENGER)
    _write_history(task, settings, [*_history(task, settings), challenger.version])
    previous = champion.version if champion else None
    return Promotion(task, challenger.version, previous, forced, verdict.reasons)


def rollback(task: Task, settings: Settings) -> Promotion:
    """Give the alias `champion` back to the version that had it before. Raises MissingError where there is none."""
    history = _history(task, settings)
    if len(history) < 2:
        raise MissingError(f"{task.value} has no earlier champion.", repair="See the versions with: omni models")
    *earlier, previous, current = history
    tracking.move_alias(settings, task, CHAMPION, previous)
    _write_history(task, settings, [*earlier, previous])
    return Promotion(task, previous, current, False, (f"rolled back from version {current}",))


def judge(challenger: ModelVersion, champion: ModelVersion | None, settings: Settings) -> Verdict:
    """The gates' verdict on a challenger, without changing anything."""
    gates = load_gates(challenger.task)
    found = tracking.run_metrics(settings, challenger.run_id)
    compared = tracking.run_json(settings, challenger.run_id, POLICY_FILE)
    policy = None if compared is None else PolicyGain(**compared)
    if champion is None:
        return judge_first(gates, found, policy)
    kinds = [_kind(version, settings) for version in (challenger, champion)]
    if kinds[0] != kinds[1]:
        return Verdict(
            False,
            (f"it answers another question than the champion (kind {kinds[0]}, not {kinds[1]}): no figure compares",),
        )
    ours = tracking.run_table(settings, challenger.run_id, EVALUATION_FILE)
    theirs = _champion_scores(challenger, champion, settings)
    if ours is None or theirs is None:
        return Verdict(False, ("no test rows were kept to compare the two in pairs",))
    newer = _knows_newer_data(challenger, champion)
    other = _other_features(challenger, champion)
    return judge_against(gates, found, ours, theirs, policy, champion.version, newer, other)


def _need_good(version: ModelVersion, settings: Settings) -> None:
    """Have the version loaded and asked as the service would; what was held against it before is lifted."""
    try:
        tracking.tried_model(settings, version)
    except ModelError as error:
        raise GateError(
            f"Version {version.version} of {version.task.value} is not promoted: {error.message}",
            repair=f"Train it again: omni train {version.task.value}",
        ) from error
    Quarantine(settings.home).lift(version.task, str(version.version))


def _lift_if_good(champion: ModelVersion, settings: Settings) -> None:
    """Try a champion again that is in quarantine. Raises GateError where it is there with reason."""
    if Quarantine(settings.home).entry(champion.task, str(champion.version), champion.run_id) is not None:
        _need_good(champion, settings)


def _kind(version: ModelVersion, settings: Settings) -> str:
    """Which of a task's questions a version answers: `kind` of churn's config, which those before contracts lack."""
    return str((tracking.run_json(settings, version.run_id, CONFIG_FILE) or {}).get("kind", "non-contractual"))


def _knows_newer_data(challenger: ModelVersion, champion: ModelVersion) -> bool:
    ends = [version.tags.get("as_of_end") for version in (champion, challenger)]
    if not all(ends):
        return False
    before, now = (utc(str(end)) for end in ends)
    return before < now


def _other_features(challenger: ModelVersion, champion: ModelVersion) -> bool:
    """Whether the challenger learned from signals that today's code makes, and the champion from another code's."""
    ours, theirs = challenger.tags.get(FEATURE_CODE_TAG), champion.tags.get(FEATURE_CODE_TAG)
    return ours == feature_code() and theirs is not None and theirs != ours


def _champion_scores(challenger: ModelVersion, champion: ModelVersion, settings: Settings) -> pd.DataFrame | None:
    rescored = tracking.run_table(settings, challenger.run_id, rescored_file(champion.version))
    return rescored if rescored is not None else tracking.run_table(settings, champion.run_id, EVALUATION_FILE)


def _candidate(task: Task, settings: Settings, version: int | None) -> ModelVersion:
    if version is None:
        found = tracking.by_alias(settings, task, CHALLENGER)
    else:
        found = next((v for v in tracking.versions(settings, task) if v.version == version), None)
    if found is None:
        what = "challenger" if version is None else f"version {version}"
        raise MissingError(f"{task.value} has no {what}.", repair=f"Run: omni train {task.value}")
    return found


def _history(task: Task, settings: Settings) -> list[int]:
    return [int(version) for version in json.loads(tracking.read_task_tag(settings, task, HISTORY_TAG) or "[]")]


def _write_history(task: Task, settings: Settings, history: list[int]) -> None:
    tracking.write_task_tag(settings, task, HISTORY_TAG, json.dumps(history))
