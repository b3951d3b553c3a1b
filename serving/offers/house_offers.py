"""The offers in force in one home: offers.toml and the log's table come in, a shelf that every worker agrees on goes out.

Half a second after a change every worker has a new shelf; a question reads one attribute, and nothing where nothing changed.
offers.toml is brought into the log's table, once it was found the same in two looks and is valid as a whole. One that is not
changes nothing: the offers before it stay in force, and the log, `/readyz` and `omni offers check` say why.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from features.atomic import write_text
from features.errors import InputError, OmniError
from features.log.event_log import EventLog
from features.log.lists.offer_table import KeptOffers, OfferChanges
from features.offers.offer import Offer
from features.offers.reading import parse_offers
from features.online.live import LiveStates
from features.settings import OFFERS_FILE, Settings
from serving.offers.condition import compile_condition
from serving.offers.learning import ResponseLearner
from serving.offers.offered import NOTHING_OFFERED, Offered, nobody_suppressed
from serving.offers.shelf import OfferShelf
from serving.offers.standing import StandingKeeper, needs_standing
from serving.scorers.bundle import Bundle

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.5
"""How often the table and the file are looked at."""
_SETTLED: Final = "offers.digest"
"""In OMNI_HOME/run: what this home's offers.toml was when it was last put in force; a file that is gone was there once."""
_MAX_BYTES: Final = 16 * 1024 * 1024


class HouseOffers:
    """The offers of one home, followed; safe to use from several threads and processes."""

    def __init__(self, settings: Settings, log: EventLog) -> None:
        self._path = settings.home / OFFERS_FILE
        self._marker = settings.home / "run" / _SETTLED
        self._log = log
        self._learner = ResponseLearner(log)
        self._stop = threading.Event()
        self._looked: str | None = None
        self._told = ""
        self.offered: Offered = NOTHING_OFFERED
        """What questions are answered by."""
        self.problem = ""
        """What is wrong with offers.toml, or with offers that cannot be made; empty as a rule."""
        self._file_problem = ""
        self._list_version = -1
        self._turn = threading.Lock()  # the watcher of models brings the standing, this one the rest

    def begin(self) -> None:
        """Put in force what offers.toml and the table say now, as a start does. Raises OmniError where the log fails."""
        self._settle(self._digest())
        self.follow()

    def look(self) -> None:
        """Look once, and follow what changed. Raises OmniError where the log does not answer."""
        digest = self._digest()
        if digest == self._looked:
            self._settle(digest)
        self._looked = digest
        self.follow()
        self.learn()

    def learn(self, *, whole: bool = False) -> None:
        """Take in what the log tells of responses, part by part, or the `whole` of it at once."""
        counts = self._learner.up_to_date(has_offers=bool(self.shelf.offers), whole=whole)
        if counts is not self.offered.counts:
            self._swap(counts=counts)

    def watch(self, look_s: float = LOOK_S) -> Callable[[], None]:
        """Look every `look_s`, until what this answers is called."""
        thread = threading.Thread(target=self._run, args=(look_s,), name="omni-offers", daemon=True)
        thread.start()

        def end() -> None:
            self._stop.set()
            thread.join(timeout=30)

        return end

    @property
    def shelf(self) -> OfferShelf:
        """The offers that questions are answered by."""
        return self.offered.shelf

    def stand(self, keeper: StandingKeeper, states: LiveStates | None, bundle: Bundle) -> None:
        """Bring where everybody stands up to date, where any condition asks for it."""
        if states is not None and needs_standing(self.shelf):
            standing = keeper.up_to_date(states, bundle)
            if standing != self.offered.standing:
                self._swap(standing=standing)

    def _run(self, look_s: float) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                self._told = ""
            except (OmniError, OSError) as error:
                if str(error) != self._told:
                    logger.warning("The offers stay as they are: %s", error)
                self._told = str(error)
            except Exception:  # a bad moment must not be the end of looking
                logger.exception("Looking at the offers failed; it is tried again")
            self._stop.wait(look_s)

    def follow(self) -> None:
        """Have what the log keeps now. Raises OmniError where it does not answer."""
        table, names = self._log.offers(), self._log.suppressions()
        version = table.version()
        if version != self.shelf.version:
            kept = table.all()
            self._swap(shelf=OfferShelf.of(kept))
            logger.info(
                "Version %d of the offers: %d of %d can be made", version, len(self.shelf.offers), len(kept.offers)
            )
            for offer_id, why in self.shelf.problems.items():
                logger.error("The offer %s cannot be made: %s", offer_id, why)
        list_version = names.version()
        if list_version != self._list_version:
            suppressed = names.reason if list_version and names.all() else nobody_suppressed
            self._swap(suppressed=suppressed)
            self._list_version = list_version
        bad = [f"The offer {offer_id} cannot be made: {why}" for offer_id, why in self.shelf.problems.items()]
        self.problem = " ".join([*([self._file_problem] if self._file_problem else []), *bad[:3]])

    def _swap(self, **changes: Any) -> None:
        with self._turn:
            self.offered = replace(self.offered, **changes)

    def _settle(self, digest: str) -> None:
        """Bring the file into the table, where it is not there already; `digest` is of what the file holds."""
        marked = self._marker.read_text(encoding="utf-8") if self._marker.exists() else ""
        table = self._log.offers()
        if digest == marked and (not digest or table.file_digest() == digest):
            self._note("")
            return
        try:
            settle_file(self._log, self._path.read_bytes() if digest else None, self._path)
        except InputError as error:
            self._note(f"{error} Until then the offers before it stay in force.")
        except FileNotFoundError:
            return  # gone since it was looked at: the next look sees that
        else:
            self._note("")
            write_text(self._marker, digest)

    def _note(self, problem: str) -> None:
        if problem and problem != self._file_problem:
            logger.error("%s", problem)
        self._file_problem = problem

    def _digest(self) -> str:
        """Of what offers.toml holds; empty where there is none."""
        try:
            return digest_of(self._path.read_bytes())
        except FileNotFoundError:
            return ""


def settle_file(log: EventLog, content: bytes | None, path: Path) -> OfferChanges:
    """Have in the table what offers.toml holds; nothing where there is none. Raises InputError for what is not valid."""
    if content is None:
        return log.offers().settle_file([], "")
    if len(content) > _MAX_BYTES:
        raise InputError(f"{path} is larger than 16 MiB.", repair="Import so many offers: omni offers import FILE")
    read = parse_offers(content, path)
    for refused in read.refused:
        raise InputError(f"{path}, {refused.place}: {refused.reason}.", repair="Mend it.")
    for offer in read.offers:
        try:
            check_condition(offer)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    return log.offers().settle_file(read.offers, digest_of(content))


def check_condition(offer: Offer) -> None:
    """Raises InputError, with the offer's name, where its condition cannot be compiled."""
    try:
        if offer.where is not None:
            compile_condition(offer.where)
    except InputError as error:
        raise InputError(f"Offer {offer.offer_id}: {error.message}", repair=error.repair) from error


def digest_of(content: bytes) -> str:
    """What a content of the file is called."""
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def kept_offers(settings: Settings, log: EventLog) -> tuple[KeptOffers, str]:
    """The offers of a home for a command that runs by itself, the file's as it is now; and what is wrong with them."""
    house = HouseOffers(settings, log)
    house.begin()
    return log.offers().all(), house.problem
