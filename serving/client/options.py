"""What questions may say beside whom they are about, for type checkers: the fields of `serving.schemas.requests`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, TypedDict


class Question(TypedDict, total=False):
    """What every question may say."""

    timeout_ms: int


class ProductOptions(Question, total=False):
    """Which products may be answered."""

    exclude: Sequence[str]
    categories: Sequence[str]
    brands: Sequence[str]
    min_price: float
    max_price: float
    attributes: Mapping[str, str]
    store_id: str
    rebuys: Literal["any", "due", "never"]
    explain: bool


class NextProductsOptions(ProductOptions, total=False):
    """What `next_products` may say."""

    k: int
    candidates: Sequence[str]
    session: Sequence[str]
    objective: Literal["conversion", "revenue", "margin"]
    channel: str
    exclude_recent_days: float
    exclude_resting: bool
    allow_unknown: bool
    diversity: float
    explore_share: float
    new_days: float


class ChurnOptions(Question, total=False):
    """What `churn` may say."""

    explain: bool


class DecideOptions(ProductOptions, total=False):
    """What `decide` may say."""

    channels: Sequence[str]
    campaign_id: str
    asked_by: str
    when: Literal["now", "best"]
    not_before: datetime
    not_after: datetime
    log: bool
    dry_run: bool
    language: str
    request_id: str
