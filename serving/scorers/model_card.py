"""Which registered version answers, and what it was made from."""

from dataclasses import dataclass

from features.vocabulary import Task


@dataclass(frozen=True)
class ModelCard:
    """Which version this is and what it was made from."""

    task: Task
    version: str
    feature_service: str
    run_id: str = ""
    trained_at: str = ""
