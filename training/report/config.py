"""What `omni report` counts and how, in TOML; the defaults suit most logs."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from features.config import Config
from features.vocabulary import CONTACT_KINDS, EventKind

OWN_CONFIG: Final = "report.toml"
"""The file under OMNI_HOME that replaces defaults."""
TOUCH_KINDS: Final = (
    *CONTACT_KINDS,
    *(EventKind.OPEN, EventKind.CLICK, EventKind.VISIT, EventKind.SEARCH, EventKind.VIEW, EventKind.ADD_TO_CART),
    *(EventKind.REMOVE_FROM_CART, EventKind.CALL, EventKind.CHAT),
)


class ReportConfig(Config):
    """Write the keys that should differ into OMNI_HOME/report.toml."""

    period_days: int = Field(28, ge=1)
    """Length of the period where `--from` or `--to` is left out."""
    silence_days: float = Field(30.0, gt=0)
    """A journey without a purchase is over after this many days without a touch."""
    touchpoint: Literal["channel", "channel_and_kind"] = "channel"
    """What a step of a path is: `email`, or `email click`."""
    kinds: tuple[EventKind, ...] = Field(TOUCH_KINDS, min_length=1)
    """Kinds of event that are touches, beside the purchase."""
    top_paths: int = Field(15, ge=1, le=200)
    """How many paths are listed."""
    max_steps: int = Field(6, ge=2)
    """A longer path is listed by its last steps."""
    answer_days: float = Field(7.0, gt=0)
    """A message is answered by what the customer does on its channel within this many days."""
    arms: Path | None = None
    """The file of best-channel arms that says what a contact costs; left out: training/configs/best-channel.toml."""
    costs: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Money that one contact costs, by the arm's name or, for contacts that are of no arm, by channel."""
    margin_share: float | None = Field(None, gt=0, le=1)
    """Margin as a share of revenue; with it the return on spend is told in margin too."""
