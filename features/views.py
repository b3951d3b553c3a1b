"""What the feature store holds: the views, their fields and lifetimes, and which task reads which; no feast import.

`store/definitions.py` turns this into Feast objects and `online/reader.py` reads what Feast wrote by it, so that every
name, type and lifetime is stated once.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from features.settings import Settings
from features.state.encoding import PRODUCTS_FIELDS, STATE_FIELDS
from features.state.product_blocks import BLOCK, BLOCK_FIELDS
from features.vocabulary import Columns, Task

PROJECT: Final = "omni"
"""Feast's project: the first part of every table and key in the online store."""

CUSTOMER_TTL: Final = timedelta(days=3 * 365 + 1)
"""How long a customer's last state counts. A state never goes stale (it is decayed to the moment of use), so this is a
limit on how long a silent customer is remembered. It is longer than the longest built-in history (two years), because a
customer who left must stay visible as such: churn is learnt from exactly these rows."""

PRODUCT_TTL: Final = timedelta(days=3 * 365 + 1)
"""As for customers; what a block of products holds has faded long before."""


@dataclass(frozen=True)
class View:
    """One Feast view: a row of `fields` per `join_key` and moment, in the Parquet file `settings.<name>_path`."""

    name: str
    entity: str
    join_key: str
    fields: tuple[tuple[str, str], ...]
    ttl: timedelta
    about: str
    """What Feast says of the view."""

    def path(self, settings: Settings) -> Path:
        """The view's offline source."""
        path: Path = getattr(settings, f"{self.name}_path")
        return path

    def moments_path(self, settings: Settings) -> Path:
        """A narrow copy of the source's keys and times, by which a row is found before it is read (see store/history.py)."""
        return settings.feast_dir / f"{self.name}_moments.parquet"

    @property
    def of(self) -> str:
        """What Feast says of the view's entity."""
        return f"A {self.entity.replace('_', ' ')}, by {self.join_key}."

    @property
    def table(self) -> str:
        """The view's table in Feast's SQLite online store."""
        return f"{PROJECT}_{self.name}"


CUSTOMER_STATE: Final = View(
    "customer_state",
    "customer",
    Columns.CUSTOMER_ID,
    STATE_FIELDS,
    CUSTOMER_TTL,
    "What is known of a customer after each event, packed; `customer_signals` says it by name.",
)
CUSTOMER_PRODUCTS: Final = View(
    "customer_products",
    "customer",
    Columns.CUSTOMER_ID,
    PRODUCTS_FIELDS,
    CUSTOMER_TTL,
    "A customer's habits and latest interactions, packed.",
)
PRODUCT_SALES: Final = View(
    "product_sales",
    BLOCK,
    BLOCK,
    BLOCK_FIELDS,
    PRODUCT_TTL,
    "What every product sold lately, decayed, a block of them a row.",
)
CUSTOMER_VIEWS: Final = (CUSTOMER_STATE, CUSTOMER_PRODUCTS)
VIEWS: Final = (*CUSTOMER_VIEWS, PRODUCT_SALES)

ONLINE_KEY_TTL: Final = max(view.ttl for view in VIEWS)
"""How long after its last write an entity stays in an online store that can expire keys: no shorter than its row counts."""

TASK_VIEWS: Final[dict[Task, tuple[View, ...]]] = {
    Task.NEXT_PRODUCT: (CUSTOMER_STATE, CUSTOMER_PRODUCTS, PRODUCT_SALES),
    Task.CHURN: (CUSTOMER_STATE,),
    Task.BEST_CHANNEL: (CUSTOMER_STATE,),
    Task.WIN_BACK: (CUSTOMER_STATE,),
}
"""The views behind each task's feature service."""

SERVICE_VERSION: Final = 2
"""Raised whenever the fields of a view change their meaning, so that an older model is not fed newer features."""


def feature_service_name(task: Task) -> str:
    """The name of a task's Feast FeatureService, for example `churn_v2`."""
    return f"{task.value.replace('-', '_')}_v{SERVICE_VERSION}"


def moments_name(view: View) -> str:
    """Name of the narrow offline view that tells which row of `view` was true as of a moment."""
    return f"{view.name}_moments"


def exact_name(view: View) -> str:
    """Name of the offline view that answers with the row of `view` at exactly one moment."""
    return f"{view.name}_at"
