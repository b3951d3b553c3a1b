"""Erasure, step by step and over every store: a customer's name in, a receipt out.

Each step can be done again without harm, and the log knows which are left: an erasure that was cut short is finished by
erasing the same name again, by `omni erase --finish`, or as far as files go by the next `omni features build`.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from features.clock import Clock
from features.console import Progress
from features.erasure.files import erase_files
from features.erasure.online import ONLINE_ROWS, erase_online
from features.log.carried import keep_erasures
from features.log.erasure import Begun, ErasureBook
from features.log.event_log import EventLog
from features.log.receipt import LearntModel, Receipt, Step, write_receipt
from features.moments import utc
from features.offline.files import offline_files
from features.online.checkpoint import Checkpoint
from features.settings import Settings

logger = logging.getLogger(__name__)

Models = Callable[[], Sequence[LearntModel]]
"""Every registered model: handed in by whoever knows the registry."""

_STREAM_WAIT_S: Final = 2.0
"""How long to wait for the stream to be past the erased events, before their online rows are removed."""


def begin_erasure(settings: Settings, log: EventLog, name: str) -> Receipt | None:
    """Erase a customer, named by id or identifier, from the log and the online store; the rest is left pending.

    From here on nobody who reads the log or asks the service finds the customer. None where nobody has that name and
    nobody of that name was erased. Raises InputError for an identifier of several customers.
    """
    book = log.erasures()
    last_seq = log.last_seq()
    begun = book.begin(name, Clock.from_settings(settings).now())
    if begun is None:
        return None
    write_receipt(settings, begun.receipt)
    keep_erasures(settings, log)
    if Step.ONLINE not in begun.receipt.pending:
        return begun.receipt
    _wait_for_stream(settings, last_seq)
    return _online(settings, book, begun)


def finish_erasure(
    settings: Settings,
    log: EventLog,
    receipt: Receipt,
    models: Models | None = None,
    progress: Progress = logger.info,
) -> Receipt:
    """Do the steps that are left. Without `models` those that learnt from the customer stay to be listed."""
    book = log.erasures()
    if Step.ONLINE in receipt.pending:
        receipt = _online(settings, book, Begun(receipt))
    if Step.FILES in receipt.pending:
        progress("rewriting files")
        with offline_files(settings):
            receipt = _files(settings, book, receipt)
    if Step.MODELS in receipt.pending and models is not None:
        progress("listing models")
        learnt = _learnt(models(), receipt.known_since)
        receipt = _done(settings, book, receipt.after(Step.MODELS, {}, models=learnt, known_since=None))
    return receipt


def pending_erasures(log: EventLog) -> list[Receipt]:
    """Erasures with steps left to do."""
    return [receipt for receipt in log.erasures().receipts() if not receipt.complete]


def erasure_ids(log: EventLog) -> frozenset[str]:
    """Every erasure so far."""
    return frozenset(receipt.receipt_id for receipt in log.erasures().receipts())


def honour_erasures(settings: Settings, log: EventLog, since: Iterable[str] | None = None) -> None:
    """For a build, which holds `offline_files`: take erased customers out of the stores.

    Without `since`, what is pending; with it, everybody who was erased after those erasures: a build that had read the
    log before would bring them back.
    """
    keep_erasures(settings, log)
    known = None if since is None else set(since)
    for receipt in log.erasures().receipts():
        book = log.erasures()
        if known is None and Step.FILES in receipt.pending:
            _files(settings, book, receipt)
        elif known is not None and receipt.receipt_id not in known:
            receipt = _online(settings, book, Begun(receipt))
            _files(settings, book, receipt)


def _online(settings: Settings, book: ErasureBook, begun: Begun) -> Receipt:
    matcher = book.matcher(begun.receipt.receipt_id)
    removed = erase_online(settings, matcher, begun.customer_ids)
    receipt = begun.receipt.after(Step.ONLINE, removed, absent={ONLINE_ROWS: _now()})
    return _done(settings, book, receipt)


def _files(settings: Settings, book: ErasureBook, receipt: Receipt) -> Receipt:
    matcher = book.matcher(receipt.receipt_id)
    removed = erase_files(settings, matcher)
    # once more: a stream that had read the customer's events before may have written their row since
    removed |= erase_online(settings, matcher)
    return _done(settings, book, receipt.after(Step.FILES, removed, absent={ONLINE_ROWS: _now()}))


def _now() -> datetime:
    """By the computer's own clock, whatever a replay says: it is the proof of something that was done."""
    return datetime.now(UTC).replace(microsecond=0)


def _done(settings: Settings, book: ErasureBook, receipt: Receipt) -> Receipt:
    book.save(receipt)
    write_receipt(settings, receipt)
    return receipt


def _learnt(models: Sequence[LearntModel], known_since: datetime | None) -> tuple[LearntModel, ...]:
    """Models whose training period ends after the customer's first event, or does not say when it ends."""
    if known_since is None:
        return ()
    return tuple(model for model in models if not model.as_of_end or utc(model.as_of_end) > known_since)


def _wait_for_stream(settings: Settings, seq: int) -> None:
    checkpoint = Checkpoint(settings)
    ends = time.monotonic() + _STREAM_WAIT_S
    try:
        while 0 < checkpoint.read() < seq and time.monotonic() < ends:
            time.sleep(0.02)
    except sqlite3.Error as error:
        logger.warning("The stream's checkpoint cannot be read (%s): online rows are removed again later.", error)
