"""One experiment as data: what is tried, on which share of whom, and what is to be found; checked, never changed.

A TOML file comes in (`omni experiment start FILE`), an `Experiment` goes out, or the complaint that names the key.
"""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from features.config import Config
from features.vocabulary import Task

MAX_VARIANTS: Final = 16
CUSTOMER: Final = "customer"
"""The unit that is drawn unless another one is named."""
SHARES_END: Final = 1e-9
"""How far shares that end at 1 may miss it, as thirds do."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""1 to 64 letters, digits, dots, dashes and underscores."""
Metric = Literal["revenue", "orders", "responses", "unsubscribed"]


class Variant(Config):
    """One way of deciding, beside the house's own."""

    name: Name
    """What it is called in answers, events and reports."""
    share: float = Field(gt=0, le=1)
    """Share of all units that get it."""
    rules: dict[str, Any] = Field(default_factory=dict)
    """Keys of rules.toml that differ; a table changes those of its keys that it names."""
    models: dict[Task, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Versions of the registry that answer in place of the champions."""
    control: Literal["random_allowed", "levers_off"] | None = None
    """A control group: `random_allowed` takes any allowed way with the same chance, `levers_off` goes without boosts."""

    @property
    def changes(self) -> set[str]:
        """What it has otherwise than the house, to be compared with other experiments'."""
        of_control = {"random_allowed": {"rules.exploration"}, "levers_off": {"levers"}}.get(self.control or "", set())
        return {f"rules.{key}" for key in self.rules} | {f"models.{task}" for task in self.models} | of_control


class Experiment(Config):
    """What is tried; the first variant is what the others are compared with."""

    name: Name
    """Draws who gets what; no two experiments ever have the same, and whoever is drawn stays so as long as it runs."""
    variants: tuple[Variant, ...] = Field(min_length=2, max_length=MAX_VARIANTS)
    """The first one is the control; who is in none of them is decided for as without the experiment."""
    unit: str = Field(CUSTOMER, pattern=r"^[a-z][a-z0-9_]{0,63}$")
    """What is drawn: `customer`, or the type of an identifier that several share, such as household or home_store."""
    metric: Metric = "revenue"
    """What it is about; the others are reported, too."""
    window_days: float = Field(14, gt=0)
    """What a customer does within so many days of their first decision counts; who is not there yet is left out."""
    past_days: float = Field(56, ge=0)
    """What they did in so many days before is taken off where it tells something; 0: nothing is."""
    effect: float = Field(0.05, gt=0, le=100)
    """The smallest difference worth finding, as a share of the control's mean."""

    @model_validator(mode="after")
    def _variants_fit_together(self) -> Self:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError("two variants have the same name")
        if sum(variant.share for variant in self.variants) > 1 + SHARES_END:
            raise ValueError("the shares of the variants are more than 1 together")
        for variant in self.variants:
            if variant.control == "random_allowed" and "exploration" in variant.rules:
                raise ValueError(f"{variant.name} is random_allowed, which has an exploration of its own")
        return self

    @property
    def text(self) -> str:
        """As JSON, the same for the same experiment."""
        return self.model_dump_json()

    @property
    def changes(self) -> set[str]:
        """What any of its variants changes."""
        return set().union(*(variant.changes for variant in self.variants))
