"""What would happen under other rules, asked and answered: counts of customers, money, and the log's own evidence."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from features.settings import MAX_TIMEOUT_MS
from serving.schemas.base import NO_TEXT, Finite, described

MAX_SAMPLE: int = 20_000
"""Customers of one question over HTTP."""
Reward = Literal["engagement", "purchase", "margin"]
"""What a decision earned: see features/outcomes/rewards.py."""


class WhatIfRequest(BaseModel):
    """What would other rules do? Nothing is logged, reserved or sent."""

    model_config = described({"rules": {"overall_cap": {"max": 3, "days": 7}}, "sample": 2000}, request=True)

    rules: dict[str, Any] = Field(
        default_factory=dict,
        max_length=64,
        description="Keys of rules.toml that are to differ from the rules in force; in a section, its keys that differ.",
    )
    sample: Annotated[int, Field(ge=1, le=MAX_SAMPLE), NO_TEXT] = Field(
        2_000, description="Customers that are decided for both ways, drawn by chance."
    )
    where: str | None = Field(
        None, max_length=2_000, description="Only customers of this condition, as in `omni audience`."
    )
    decisions: Annotated[int, Field(ge=0, le=MAX_SAMPLE), NO_TEXT] = Field(
        2_000, description="Logged decisions that are looked at for what both earn; 0: none."
    )
    reward: Reward = Field("engagement", description="What a logged decision earned.")
    window_days: float = Field(7.0, gt=0, le=90, description="Days after a decision in which that counts.")
    timeout_ms: Annotated[int, Field(ge=1, le=MAX_TIMEOUT_MS), NO_TEXT] = Field(
        20_000, description="How long the caller waits: 504 after that."
    )


class Estimate(Finite):
    """A mean and its 95 % interval."""

    value: float
    low: float
    high: float


class Side(Finite):
    """What one set of rules does with the customers of the sample."""

    rules_version: str
    contacts: float = Field(description="Expected number of customers who are contacted.")
    cost: float = Field(description="What these contacts are expected to cost.")
    expected_value: float = Field(description="What they are expected to bring by the models, costs taken off.")
    arms: dict[str, float] = Field(description="Expected number of customers for each way, nothing among them.")
    refused: dict[str, int] = Field(description="By rule the customers for whom it refuses at least one way.")
    without_any_arm: int = Field(description="Customers for whom no way of contact is allowed.")
    alone: dict[str, int] = Field(
        description="Of those, by rule, how many would have a way if that rule alone did not stand against it."
    )


class Move(Finite):
    """Customers who change from one way to another, drawn with the same luck under both rules."""

    before: str
    after: str
    customers: int
    examples: list[str]


class LoggedEvidence(Finite):
    """What the log's decisions earned under both rules, per decision, from the chances with which they were drawn."""

    decisions: int
    customers: int
    reward: str
    old: Estimate
    new: Estimate
    difference: Estimate
    effective_decisions: float = Field(description="So many decisions the log's are worth about the new rules.")
    largest_weight: float
    same_chance: float = Field(
        description="Share of the decisions that the old rules and today's models give the chance that was logged."
    )


class WhatIfAnswer(Finite):
    """The same customers under the rules in force and under others."""

    model_config = described(
        {
            "customers": 2000,
            "old": {
                "rules_version": "5f1c0c6a9d2e", "contacts": 812.4, "cost": 96.2, "expected_value": 701.5,
                "arms": {"email_evening": 512.4, "post": 300.0, "nothing": 1187.6},
                "refused": {"consent": 910, "caps": 144}, "without_any_arm": 402, "alone": {"caps": 61},
            },
            "new": {
                "rules_version": "0b7d1f40aa31", "contacts": 640.0, "cost": 71.9, "expected_value": 622.3,
                "arms": {"email_evening": 420.0, "post": 220.0, "nothing": 1360.0},
                "refused": {"consent": 910, "caps": 498}, "without_any_arm": 663, "alone": {"caps": 318},
            },
            "moves": [{"before": "email_evening", "after": "nothing", "customers": 97, "examples": ["1", "17"]}],
            "moved": 131,
            "logged": None,
            "logged_refusal": "The log holds no decision whose outcome is known yet.",
            "warnings": [],
            "seconds": 4.2,
        }
    )  # fmt: skip

    customers: int
    old: Side
    new: Side
    moves: list[Move] = Field(description="Who changes from what to what, most first; who stays is not among them.")
    moved: int
    logged: LoggedEvidence | None = Field(None, description="By the log's own decisions; null where they cannot tell.")
    logged_refusal: str = Field("", description="Why the log cannot tell.")
    warnings: list[str] = Field(default_factory=list)
    seconds: float
