"""What `omni train churn` may be told: the question, the moments it is learned from, and the size of the models."""

from typing import Final, Literal

from pydantic import Field

from features.config import Config
from features.vocabulary import EventKind
from training.models.boosted import BoosterConfig
from training.models.churn.contract import ContractConfig

CONTRACT_SIGNALS: Final = (
    *("contract_days", "contract_value", "contract_days_left", "contracts_total", "days_since_contract_end"),
    *("days_since_action", "n_action_occasions", "visit_30d", "view_30d", "search_30d", "call_30d", "days_since_call"),
    *("open_30d", "click_30d", "days_since_open", "contacts_30_days", "days_since_occasion", "occasions_30d"),
    *("occasions_90d", "occasion_trend", "overdue_ratio", "spend_30d", "spend_90d", "returned_90d", "n_ratings"),
    *("rating_mean", "last_rating", "tenure_days"),
)
"""The contract itself, and how the customer uses and pays it."""


class ChurnConfig(Config):
    """What counts as churn, who is asked about, from which moments it is learned, and the booster's size."""

    kind: Literal["non-contractual", "contract"] = "non-contractual"
    """Whether customers leave by buying no more, or by the end of a contract that the log knows of."""
    horizon_days: float = Field(28, gt=0)
    """Churned: none of the activity in this many days (of a contract: over by then). Whole weeks keep weekdays out of the
    label."""
    more_horizons_days: tuple[float, ...] = ()
    """More horizons that are answered beside it, each by a model of its own with its own test, e.g. [60, 90]."""
    step_days: float = Field(14, gt=0)
    """Days between the cutoffs that training snapshots are taken at."""
    warmup_days: float = Field(56, ge=0)
    """History that must lie before the first cutoff."""
    max_cutoffs: int = Field(40, ge=1)
    """Most training cutoffs, the latest ones."""
    active_within_days: float | None = Field(365, gt=0)
    """Only customers with activity in this many days before a cutoff count; without it all that were ever seen do."""
    min_purchases: int = Field(1, ge=1)
    """Only customers with this many moments of activity before a cutoff count."""
    activity_kinds: tuple[EventKind, ...] = (EventKind.PURCHASE,)
    """Kinds of event that show that a customer has not churned."""
    booster: BoosterConfig = BoosterConfig()
    """Size and pace of the booster."""
    contract: ContractConfig = ContractConfig()
    """Of contracts: what the blend is grown from and how; activity, min_purchases and the booster then do not count."""
    contract_signals: tuple[str, ...] = CONTRACT_SIGNALS
    """Of contracts: the signals that are looked at."""
