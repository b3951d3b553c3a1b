"""Erasures that outlive their log: tombstones in, a file for each out; those files in, a restored log that honours them out.

A backup was made before some erasures. When it is restored, whoever was erased since must not come back, also where the
log that knew of it is lost. A file holds the keyed hashes of one erasure, its receipt and the key: it names nobody by itself,
but who has it can try whether a name that they know is among the hashes. So it is as private as the log: mode 0600.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from features import atomic
from features.errors import StoreError
from features.log.event_log import EventLog
from features.log.receipt import Receipt
from features.log.tombstones import Stone
from features.settings import Settings


@dataclass(frozen=True)
class CarriedErasure:
    """One erasure with all that is needed to do it again in another copy of the log."""

    receipt: Receipt
    key: bytes
    stones: tuple[Stone, ...]
    log_id: str = ""
    """Of the log that it was done in; empty where the record does not say."""


@dataclass(frozen=True)
class CarryReport:
    """What became of erasures in a restored log; `other_key` could not all be kept there, but were done again."""

    carried: int = 0
    erased_again: tuple[Receipt, ...] = ()
    other_key: int = 0


def erasures_dir(settings: Settings) -> Path:
    """The folder of the files."""
    return settings.home / "erasures" / "tombstones"


def keep_erasures(settings: Settings, log: EventLog) -> None:
    """Write the file of every erasure in the log that has none yet."""
    folder = erasures_dir(settings)
    book, log_id = log.erasures(), log.anchor().log_id
    for receipt in book.receipts():
        path = folder / f"{receipt.receipt_id}.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(path, CarriedErasure(receipt, *book.stones(receipt.receipt_id), log_id))


def kept_erasures(settings: Settings) -> list[CarriedErasure]:
    """What the files hold, oldest first. Raises StoreError for one that cannot be read."""
    erasures = [_read(path) for path in sorted(erasures_dir(settings).glob("*.json"))]
    return sorted(erasures, key=lambda erasure: erasure.receipt.erased_at)


def unknown_erasures(settings: Settings, log: EventLog) -> list[CarriedErasure]:
    """What the files hold and the log knows nothing of, oldest first. Raises StoreError for one that cannot be read."""
    known = {receipt.receipt_id for receipt in log.erasures().receipts()}
    paths = [path for path in sorted(erasures_dir(settings).glob("*.json")) if path.stem not in known]
    return sorted(map(_read, paths), key=lambda erasure: erasure.receipt.erased_at)


def is_of_log(erasure: CarriedErasure, log: EventLog) -> bool:
    """Whether an erasure was done in this log, or in a later copy of it: by the log's id, or by the key of its hashes."""
    if erasure.log_id and erasure.log_id == log.anchor().log_id:
        return True
    return erasure.key == log.erasures().stones(erasure.receipt.receipt_id)[0]


def erasures_of(log: EventLog) -> list[CarriedErasure]:
    """What the log itself knows, oldest first."""
    book, log_id = log.erasures(), log.anchor().log_id
    erasures = [CarriedErasure(receipt, *book.stones(receipt.receipt_id), log_id) for receipt in book.receipts()]
    return sorted(erasures, key=lambda erasure: erasure.receipt.erased_at)


def carry_erasures(log: EventLog, erasures: Iterable[CarriedErasure], now: datetime) -> CarryReport:
    """Do erasures again in a log that was copied before them; what it knows of already is passed over.

    Who was erased and is in this copy is erased from it anew, with a receipt of its own; files and the online store are
    left pending, there and in the receipts that are carried.
    """
    book = log.erasures()
    known = {receipt.receipt_id for receipt in book.receipts()}
    carried = other_key = 0
    again: list[Receipt] = []
    for erasure in erasures:
        if erasure.receipt.receipt_id in known:
            continue
        known.add(erasure.receipt.receipt_id)
        carried += 1
        other_key += not book.carry(erasure.receipt, erasure.key, erasure.stones)
        again += book.erase_again(erasure.key, frozenset(stone.digest for stone in erasure.stones), now)
    return CarryReport(carried, tuple(again), other_key)


def together(*sources: Sequence[CarriedErasure]) -> list[CarriedErasure]:
    """Erasures of several places, each once, oldest first."""
    by_id = {erasure.receipt.receipt_id: erasure for source in sources for erasure in source}
    return sorted(by_id.values(), key=lambda erasure: erasure.receipt.erased_at)


def _write(path: Path, erasure: CarriedErasure) -> None:
    body = {
        "key": erasure.key.hex(),
        "log_id": erasure.log_id,
        "stones": [[stone.digest.hex(), stone.until_us] for stone in erasure.stones],
        "receipt": erasure.receipt.model_dump(mode="json", exclude={"known_since"}),
    }
    with atomic.replacing(path) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(body, file)


def _read(path: Path) -> CarriedErasure:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        stones = tuple(Stone(bytes.fromhex(digest), int(until_us)) for digest, until_us in body["stones"])
        receipt, log_id = Receipt.model_validate(body["receipt"]), str(body.get("log_id", ""))
        return CarriedErasure(receipt, bytes.fromhex(body["key"]), stones, log_id)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise StoreError(
            f"The record of an erasure {path} cannot be read ({type(error).__name__}).",
            repair="Put it back from another backup: without it somebody who was erased may come back. If there is none,"
            " move it away and erase whoever its receipt is of again.",
        ) from error
