"""The product table in, a product's name, category and price out."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from features.errors import InputError, StoreError, UnknownStoreError
from features.ids import with_text_ids
from features.scoring.popularity import ProductFacts
from features.vocabulary import Columns
from serving.products.product_rows import IdsByCode, ProductColumns, ProductInfo, ProductRows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All products, by id and by the code that states hold; `stock` is units by product for each store, None: online."""

    by_id: Mapping[str, ProductInfo] = field(default_factory=dict)
    id_by_code: Mapping[int, str] = field(default_factory=dict)
    stock: Mapping[str | None, Mapping[str, float]] = field(default_factory=dict)

    @cached_property
    def product_ids(self) -> tuple[str, ...]:
        """Every product, in the table's order."""
        return tuple(self.by_id)

    @cached_property
    def stores(self) -> frozenset[str]:
        """Every store of which there is a record of stock; empty where none was ever given."""
        return frozenset(store_id for store_id in self.stock if store_id is not None)

    def check_store(self, store_id: str | None) -> None:
        """Raises UnknownStoreError for a store of which there is no record, where there are records of any."""
        if store_id is not None and self.stores and store_id not in self.stores:
            raise UnknownStoreError(
                f"The store {store_id!r} is not known: no record of stock names it.",
                repair="Leave store_id out for what is sold online, or bring its stock (PUT /v1/stock).",
            )

    @cached_property
    def facts(self) -> ProductFacts:
        """What models want to know of the products."""
        columns = self.columns(self.product_ids)
        return ProductFacts(self.product_ids, columns.category, columns.brand, columns.price)

    def columns(self, product_ids: Sequence[str]) -> ProductColumns:
        """What is known of products, at once."""
        if isinstance(self.by_id, ProductRows):
            return self.by_id.columns(product_ids)
        return ProductColumns.of([self.get(product_id) for product_id in product_ids])

    def get(self, product_id: str) -> ProductInfo:
        """What is known of a product; for an unknown one only its id."""
        return self.by_id.get(product_id) or ProductInfo(product_id)

    def by_code(self, code: int) -> ProductInfo | None:
        """The product behind a state's code; None where it is not in the table."""
        product_id = self.id_by_code.get(code)
        return None if product_id is None else self.by_id[product_id]


def load_catalogue(path: Path, stock: Path | None = None) -> Catalogue:
    """Read the product table (PRODUCT_SCHEMA) and, where there is one, the stock; empty where there is no file.

    Raises StoreError for a file that cannot be used.
    """
    units = {} if stock is None else load_stock(stock)
    if not path.exists():
        return Catalogue(stock=units)
    with _in_words(path):
        table = pq.ParquetFile(path, page_checksum_verification=True).read(use_threads=False)
        return _catalogue(with_text_ids(table, (Columns.PRODUCT_ID,)), units)


def _catalogue(table: pa.Table, units: Mapping[str | None, Mapping[str, float]]) -> Catalogue:
    rows = ProductRows(table)
    logger.info("%d products in the catalogue", len(rows))
    return Catalogue(rows, IdsByCode(list(rows)), units)


def load_stock(path: Path) -> dict[str | None, dict[str, float]]:
    """Units by store (None: online) and product, from Parquet with product_id, store_id, units and as_of.

    Of several rows the one with the newest as_of counts. Raises StoreError for a file that cannot be used.
    """
    if not path.exists():
        return {}
    found: dict[str | None, dict[str, float]] = {}
    with _in_words(path):
        columns = [Columns.PRODUCT_ID, Columns.STORE_ID, "units", "as_of"]
        table = pq.read_table(path, columns=columns, page_checksum_verification=True).sort_by("as_of")
        table = with_text_ids(table, (Columns.PRODUCT_ID, Columns.STORE_ID))
        rows = (table[name].to_pylist() for name in (Columns.STORE_ID, Columns.PRODUCT_ID, "units"))
        for store_id, product_id, units in zip(*rows, strict=True):
            if not isfinite(float(units)):
                raise ValueError(f"{product_id} has {units} units")
            found.setdefault(store_id, {})[product_id] = float(units)
    return found


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Turn what a file may be into one error: no Parquet, half of it, without a column, with nothing where a number belongs."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError, AttributeError, InputError) as error:
        # AttributeError: a number for a moment
        said = next(iter(str(error).splitlines()), type(error).__name__)  # Arrow goes on with all it knows of the file
        raise StoreError(
            f"{path} cannot be used ({said}).",
            repair="Write it anew, under another name first that is then changed to this one, so that nobody reads half.",
        ) from error
