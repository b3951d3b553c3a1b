"""A home in; the same home with the sample shop in its log, its product table, its stock and its feature stores out.

OMNI_HOME/sample.json says which shop it is, so that a second call, or one after an interruption, brings the same events.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from features import atomic
from features.build import build_features
from features.console import Progress
from features.errors import InputError, StoreError
from features.ingest import ingest_batches, is_ingested, note_ingested
from features.intake.checking import CHECK_ROWS
from features.online.trust import open_known_log
from features.sample.shop import SampleShop
from features.settings import Settings
from features.simulator.shop import N_STORES
from features.sources.batch import SourceBatch
from features.sources.stock_table import merge_stock
from features.sources.tables import STOCK_SCHEMA
from features.vocabulary import Columns

NOTE: Final = "sample.json"
SOURCE: Final = "sample"


@dataclass(frozen=True)
class SampleReport:
    """What is in the home now; `appended` of the `events` were not there before."""

    shop: SampleShop
    home: str
    events: int
    appended: int
    products: int
    stores: int
    channels: dict[str, int]
    """Events by channel, most first."""
    decisions: int
    """Logged decisions, each with the chance (pscore) that it was drawn with."""
    seconds: dict[str, float]

    def __rich__(self) -> Any:
        """What it is and what to do with it."""
        from rich.console import Group
        from rich.table import Table

        shop = self.shop
        heading = (
            f"An invented shop: {shop.customers:,} customers, {self.products} products, {self.stores} stores, from "
            f"{shop.start:%Y-%m-%d} to {shop.until:%Y-%m-%d %H:%M} (UTC), with {self.decisions:,} logged decisions."
        )
        table = Table(box=None, pad_edge=False)
        table.add_column("channel")
        table.add_column("events", justify="right")
        for channel, count in self.channels.items():
            table.add_row(channel, f"{count:,}")
        table.add_row("[bold]altogether[/]", f"[bold]{self.events:,}[/]")
        took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
        state = "is in" if self.appended else "was there already, in"
        return Group(heading, "", table, "", f"It {state} {self.home} ({took}).", "Next: omni train all, omni serve")


def bring_in_sample(settings: Settings, wanted: Mapping[str, Any], now: datetime, progress: Progress) -> SampleReport:
    """Bring in the shop with what is `wanted` of SampleShop's fields, as it stands at `now`, and build the features.

    A shop that is there already stays as it is. Raises InputError where it differs from what is wanted, and where the log
    holds anything else: what is invented and what is real would be learned from together.
    """
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    shop = _settle(wanted, now, settings)
    progress(f"simulating {shop.customers:,} customers over {shop.days} days")
    events, products, stock = shop.tables()
    seconds["simulate"] = _since(started)
    started = time.perf_counter()
    appended = 0
    if not is_ingested(settings, SOURCE, None, None):
        appended = ingest_batches(SOURCE, _batches(events, products), settings, progress=progress).appended
        merge_stock(settings.stock_path, stock.cast(STOCK_SCHEMA))
        note_ingested(settings, SOURCE, None, None)
    seconds["ingest"] = _since(started)
    started = time.perf_counter()
    build_features(settings, progress)
    seconds["features"] = _since(started)
    return SampleReport(
        shop=shop,
        home=str(settings.home),
        events=events.num_rows,
        appended=appended,
        products=products.num_rows,
        stores=N_STORES,
        channels=dict(Counter(_counts(events[Columns.CHANNEL])).most_common()),
        decisions=_counts(events[Columns.KIND]).get("decision", 0),
        seconds=seconds,
    )


def sample_in(settings: Settings) -> SampleShop | None:
    """The sample shop that the home's note names; None where there is none. Raises StoreError for a damaged note."""
    note = _note(settings)
    try:
        return SampleShop.from_plain(json.loads(note.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StoreError(
            f"{note} does not say which sample shop this home holds ({type(error).__name__}).",
            repair="Delete the home and run omni sample again; nothing in it is real.",
        ) from error


def _settle(wanted: Mapping[str, Any], now: datetime, settings: Settings) -> SampleShop:
    """Which shop is to be there, written down before its first event is."""
    there = sample_in(settings)
    if there is not None and any(getattr(there, name) != value for name, value in wanted.items()):
        raise InputError(
            f"{settings.home} holds another sample shop: {json.dumps(there.to_plain())}.",
            repair="Take another OMNI_HOME, or delete this one; nothing in it is real.",
        )
    if there is not None:
        return there
    with closing(open_known_log(settings)) as log:
        events = log.count()
    if events:
        raise InputError(
            f"The event log of {settings.home} holds {events:,} events, and the sample shop is invented: models would learn"
            " from both.",
            repair="Give it a home of its own: OMNI_HOME=sample omni sample",
        )
    shop = SampleShop(**{"until": now.replace(microsecond=0), **wanted})
    atomic.write_text(_note(settings), json.dumps(shop.to_plain(), indent=2) + "\n")
    return shop


def _batches(events: pa.Table, products: pa.Table) -> Iterator[SourceBatch]:
    for start in range(0, events.num_rows, CHECK_ROWS):
        part = events.slice(start, CHECK_ROWS)
        yield SourceBatch(part, products=None if start else products, rows_total=part.num_rows)


def _note(settings: Settings) -> Path:
    return settings.home / NOTE


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 2)
