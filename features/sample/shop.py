"""A moment in; the sample shop as it stands at that moment out: a simulated retailer whose products a person recognises.

Whatever the moment, it is the same shop: the same seed draws the same people and days, beginning on a Monday, and the moment
cuts off what has not happened yet. So its weekends are weekends, and its newest events are minutes old.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from features.errors import InputError
from features.moments import utc
from features.simulator.world import WorldConfig, simulate
from features.vocabulary import Columns

CUSTOMERS: Final = 3_000
DAYS: Final = 200
MIN_DAYS: Final = 60
"""Less history would leave no period to test a model on."""
_WEEK: Final = 7


@dataclass(frozen=True)
class SampleShop:
    """Which shop: two that are equal hold the same events."""

    until: datetime
    """The moment at which it stands; nothing is later. Aware, UTC."""
    customers: int = CUSTOMERS
    days: int = DAYS
    """Days before `until` that are there at least; the first day is a Monday."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.customers < 1 or self.days < MIN_DAYS:
            raise InputError(
                f"A sample shop of {self.customers} customers and {self.days} days teaches nothing.",
                repair=f"Take one customer and {MIN_DAYS} days or more.",
            )

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "SampleShop":
        """The shop that `to_plain` wrote down."""
        return cls(**{**plain, "until": utc(plain["until"])})

    def to_plain(self) -> dict[str, Any]:
        """All of it in JSON's own types."""
        return {**asdict(self), "until": self.until.isoformat()}

    @property
    def start(self) -> datetime:
        """0:00 UTC of the Monday on which it opened."""
        first = self.until.astimezone(UTC) - timedelta(days=self.days)
        return first.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=first.weekday())

    def tables(self) -> tuple[pa.Table, pa.Table, pa.Table]:
        """Events (EVENT_SCHEMA), products (PRODUCT_SCHEMA) and stock, of everything before `until`."""
        config = WorldConfig(n_customers=self.customers, n_days=self.days + _WEEK, seed=self.seed, named_products=True)
        world = simulate(config, self.start)
        return self._so_far(world.events, Columns.OCCURRED_AT), world.products, self._so_far(world.stock, Columns.AS_OF)

    def _so_far(self, table: pa.Table, column: str) -> pa.Table:
        return table.filter(pc.less(table[column], pa.scalar(self.until, table.schema.field(column).type)))
