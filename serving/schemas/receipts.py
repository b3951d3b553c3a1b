"""What is answered about the service's own doings: events kept, customers erased, models in use, errors."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from features.log.receipt import LearntModel, Place
from serving.schemas.base import described


class RejectedEvent(BaseModel):
    """Why one event of a batch was not kept."""

    index: int = Field(description="Its place in the batch, from 0.")
    field: str
    reason: str
    event_id: str | None = None


class ConflictingEvent(BaseModel):
    """An event that was ignored, though the log holds another one with its id."""

    event_id: str
    fields: list[str] = Field(description="What differs from the event in the log, which stays.")


class InfoAnswer(BaseModel):
    """What answers here."""

    name: Literal["omni"] = "omni"
    version: str = Field(description="Of the whole project.")
    contract: str = Field(description="Of the calls under /v1.")
    access: Literal["open", "keys"] = Field(description="Whether who asks this way needs a key.")


class EventsAnswer(BaseModel):
    """What became of a batch: good events are kept and durable, bad ones are answered one by one."""

    model_config = described(
        {
            "accepted": 1,
            "duplicates": 0,
            "conflicts": 0,
            "conflicting": [],
            "rejected": [],
            "erased": 0,
            "last_seq": 1469308,
        }
    )

    accepted: int = Field(description="New events, durable in the log.")
    duplicates: int = Field(description="Events whose event_id the log already holds; ignored.")
    conflicts: int = Field(
        0, description="Of the duplicates: not the same event again, but another one with its id. The first one stays."
    )
    conflicting: list[ConflictingEvent] = Field([], description="The first 100 of those.")
    rejected: list[RejectedEvent]
    erased: int = Field(0, description="Events of customers who were erased since they happened; not kept.")
    last_seq: int = Field(description="Place of the newest event in the log.")


class WebhookAnswer(EventsAnswer):
    """What became of records of another tool: as of events, and what of them was none of ours."""

    skipped_by_word: dict[str, int] = Field(
        {}, description="Records that are no events of ours, by the tool's own word."
    )
    notices: list[str] = Field([], description="What somebody has to do before the tool sends anything.")


class ErasureAnswer(BaseModel):
    """What an erasure did so far, without personal data. Asking again gives the newest state of the same receipt."""

    model_config = described(
        {
            "receipt_id": "20240301T120300-5f0c9a1e",
            "customer": "9b0e6a4f4bd1c3a79c2f3f1b8a6de014",
            "erased_at": "2024-03-01T12:03:00Z",
            "removed": {"log: events": 612, "log: identifiers": 2, "online store: rows": 2},
            "absent": {"online store: rows": "2024-03-01T12:03:00Z"},
            "pending": ["files", "models"],
            "models": [],
            "places": [],
            "completed_at": None,
            "notes": [],
        }
    )

    receipt_id: str
    customer: str = Field(description="Keyed hash of the customer's id.")
    erased_at: datetime
    removed: dict[str, int] = Field(description="Rows taken out, by place.")
    absent: dict[str, datetime] = Field(
        default={}, description="Places that were read again after that, and when they held nothing of the customer."
    )
    pending: list[str] = Field(
        description="Steps still to be done; they go on in the background, and `omni erase --finish` does them too."
    )
    models: list[LearntModel] = Field(description="Models that learnt from the customer; train them again.")
    places: list[Place] = Field(
        default=[],
        description="What each place held when it was read again at the end: empty, left, expires, nameless, unverified"
        " or yours (to delete). Nothing before that.",
    )
    completed_at: datetime | None = Field(
        None, description="When the receipt was written; null while steps are pending."
    )
    notes: list[str]


class ModelInfo(BaseModel):
    """One model that answers now, or what to do so that it will."""

    task: str
    ready: bool
    version: str | None = None
    alias: str = "champion"
    feature_service: str | None = None
    trained_at: str | None = None
    run_id: str | None = None
    problem: str | None = None


class RulesInfo(BaseModel):
    """The rules in force, the same for every worker of a home."""

    version: str = Field(description="Digest of the rules; answers and decisions that followed them carry it.")
    since: datetime | None = None
    problem: str | None = Field(None, description="What is wrong with the file that should have replaced them.")


class ModelsAnswer(BaseModel):
    """The models in use, and the rules."""

    model_config = described(
        {
            "models": [
                {
                    "task": "churn",
                    "ready": True,
                    "version": "2",
                    "alias": "champion",
                    "feature_service": "churn_v2",
                    "trained_at": "2018-01-01T00:00:00Z",
                    "run_id": "4be1…",
                    "problem": None,
                }
            ],
            "rules": {"version": "5f0c8a3b1e9d", "since": "2018-01-01T00:00:00Z", "problem": None},
        }
    )

    models: list[ModelInfo]
    rules: RulesInfo | None = None


class Problem(BaseModel):
    """What went wrong, for a program (`code`) and for a person (`message`)."""

    code: str
    message: str
    details: list[dict[str, Any]] = []


class ErrorAnswer(BaseModel):
    """Every error, whatever its status."""

    model_config = described(
        {
            "error": {
                "code": "customer_unknown",
                "message": "No event of this customer is in the log.",
                "details": [],
            }
        }
    )

    error: Problem
