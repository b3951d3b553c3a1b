"""Every task, one after the other: settings in; what became of each out, and one that fails stops none of the others.

What the log cannot feed yet is told with what it lacks. Whether that is a failure, `OMNI_TASKS` says: a task that the shop
needs has to be there, another one may be lacking.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from features.errors import InputError, MissingError, OmniError
from features.meter import release_memory
from features.settings import Settings
from features.vocabulary import Task
from training import registry, tracking
from training.evaluation.tables import HEADLINES
from training.pipeline import TrainReport

logger = logging.getLogger(__name__)

DEFECT: Final = 1
"""Exit code where a task ended with an error that nobody expected."""
TO_MEND: Final = 2
"""Exit code where a task that the shop needs was refused or is not there."""


@dataclass(frozen=True)
class TaskOutcome:
    """What became of one task: `champion`, `challenger`, `promoted`, `refused`, `lacking`, `failed`, or `nothing` to do."""

    task: Task
    outcome: str
    version: int | None = None
    figure: str = ""
    """The first headline figure, for a person."""
    reason: str = ""
    """Why it is no champion, or was not trained, and what to do."""
    needed: bool = True
    """Whether OMNI_TASKS names it."""
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """What this outcome asks the command to end with."""
        if self.outcome == "failed":
            return DEFECT
        return TO_MEND if self.needed and self.outcome in ("refused", "lacking") else 0


@dataclass(frozen=True)
class AllTasks:
    """What became of every task."""

    tasks: tuple[TaskOutcome, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """0; 1 where there was a defect; 2 where something is to be mended for a task that the shop needs."""
        codes = {outcome.exit_code for outcome in self.tasks}
        return DEFECT if DEFECT in codes else max(codes, default=0)

    def __rich__(self) -> Any:
        """A line per task, then the reasons."""
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("task", "outcome", "version", "figure", "seconds"):
            table.add_column(name, justify="right" if name == "seconds" else "left")
        for each in self.tasks:
            version = "" if each.version is None else str(each.version)
            table.add_row(each.task.value, each.outcome, version, each.figure, f"{each.seconds:.1f}")
        reasons = [escape(f"{each.task.value}: {each.reason}") for each in self.tasks if each.reason]
        return Group(table, "", *reasons) if reasons else table


def train_all(settings: Settings, train_one: Callable[[Task], TrainReport]) -> AllTasks:
    """Have `train_one` train every task; see `TaskOutcome` for what is answered."""

    def attempt(task: Task) -> TaskOutcome:
        report = train_one(task)
        outcome = "champion" if report.champion else "challenger"
        reason = "" if report.champion else " ".join(report.gates)
        return TaskOutcome(task, outcome, report.version, _figure(report), reason)

    return _each(settings, attempt)


def promote_all(settings: Settings, *, force: bool = False) -> AllTasks:
    """Have every task's challenger promoted by its gates; a task without a challenger stays as it is."""

    def attempt(task: Task) -> TaskOutcome:
        if tracking.by_alias(settings, task, tracking.CHALLENGER) is None:
            champion = tracking.by_alias(settings, task, tracking.CHAMPION)
            reason = f"There is no challenger. Run: omni train {task.value}"
            return TaskOutcome(task, "nothing", None if champion is None else champion.version, reason=reason)
        promotion = registry.promote(task, settings, force=force)
        return TaskOutcome(task, "promoted", promotion.version, reason="; ".join(promotion.reasons))

    return _each(settings, attempt)


def _each(settings: Settings, attempt: Callable[[Task], TaskOutcome]) -> AllTasks:
    started = time.perf_counter()
    return AllTasks(tuple(_outcomes(settings, attempt)), round(time.perf_counter() - started, 1))


def _outcomes(settings: Settings, attempt: Callable[[Task], TaskOutcome]) -> Iterator[TaskOutcome]:
    for task in Task:
        started = time.perf_counter()
        try:
            outcome = attempt(task)
        except (InputError, MissingError) as error:
            outcome = TaskOutcome(task, "lacking", reason=str(error))
        except OmniError as error:  # the gates' refusal, a damaged store
            outcome = TaskOutcome(task, "refused", reason=str(error))
        except Exception:  # a defect of one task, or of a library under it, takes the others nothing away
            logger.exception("%s failed", task.value)
            outcome = TaskOutcome(task, "failed", reason="A defect: its traceback is above.")
        release_memory()
        yield replace(outcome, needed=task in settings.tasks, seconds=round(time.perf_counter() - started, 1))


def _figure(report: TrainReport) -> str:
    name = next((name for name in HEADLINES[report.task] if name in report.metrics), None)
    return "" if name is None else f"{name} {report.metrics[name].value:.4f}"
