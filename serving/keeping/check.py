"""The offers of a home in; which are in force, for how many customers each is, and what in them names nothing, out."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from features.arrays import IntArray
from features.clock import Clock
from features.errors import MissingError
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.offers.offer import Offer
from features.online.many import LiveBatch
from features.settings import Settings
from features.signals import compute_signals
from serving.campaigns.customers import customer_ids, everybody, parts
from serving.decision.rules import house_rules
from serving.offers.columns import CustomerColumns
from serving.offers.house_offers import kept_offers
from serving.offers.shelf import OfferShelf
from serving.offers.standing import StandingKeeper, needs_standing
from serving.products.catalogue import Catalogue
from serving.runtime import Runtime, Watcher


@dataclass(frozen=True)
class CheckedOffer:
    """One offer."""

    offer_id: str
    in_force: bool
    eligible: int | None
    """Customers whom it may be made to now, hold-outs and rules aside; None where it is not in force."""
    unknown: tuple[str, ...] = ()
    """Products, categories, brands and stores that it names and that nobody has heard of."""


@dataclass(frozen=True)
class OfferCheck:
    """All of them."""

    customers: int
    offers: tuple[CheckedOffer, ...]
    problems: tuple[str, ...] = ()
    """Offers that cannot be made, and what is wrong with offers.toml."""


def check_all(settings: Settings, progress: Callable[[str], None] = lambda _: None) -> OfferCheck:
    """Look at every offer and, where one is in force, at every customer. Raises MissingError without a timeline or a store."""
    with closing(open_log(settings)) as log:
        kept, problem = kept_offers(settings, log)
        shelf = OfferShelf.of(kept)
        clock = Clock.from_settings(settings)
        runtime = Runtime(log=log, clock=clock, rules=house_rules(settings))
        Watcher(settings, runtime).refresh()
        current = [offer.offer_id for offer in shelf.current(clock.now().timestamp())]
        customers, counts = _count(settings, runtime, log, shelf, progress) if current else (0, np.zeros(0, np.int64))
        eligible = dict(zip(current, counts.tolist(), strict=True))
        catalogue = runtime.knowledge.catalogue
        checked = tuple(
            CheckedOffer(name, name in eligible, eligible.get(name), unknown_names(offer, catalogue))
            for name, offer in kept.offers.items()
        )
        return OfferCheck(customers, checked, (problem,) if problem else ())


def unknown_names(offer: Offer, catalogue: Catalogue) -> tuple[str, ...]:
    """What an offer names and the tables of products and of stock do not."""
    columns = catalogue.columns(catalogue.product_ids)
    categories = {(name or "").casefold() for name in columns.category}
    brands = {(name or "").casefold() for name in columns.brand}
    return (
        *(f"product {name}" for name in offer.products if name not in catalogue.by_id),
        *(f"category {name}" for name in offer.categories if name.casefold() not in categories),
        *(f"brand {name}" for name in offer.brands if name.casefold() not in brands),
        *(f"store {name}" for name in offer.store_ids if catalogue.stores and name not in catalogue.stores),
    )


def _count(
    settings: Settings, runtime: Runtime, log: EventLog, shelf: OfferShelf, progress: Callable[[str], None]
) -> tuple[int, IntArray]:
    """How many customers there are, and to how many of them each offer in force may be made (offers,)."""
    known, at_s = runtime.knowledge, runtime.clock.now().timestamp()
    ids = everybody(customer_ids(settings), settings, log).ids
    if known.states is None:
        raise MissingError(known.store_problem or "The online store is missing.", repair="Run `omni features build`.")
    keeper = StandingKeeper(settings, log, runtime.clock)
    standing = keeper.up_to_date(known.states, known.bundle) if needs_standing(shelf) else keeper.known()
    suppressed = log.suppressions().customers()
    n, counts = 0, np.zeros(len(shelf.current(at_s)), np.int64)
    for part in parts(ids):
        lives = [live for name in part if name not in suppressed and (live := known.states.get(name))]
        if lives:
            batch = LiveBatch.of(lives)
            signals = compute_signals(batch.scored, np.maximum(at_s, batch.last_event_s))
            columns = CustomerColumns(batch, signals, known.bundle, standing)
            counts += shelf.eligible_many(batch.names, columns, at_s).sum(axis=0)
            n += len(batch)
        progress(f"{n:,} of {len(ids):,} customers")
    return n, counts
