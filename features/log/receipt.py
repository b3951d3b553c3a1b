"""The receipt of an erasure, without personal data: what was done and what is still to do in, a JSON file out."""

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

    model_config = ConfigDict(frozen=True, extra="forbid")

    receipt_id: str
    customer: str
    """Keyed hash of the customer's id, in hexadecimal."""
    erased_at: datetime
    removed: dict[str, int]
    absent: dict[str, datetime] = {}
    """Places that were read again after the removal, and when: nothing of the customer was there any more."""
    pending: tuple[Step, ...]
    models: tuple[LearntModel, ...] = ()
    notes: tuple[str, ...] = NOTES
    known_since: datetime | None = None
    """The customer's first event; forgotten as soon as the models are listed."""

    @property
    def complete(self) -> bool:
        """Whether every step is done."""
        return not self.pending

    def after(self, step: Step, removed: dict[str, int], **changes: Any) -> "Receipt":
        """This receipt with a step done; rows that it removed earlier, before a crash, are kept in the sum."""
        total = {**self.removed}
        for place, rows in removed.items():
            total[place] = total.get(place, 0) + rows
        pending = tuple(other for other in self.pending if other is not step)
        return self.model_copy(update={"removed": total, "pending": pending, **changes})

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
        names = [f"{model.task} version {model.version}" for model in self.models]
        table.add_row("[bold]models[/]", ", ".join(names) or "none learnt from this customer, as far as is known yet")
        for note in self.notes:
            table.add_row("[bold]note[/]", note)
        return table


def receipt_path(settings: Settings, receipt_id: str) -> Path:
    """Where a receipt lies."""
    return settings.home / "erasures" / f"{receipt_id}.json"


def write_receipt(settings: Settings, receipt: Receipt) -> None:
    """Write the receipt's file; it appears whole or not at all."""
    body = receipt.model_dump_json(indent=2, exclude={"known_since"})
    atomic.write_text(receipt_path(settings, receipt.receipt_id), body)
