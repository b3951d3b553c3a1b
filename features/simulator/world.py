"""Settings and a seed in, a whole omnichannel world out: events, products, stock, logged decisions, and the truth.

    world = simulate(WorldConfig(n_customers=2_000, n_days=120, seed=7))
    world.write(Path("world"))      # the same as: omni simulate --customers 2000 --days 120 --seed 7 --out world

What is written, and what `World` holds under the same names:

events.parquet     the event schema. Visits by web, app, store, social, chat and call centre at each customer's hours;
                   views, carts, purchases, returns, ratings; contacts and what answers them. A share of the web visits
                   happens before login and carries a cookie and no customer_id; identify events tie them together.
products.parquet   product_id, category, brand, price, name, …
stock.parquet      product_id, store_id (null: online), units, as_of: every Monday.
decisions.parquet  one row per decision: decision_id, customer_id, as_of, timestamp (the same moment), action, pscore,
                   reward, eligible_<arm> (whether a contact by it would be sent: consent), and x_*: what was known of the
                   customer at that moment. `omni benchmark best-channel` reads it.
truth.parquet      in the same order: decision_id, customer_id, as_of; expected_<arm>, the expected reward of every arm;
                   probability_<arm>, the chance that it converts; margin; and retention_nothing, retention_contact,
                   retention_uplift: the chance to be still there 28 days later without and with a contact, if nothing
                   else is sent.
customers.parquet  customer_id, joined_at, left_at (null: still there at the end), hazard_per_day, contact_hazard_ratio
                   (what a contact multiplies that hazard with for 14 days: below 1 it retains, above 1 it annoys), and
                   retention_nothing, retention_contact, retention_uplift for a customer without recent contacts.

The rules of the world. A customer is offered a contact about every `decision_every_days`: an arm is a channel and a
part of the day, or nothing. The arm's conversion has log-odds

    base_i + due_i + [sent] * (level_channel + effect_i,channel + timing_i,slot - tires_i * pressure_i)

where effect is the customer's own (`heterogeneity`), known from behaviour to the share `predictability`; pressure is the
count of contacts, halved every 5 days. A contact without consent is not sent and is worth what nothing is worth. Reward
= margin if converted - cost if sent - penalty if unsubscribed. Organic purchases go on beside it and are not counted. A
customer leaves for good with a hazard that a contact raises or lowers for 14 days.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.simulator.arms import ACTION_ARMS, Arms
from features.simulator.config import WorldConfig, world_config
from features.simulator.day import DayLoop
from features.simulator.events import EventBuffer
from features.simulator.people import draw_people
from features.simulator.shop import CATEGORIES, N_STORES, Shop, read_catalogue

__all__ = ["ACTION_ARMS", "START", "World", "WorldConfig", "simulate", "world_config"]

START: Final = datetime(2024, 1, 1, tzinfo=UTC)
"""Day 0 of a world that is not told another one: a Monday."""


@dataclass(frozen=True)
class World:
    """Everything that happened, and the truth about it; see the module's words for the columns."""

    config: WorldConfig
    events: pa.Table = field(repr=False)
    products: pa.Table = field(repr=False)
    stock: pa.Table = field(repr=False)
    decisions: pd.DataFrame = field(repr=False)
    truth: pd.DataFrame = field(repr=False)
    customers: pd.DataFrame = field(repr=False)

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, `nothing` first."""
        return ACTION_ARMS

    def expected(self) -> np.ndarray:
        """Expected reward of every arm for every decision, (n, arms)."""
        return self.truth[[f"expected_{arm}" for arm in self.arms]].to_numpy(np.float64)

    def answer(self, arm: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What comes of taking `arm` (n,), an index into `arms`, at every logged moment: an experiment, drawn anew.

        Conversions are drawn; the rare loss of a consent counts with its expected cost.
        """
        rows = np.arange(len(arm))
        probability = self.truth[[f"probability_{name}" for name in self.arms]].to_numpy(np.float64)[rows, arm]
        margin = self.truth["margin"].to_numpy(np.float64)
        converted = rng.random(len(arm)) < probability
        return np.asarray(self.expected()[rows, arm] + (converted - probability) * margin)

    def write(self, folder: Path) -> dict[str, int]:
        """Write the files into a folder; answers their row counts."""
        folder.mkdir(parents=True, exist_ok=True)
        tables = {
            "events": self.events,
            "products": self.products,
            "stock": self.stock,
            **{
                name: pa.Table.from_pandas(frame, preserve_index=False)
                for name, frame in (("decisions", self.decisions), ("truth", self.truth), ("customers", self.customers))
            },
        }
        for name, table in tables.items():
            pq.write_table(table, folder / f"{name}.parquet")
        (folder / "world.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")
        return {name: table.num_rows for name, table in tables.items()}


def simulate(config: WorldConfig, start: datetime = START) -> World:
    """The world of a config, whose day 0 is `start` (a Monday, 0:00 UTC); the same config gives the same world."""
    rng = np.random.default_rng(config.seed)
    shop = Shop.draw(rng, config.stock_level, read_catalogue() if config.named_products else ())
    people = draw_people(config, len(CATEGORIES), shop.products_of(), N_STORES, rng)
    arms = Arms(config.contact_effect, config.timing, config.costs)
    loop = DayLoop(config, people, shop, arms, EventBuffer(), rng)
    for day in range(config.n_days):
        loop.run(day)
    ids = np.array([f"C{i:06d}" for i in range(len(people))], dtype=object)
    decisions, truth = loop.log.tables(start, ids)
    return World(
        config=config,
        events=loop.events.table(start, ids, loop.cookies),
        products=shop.product_table(),
        stock=shop.stock_table(start),
        decisions=decisions,
        truth=truth,
        customers=_customers(loop, ids, start),
    )


def _customers(loop: DayLoop, ids: np.ndarray, day_0: datetime) -> pd.DataFrame:
    people = loop.people
    never = np.full(len(people), np.inf)
    nothing, contact = loop.retention(np.arange(len(people)), never)
    start = pd.Timestamp(day_0)
    gone = np.isfinite(loop.left_day)
    left = pd.Series(start + pd.to_timedelta(np.where(gone, loop.left_day, 0).astype(np.int64), unit="D"))
    return pd.DataFrame(
        {
            "customer_id": ids,
            "joined_at": start + pd.to_timedelta(people.joined_day, unit="D"),
            "left_at": left.where(gone),
            "hazard_per_day": people.hazard,
            "contact_hazard_ratio": np.exp(people.contact_hazard),
            "retention_nothing": nothing,
            "retention_contact": contact,
            "retention_uplift": contact - nothing,
        }
    )
