"""Erasure, step by step and over every store: a customer's name in, a receipt out.

Each step can be done again without harm, and the log knows which are left and what was removed: an erasure that was cut
short is finished by the service's worker of erasures, by erasing the same name again, by `omni erase --finish`, or as far
as files go by the next `omni features build`. The receipt is written at the end, once every place was looked at again.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from features.clock import Clock
from features.console import Progress
from features.erasure.files import erase_files
from features.erasure.notes import NOTHING, BookNote, Note
from features.erasure.online import ONLINE_ROWS, erase_online
from features.erasure.places import left_in, look_at_all
from features.erasure.recall import recall_if_possible
from features.erasure.turns import ONLINE, WAIT_S, turn
from features.errors import StoreError
from features.log.carried import keep_erasures
from features.log.erasure import Begun, ErasureBook
from features.log.event_log import EventLog
from features.log.receipt import LearntModel, Receipt, Step, Underway, write_receipt
from features.moments import utc
from features.offline.files import offline_files
from features.online.checkpoint import Checkpoint
from features.settings import Settings

logger = logging.getLogger(__name__)

Models = Callable[[], Sequence[LearntModel]]
"""Every registered model: handed in by whoever knows the registry."""
Backups = Callable[[], Sequence[str]]
"""Every known copy of the home: handed in by whoever makes them."""

_STREAM_WAIT_S: Final = 2.0
"""How long to wait for the stream to be past the erased events, before their online rows are removed."""
_ANSWER_S: Final = 15.0
"""How long who asks for an erasure waits for others who remove online rows."""
_ATTEMPTS: Final = 3
"""How often what was found again at the end is removed again, before it is left to the next one who finishes."""

_KINDS: Final = {Step.ONLINE: "online store: ", Step.FILES: "files: "}
"""What a step removes, by how its places begin."""


def begin_erasure(settings: Settings, log: EventLog, name: str) -> Receipt | None:
    """Erase a customer, named by id or identifier, from the log and the online store; the rest is left pending.

    From here on nobody who reads the log or asks the service finds the customer. Asking again while it is under way tells
    how far it is. None where nobody has that name and nobody of that name was erased. Raises InputError for an identifier
    of several customers.
    """
    book = log.erasures()
    last_seq = log.last_seq()
    begun = book.begin(name, Clock.from_settings(settings).now())
    if begun is None:
        return None
    keep_erasures(settings, log)
    if Step.ONLINE not in begun.receipt.pending:
        return begun.receipt
    _wait_for_stream(settings, last_seq)
    return _online(settings, book, begun, _ANSWER_S)


def finish_erasure(
    settings: Settings,
    log: EventLog,
    receipt: Receipt,
    models: Models | None = None,
    progress: Progress = logger.info,
    backups: Backups = tuple,
) -> Receipt:
    """Do the steps that are left, look at every place again, and write the receipt.

    Without `models` those that learnt from the customer stay to be listed, and there is no receipt yet. Raises StoreError
    where a place still holds rows of the customer after several attempts: then their steps are left to do.
    """
    book = log.erasures()
    for _ in range(_ATTEMPTS):
        receipt = _removed(settings, book, book.receipt(receipt.receipt_id), progress)
        if not isinstance(receipt, Underway) or models is None:
            return receipt
        progress("listing models")
        learnt = _learnt(models(), receipt.known_since)
        progress("looking again")
        places = look_at_all(settings, book, receipt, backups())
        again = tuple(step for step, kind in _KINDS.items() if left_in(places, kind))
        if not again:
            return _conclude(
                settings, book, receipt.after(Step.MODELS, models=learnt).concluded(places, _now(settings, receipt))
            )
        book.change(receipt.receipt_id, lambda underway, again=again: underway.reopened(again))  # type: ignore[misc]
    raise StoreError(
        f"Rows of an erased customer come back after they were removed ({', '.join(again)}).",
        repair="Stop what writes them again. Then run: omni erase --finish",
    )


def pending_erasures(log: EventLog) -> list[Receipt]:
    """Erasures with steps left to do, the oldest first."""
    return log.erasures().pending()


def erasure_ids(log: EventLog) -> frozenset[str]:
    """Every erasure so far."""
    return frozenset(receipt.receipt_id for receipt in log.erasures().receipts())


def honour_erasures(settings: Settings, log: EventLog, since: Iterable[str] | None = None) -> None:
    """For a build, which holds `offline_files`: take erased customers out of the stores.

    Without `since`, what is pending; with it, everybody who was erased after those erasures: a build that had read the
    log before would bring them back.
    """
    if since is None:
        recall_if_possible(settings, log)
    keep_erasures(settings, log)
    known = None if since is None else set(since)
    for receipt in log.erasures().receipts():
        book = log.erasures()
        if known is None and Step.FILES in receipt.pending:
            _files(settings, book, receipt)
        elif known is not None and receipt.receipt_id not in known:
            receipt = _online(settings, book, Begun(receipt))
            _files(settings, book, receipt)


def _removed(settings: Settings, book: ErasureBook, receipt: Receipt, progress: Progress) -> Receipt:
    """Do the steps that remove."""
    if Step.ONLINE in receipt.pending:
        receipt = _online(settings, book, Begun(receipt))
    if Step.FILES in receipt.pending:
        progress("rewriting files")
        with offline_files(settings):
            receipt = book.receipt(receipt.receipt_id)
            if Step.FILES in receipt.pending:  # a build may have done it meanwhile
                receipt = _files(settings, book, receipt)
    return receipt


def _online(settings: Settings, book: ErasureBook, begun: Begun, wait_s: float = WAIT_S) -> Receipt:
    receipt_id = begun.receipt.receipt_id
    with turn(settings, ONLINE, wait_s):
        matcher = book.matcher(receipt_id)
        erase_online(settings, matcher, begun.customer_ids, _note(book, begun.receipt))
        return book.change(
            receipt_id,
            lambda underway: underway.after(Step.ONLINE, absent={ONLINE_ROWS: _now(settings, underway)}),
        )


def _files(settings: Settings, book: ErasureBook, receipt: Receipt) -> Receipt:
    matcher, note = book.matcher(receipt.receipt_id), _note(book, receipt)
    erase_files(settings, matcher, note)
    if isinstance(note, BookNote):
        note.settle(_KINDS[Step.FILES])
    with turn(settings, ONLINE):
        # once more: a stream that had read the customer's events before may have written their row since
        erase_online(settings, matcher, note=note)
        return book.change(
            receipt.receipt_id,
            lambda underway: underway.after(Step.FILES, absent={ONLINE_ROWS: _now(settings, underway)}),
        )


def _note(book: ErasureBook, receipt: Receipt) -> Note:
    return NOTHING if receipt.complete else BookNote(book, receipt.receipt_id)


def _conclude(settings: Settings, book: ErasureBook, receipt: Receipt) -> Receipt:
    """The file first: where this is cut short in between, the log still knows that there is something to do."""
    written = write_receipt(settings, receipt)
    return book.change(receipt.receipt_id, lambda _: written)


def _now(settings: Settings, receipt: Receipt) -> datetime:
    """By the clock that the erasure began by; each process that replays begins anew, and no step is before the first."""
    return max(Clock.from_settings(settings).now().replace(microsecond=0), receipt.erased_at)


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
