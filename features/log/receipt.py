"""The receipt of an erasure, without personal data: what was done and what was found by looking again in, a JSON file out.

An erasure that is under way is kept apart, in the log: its receipt is written once, at its end.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from features import atomic
from features.settings import Settings

NOTES: Final = (
    "Sums over all customers (products' popularity, models' parameters) hold no customer and are not changed.",
    "Outside OMNI_HOME (backups, tables of `omni decide --out`, artifacts of a shared MLflow server) deleting is yours.",
    "What was removed is counted as it is deleted; `places` says what was there when each was read again at the end.",
)


class Step(StrEnum):
    """The parts of an erasure, in the order in which they are done."""

    LOG = "log"
    """Events, decisions, identifiers: gone at once, in one transaction, with tombstones against their return."""
    ONLINE = "online"
    """The online store's rows."""
    FILES = "files"
    """Every Parquet file under OMNI_HOME: timeline, states, moments, rejected rows, evaluations of models."""
    MODELS = "models"
    """Which models learnt from the customer."""


class State(StrEnum):
    """What a place holds of an erased customer."""

    EMPTY = "empty"
    """It was read again, and nothing of the customer is there."""
    LEFT = "left"
    """It was read again, and something of the customer is there still."""
    EXPIRES = "expires"
    """It is in the memory of running services, and leaves it by the moment that is said."""
    NAMELESS = "nameless"
    """What was learnt or counted from many is there, and no name."""
    UNVERIFIED = "unverified"
    """It could not be read, or cannot be known."""
    YOURS = "yours"
    """It may hold something of the customer, and is not Omni's to delete."""


class Place(BaseModel):
    """One place that may hold something of a customer, and what it held when the erasure came to its end."""

    model_config = ConfigDict(frozen=True)

    place: str
    state: State
    left: int | None = None
    """Rows of the customer that are there still; None where nobody can count them."""
    detail: str = ""


class LearntModel(BaseModel):
    """A registered model that was trained when the customer's events were there."""

    model_config = ConfigDict(frozen=True)

    task: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    trained_at: str
    as_of_end: str
    data_fingerprint: str


class Receipt(BaseModel):
    """One erasure. `removed` maps a place to the rows taken out of it; `pending` names the steps not done yet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    receipt_id: str
    customer: str
    """Keyed hash of the customer's id, in hexadecimal."""
    erased_at: datetime
    removed: dict[str, int]
    absent: dict[str, datetime] = {}
    """Places that were read again after the removal, and when: nothing of the customer was there any more."""
    pending: tuple[Step, ...] = ()
    models: tuple[LearntModel, ...] = ()
    places: tuple[Place, ...] = ()
    """Every place that was looked at again at the end, and those that cannot be looked at; empty before that."""
    completed_at: datetime | None = None
    notes: tuple[str, ...] = NOTES

    @property
    def complete(self) -> bool:
        """Whether every step is done."""
        return not self.pending

    def __rich__(self) -> Any:
        """The receipt in words."""
        from rich.table import Table

        table = Table(show_header=False, box=None, pad_edge=False)
        state = "complete" if self.complete else f"pending: {', '.join(self.pending)} (omni erase --finish)"
        table.add_row("[bold]receipt[/]", f"{self.receipt_id}, {state}")
        table.add_row("[bold]customer[/]", f"{self.customer} (keyed hash)")
        table.add_row("[bold]erased at[/]", self.erased_at.isoformat(timespec="seconds"))
        for place, rows in self.removed.items():
            table.add_row(f"  {place}", f"{rows:,} rows")
        for place, moment in self.absent.items():
            table.add_row(f"  {place}", f"read again, none left at {moment.isoformat(timespec='seconds')}")
        for found in self.places:
            table.add_row(f"  {found.place}", f"{found.state}{f': {found.detail}' if found.detail else ''}")
        names = [f"{model.task} version {model.version}" for model in self.models]
        table.add_row("[bold]models[/]", ", ".join(names) or "none learnt from this customer, as far as is known yet")
        for note in self.notes:
            table.add_row("[bold]note[/]", note)
        return table


class Underway(Receipt):
    """An erasure that is not complete: what is done so far, and what is being done. It is kept in the log alone."""

    intended: dict[str, int] = {}
    """Rows by place that were about to be removed. Of those that are not there any more, the removal succeeded."""
    known_since: datetime | None = None
    """The customer's first event: of models that learnt before it, none learnt from them."""

    def intending(self, place: str, rows: int) -> "Underway":
        """Before `rows` are removed from a place: what an earlier attempt intended and is gone counts as removed."""
        went = max(0, self.intended.get(place, 0) - rows)
        others = {name: count for name, count in self.intended.items() if name != place}
        done = self.plus(place, went) if went else self
        return done.model_copy(update={"intended": {**others, place: rows} if rows else others})

    def removing(self, place: str, rows: int) -> "Underway":
        """After `rows` were removed from a place."""
        others = {name: count for name, count in self.intended.items() if name != place}
        return self.plus(place, rows).model_copy(update={"intended": others})

    def settled(self, prefix: str) -> "Underway":
        """With what was intended at places that are not there any more counted as removed."""
        done = self
        for place, rows in self.intended.items():
            if place.startswith(prefix):
                done = done.removing(place, rows)
        return done

    def plus(self, place: str, rows: int) -> "Underway":
        """With rows more in the count of a place."""
        return self.model_copy(update={"removed": {**self.removed, place: self.removed.get(place, 0) + rows}})

    def after(self, step: Step, **changes: Any) -> "Underway":
        """This erasure with a step done."""
        pending = tuple(other for other in self.pending if other is not step)
        return self.model_copy(update={"pending": pending, **changes})

    def reopened(self, steps: Iterable[Step]) -> "Underway":
        """This erasure with steps to be done once more."""
        wanted = {*steps, *self.pending}
        return self.model_copy(update={"pending": tuple(step for step in Step if step in wanted)})

    def concluded(self, places: tuple[Place, ...], at: datetime) -> Receipt:
        """The receipt, once every step is done and every place was looked at again."""
        kept = self.model_dump(exclude={"intended", "known_since"})
        removed = {place: self.removed[place] for place in sorted(self.removed, key=_in_order)}
        return Receipt.model_validate({**kept, "removed": removed, "places": places, "pending": (), "completed_at": at})


def read_erasure(body: str) -> Receipt:
    """What the log keeps of an erasure: its receipt, or one that is under way."""
    receipt = Receipt.model_validate_json(body)
    return receipt if receipt.complete else Underway.model_validate_json(body)


def receipt_path(settings: Settings, receipt_id: str) -> Path:
    """Where a receipt lies."""
    return settings.home / "erasures" / f"{receipt_id}.json"


def write_receipt(settings: Settings, receipt: Receipt) -> Receipt:
    """Write the receipt's file, whole or not at all; answers what it holds, which is the earlier receipt where there is one.

    An erasure that is done again, in a log that was restored, has its receipt already.
    """
    path = receipt_path(settings, receipt.receipt_id)
    try:
        earlier = Receipt.model_validate_json(path.read_text(encoding="utf-8"))
        if earlier.complete and earlier.receipt_id == receipt.receipt_id:
            return earlier
    except (FileNotFoundError, ValueError):  # none, or one that is damaged
        pass
    atomic.write_text(path, receipt.model_dump_json(indent=2))
    return receipt


def _in_order(place: str) -> tuple[int, str]:
    """Log, online store, files, each in the order of its name, whatever was counted first."""
    kinds = ("log: ", "online store: ", "files: ")
    return next((number for number, kind in enumerate(kinds) if place.startswith(kind)), len(kinds)), place
