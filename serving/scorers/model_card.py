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
    files_digest: str = ""
    """The SHA-256 of its files together, as training recorded it; empty for versions from before that."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"Model {self.task.value} version {self.version}"
