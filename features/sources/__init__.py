"""A source's name comes in, batches of events and products go out; one module per source."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from features.errors import InputError
from features.formats import FORMATS
from features.sources import complete_journey, online_retail_2, starbucks_offers
from features.sources.batch import PRODUCT_SCHEMA, SourceBatch
from features.sources.mapping import load_mapped
from features.sources.mapping_config import JoinSpec
from features.sources.providers import contacts, orders, shopify_orders, tool_records
from features.sources.providers.shopify_lines import Landed, nothing_landed

__all__ = ["PRODUCT_SCHEMA", "SOURCES", "SourceBatch", "SourceInfo", "SourceRequest", "load_source"]


@dataclass(frozen=True)
class SourceRequest:
    """What somebody asks of a source: where its files lie, a share of the customers, their own mapping, a second file."""

    path: str | None = None
    sample: float | None = None
    mapping: Path | None = None
    join: JoinSpec | None = None
    landed: Landed = nothing_landed
    """What has come in before: of the beginning of an id, the ids that begin so and their values."""


@dataclass(frozen=True)
class SourceInfo:
    """A built-in source: what it is, what `--path` must name (empty: nothing), and how it is read.

    `takes` names what it understands beside the path: mapping, join. `rules` is the shop's own rules.toml, beside this file.
    """

    title: str
    path_help: str
    load: Callable[[SourceRequest], Iterator[SourceBatch]]
    takes: frozenset[str] = frozenset()
    rules: str = ""


def _of_path(
    load: Callable[[Path | None, float | None], Iterator[SourceBatch]],
) -> Callable[[SourceRequest], Iterator[SourceBatch]]:
    """A source that knows nothing but its path and a share."""
    return lambda request: load(None if request.path is None else Path(request.path), request.sample)


def _of_records(name: str) -> SourceInfo:
    """A source of another tool's records, which come in live as well (features/formats)."""
    return SourceInfo(
        f"Files of {FORMATS[name].title}",
        "the file or folder with them",
        lambda request: tool_records.load(name, request.path, request.sample),
    )


def _load_contacts(request: SourceRequest) -> Iterator[SourceBatch]:
    if request.mapping is not None:
        return load_mapped(request.path or "", request.mapping, request.sample)
    return contacts.load(request.path, request.sample)


SOURCES: Final[dict[str, SourceInfo]] = {
    "complete-journey": SourceInfo(
        "Grocery baskets, mailed campaigns, coupons and store promotions of 2,469 households over a year",
        "",
        _of_path(complete_journey.load),
        rules="complete_journey_rules.toml",
    ),
    "starbucks-offers": SourceInfo(
        "A month of offers sent over web, e-mail, app and social media (simulated by its publisher)",
        "the folder with portfolio.parquet, profile.parquet and transcript.parquet",
        _of_path(starbucks_offers.load),
    ),
    "online-retail-2": SourceInfo(
        "Two years of invoices of a British web shop for gifts",
        "online_retail_II.parquet (both sheets of the published workbook)",
        _of_path(online_retail_2.load),
    ),
    "shopify-orders": SourceInfo(
        "Orders as Shopify exports them: purchases and returns, a line each",
        "the CSV file, or the folder or zip of its parts",
        lambda request: shopify_orders.load(request.path, request.sample, request.landed),
    ),
    "ga4": _of_records("ga4"),
    "segment": _of_records("segment"),
    "messages": _of_records("messages"),
    "contacts": SourceInfo(
        "People and what they agreed to, as CRMs and newsletter tools export them",
        "the list",
        _load_contacts,
        frozenset({"mapping"}),
    ),
    "orders": SourceInfo(
        "Orders with their lines, in two files or one inside the other, told by the names of their columns",
        "the file of lines, or of orders that hold their lines",
        lambda request: orders.load(request.path, request.sample, request.mapping, request.join),
        frozenset({"mapping", "join"}),
    ),
}


def load_source(
    name: str,
    sample: float | None = None,
    path: str | Path | None = None,
    mapping: Path | None = None,
    join: JoinSpec | None = None,
    landed: Landed = nothing_landed,
) -> Iterator[SourceBatch]:
    """Batches of a built-in source; `sample` in (0, 1] keeps that share of the customers, the same ones each time.

    Raises InputError for an unknown name, a bad share, a path that is missing, and for what the source does not understand.
    """
    if name not in SOURCES:
        raise InputError(
            f"There is no source {name!r}.",
            repair=f"Use one of {', '.join(SOURCES)}, or the path of a file or folder.",
        )
    if sample is not None and not 0 < sample <= 1:
        raise InputError(f"The sample is {sample}.", repair="Give a share above 0 and up to 1, like 0.1.")
    info = SOURCES[name]
    if info.path_help and path is None:
        raise InputError(f"The source {name!r} needs --path.", repair=f"Pass --path with {info.path_help}.")
    for option, value in (("mapping", mapping), ("join", join)):
        if value is not None and option not in info.takes:
            raise InputError(
                f"{name!r} is a built-in source.", repair=f"Leave --{option} out; it is for your own files."
            )
    return info.load(SourceRequest(None if path is None else str(path), sample, mapping, join, landed))
