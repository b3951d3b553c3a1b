"""The commands for what a retailer keeps up: `omni offers …` and `omni suppress …`."""

import os
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from features.console import JsonOption, emit, say, step
from features.errors import InputError, RequestError
from features.settings import Settings

if TYPE_CHECKING:
    from features.log.event_log import EventLog
    from features.log.lists.suppression_table import Suppression
    from features.offers.offer import Offer


@dataclass(frozen=True)
class Imported:
    """What came of a file of offers."""

    added: int
    changed: int
    same: int
    removed: int
    refused: tuple[str, ...]
    """Place and reason of each that was refused."""
    version: int


@dataclass(frozen=True)
class Listed:
    """The offers of a home."""

    version: int
    offers: tuple["Offer", ...]
    in_force: tuple[str, ...]
    """Ids of those that may be made now."""
    of_file: tuple[str, ...]
    """Ids of those that offers.toml owns."""

    def __rich__(self) -> Any:
        """As a table."""
        from rich.markup import escape
        from rich.table import Table

        table = Table("offer", "now", "channels", "from", "until", "for", "from file", box=None, pad_edge=False)
        for offer in self.offers:
            now = "paused" if offer.paused else "yes" if offer.offer_id in self.in_force else "no"
            channels = ", ".join(offer.channels) or "all"
            begins, ends = (_day(moment) for moment in (offer.starts_at, offer.ends_at))
            of_file = "yes" if offer.offer_id in self.of_file else ""
            table.add_row(
                escape(offer.offer_id), now, channels, begins, ends, escape(offer.where or "everybody"), of_file
            )
        return table


@dataclass(frozen=True)
class ListedNames:
    """The suppression list."""

    suppressions: tuple["Suppression", ...]

    def __rich__(self) -> Any:
        """As a table."""
        from rich.markup import escape
        from rich.table import Table

        table = Table("name", "reason", "since", box=None, pad_edge=False)
        for entry in self.suppressions:
            table.add_row(escape(entry.name), escape(entry.reason), f"{entry.added_at:%Y-%m-%d %H:%M}")
        return table


def offer_commands() -> typer.Typer:
    """The group `omni offers`."""
    group = typer.Typer(
        help="Offers: what may be said to a customer. A change counts within a second in running services."
    )
    group.command("import")(import_offers)
    group.command("list")(list_offers)
    group.command("show")(show_offer)
    group.command("remove")(remove_offers)
    group.command("check")(check_offers)
    return group


def suppress_commands() -> typer.Typer:
    """The group `omni suppress`."""
    group = typer.Typer(
        help="Whom nothing is sent to and nothing is learnt from: staff, test accounts, who asked for it."
    )
    group.command("add")(add_names)
    group.command("remove")(remove_names)
    group.command("list")(list_names)
    return group


NamesArgument = Annotated[
    list[str], typer.Argument(help="Customers' ids, or identifiers as type:value, such as email:ada@example.org.")
]
OffersArgument = Annotated[list[str], typer.Argument(help="Ids of offers.")]


def import_offers(
    file: Annotated[Path, typer.Argument(help="TOML, CSV, JSONL or Parquet.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Take out all other offers but those of offers.toml.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put the offers of a file in force, each in place of the one with its id; what cannot be read is refused and told."""
    from features.offers.reading import read_offers
    from serving.offers.house_offers import check_condition

    read = read_offers(file)
    refused, good = [f"{each.place}: {each.reason}" for each in read.refused], []
    for offer in read.offers:
        try:
            check_condition(offer)
            good.append(offer)
        except InputError as error:
            refused.append(str(error))
    if not good and refused:
        raise InputError(f"{file} holds no offer that can be used; the first: {refused[0]}", repair="Mend the file.")
    if replace and refused:
        raise InputError(
            f"{file} cannot replace all offers; refused, {refused[0]}", repair="Mend it, or leave out --replace."
        )
    with closing(_open_log(_settings())) as log:
        changes = log.offers().put(good, replace=replace)
    for words in refused:
        say(f"refused, {words}")
    emit(
        Imported(changes.added, changes.changed, changes.same, changes.removed, tuple(refused), changes.version),
        as_json,
    )


def list_offers(as_json: JsonOption = False) -> None:
    """The offers of this home, and which are in force now."""
    from features.clock import Clock
    from serving.offers.house_offers import kept_offers

    settings = _settings()
    with closing(_open_log(settings)) as log:
        kept, problem = kept_offers(settings, log)
    if problem:
        say(f"warning: {problem}")
    now = Clock.from_settings(settings).now()
    in_force = tuple(offer_id for offer_id, offer in kept.offers.items() if offer.is_current(now))
    emit(Listed(kept.version, tuple(kept.offers.values()), in_force, tuple(sorted(kept.of_file))), as_json)


def show_offer(offer_id: Annotated[str, typer.Argument(help="The offer's id.")], as_json: JsonOption = False) -> None:
    """One offer, with all of its fields."""
    from serving.offers.house_offers import kept_offers

    settings = _settings()
    with closing(_open_log(settings)) as log:
        kept, _ = kept_offers(settings, log)
    if offer_id not in kept.offers:
        raise RequestError(f"There is no offer {offer_id!r}.", repair="See: omni offers list")
    emit(kept.offers[offer_id], as_json)


def remove_offers(offer_ids: OffersArgument, as_json: JsonOption = False) -> None:
    """Take offers out; those of offers.toml are taken out of the file."""
    with closing(_open_log(_settings())) as log:
        emit({"removed": log.offers().remove(offer_ids)}, as_json)


def check_offers(as_json: JsonOption = False) -> None:
    """Which offers are in force now, how many customers each is for, and what in them names nothing that there is."""
    from serving.keeping.check import check_all

    with step("Looking at everybody") as progress:
        report = check_all(_settings(), progress)
    emit(report, as_json)


def add_names(
    names: NamesArgument,
    reason: Annotated[str, typer.Option(help="Why, such as staff: it is told where a decision is refused.")],
    as_json: JsonOption = False,
) -> None:
    """Put customers on the list: nothing is sent to them, and no report or model counts them."""
    with closing(_open_log(_settings())) as log:
        emit({"added": log.suppressions().add(names, reason)}, as_json)


def remove_names(names: NamesArgument, as_json: JsonOption = False) -> None:
    """Take names off the list."""
    with closing(_open_log(_settings())) as log:
        emit({"removed": log.suppressions().remove(names)}, as_json)


def list_names(as_json: JsonOption = False) -> None:
    """Who is on the list, why and since when; an address is shown as the log keeps it."""
    with closing(_open_log(_settings())) as log:
        emit(ListedNames(tuple(log.suppressions().all())), as_json)


def _settings() -> Settings:
    return Settings.from_env(os.environ)


def _open_log(settings: Settings) -> "EventLog":
    from features.log.engines import open_log  # not above: --help is to be quick

    return open_log(settings)


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
