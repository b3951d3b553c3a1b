"""A source's name comes in, batches of events and products go out; one module per source."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from features.errors import InputError
from features.sources import complete_journey, online_retail_2, starbucks_offers
from features.sources.batch import PRODUCT_SCHEMA, SourceBatch

__all__ = ["PRODUCT_SCHEMA", "SOURCES", "SourceBatch", "SourceInfo", "load_source"]


@dataclass(frozen=True)
class SourceInfo:
    """A built-in source: what it is, what `--path` must name (empty: nothing), and how it is read."""

    title: str
    path_help: str
    load: Callable[[Path | None, float | None], Iterator[SourceBatch]]


SOURCES: Final[dict[str, SourceInfo]] = {
    "complete-journey": SourceInfo(
        "Grocery baskets, mailed campaigns, coupons and store promotions of 2,469 households over a year",
        "",
        complete_journey.load,
    ),
    "starbucks-offers": SourceInfo(
        "A month of offers sent over web, e-mail, app and social media (simulated by its publisher)",
        "the folder with portfolio.parquet, profile.parquet and transcript.parquet",
        starbucks_offers.load,
    ),
    "online-retail-2": SourceInfo(
        "Two years of invoices of a British web shop for gifts",
        "online_retail_II.parquet (both sheets of the published workbook)",
        online_retail_2.load,
    ),
}


def load_source(name: str, sample: float | None = None, path: Path | None = None) -> Iterator[SourceBatch]:
    """Batches of a built-in source; `sample` in (0, 1] keeps that share of the customers, the same ones each time.

    Raises InputError for an unknown name, a bad share or a path that is missing.
    """
    if name not in SOURCES:
        raise InputError(
            f"There is no source {name!r}.",
            repair=f"Use one of {', '.join(SOURCES)}, or the path of a Parquet, CSV or JSONL file.",
        )
    if sample is not None and not 0 < sample <= 1:
        raise InputError(f"The sample is {sample}.", repair="Give a share above 0 and up to 1, like 0.1.")
    info = SOURCES[name]
    if info.path_help and path is None:
        raise InputError(f"The source {name!r} needs --path.", repair=f"Pass --path with {info.path_help}.")
    return info.load(path, sample)
