"""A product table in columns in, one product's facts, or many products' columns, out: a tenth of what an object each takes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, isfinite, nan
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from features.arrays import FloatArray, IntArray
from features.state.event_arrays import product_code
from features.vocabulary import Columns

_KEPT: Final = 1_000
"""Products of which an object stays at hand: what sells best is asked for again and again."""
_TEXTS: Final = (Columns.NAME, Columns.CATEGORY, Columns.BRAND, Columns.ATTRIBUTES)


@dataclass(frozen=True)
class ProductInfo:
    """What a person wants to see of a product."""

    product_id: str
    name: str | None = None
    category: str | None = None
    price: float | None = None
    brand: str | None = None
    attributes: str | None = None
    """JSON object, as in the product table."""
    available_from_s: float = -inf
    """Since when it is sold, seconds since 1970."""


@dataclass(frozen=True, eq=False)
class ProductColumns:
    """What is known of some products (V,); None, NaN or minus infinity where nothing is."""

    category: list[str | None]
    brand: list[str | None]
    attributes: list[str | None]
    price: FloatArray
    available_from_s: FloatArray

    @classmethod
    def of(cls, infos: Sequence[ProductInfo]) -> "ProductColumns":
        """The columns of products that are there one by one."""
        return cls(
            [info.category for info in infos],
            [info.brand for info in infos],
            [info.attributes for info in infos],
            np.array([nan if info.price is None else info.price for info in infos], np.float64),
            np.array([info.available_from_s for info in infos], np.float64),
        )


class ProductRows(Mapping[str, ProductInfo]):
    """The products of a table by their ids, in the table's order."""

    def __init__(self, table: pa.Table) -> None:
        """Of several rows of an id the last one counts. Raises what Arrow and numbers raise for what is no product table."""
        ids = table[Columns.PRODUCT_ID].to_pylist()
        rows = {product_id: row for row, product_id in enumerate(ids)}
        if len(rows) < len(ids):
            table, ids = table.take(list(rows.values())), list(rows)
        self._ids: pa.Array = pa.array(ids, pa.string())
        self._texts = {name: _texts(table, name) for name in _TEXTS}
        prices, moments = (_values(table, name) for name in (Columns.PRICE, Columns.AVAILABLE_FROM))
        self._price = np.array([nan if price is None or not isfinite(price) else price for price in prices], np.float64)
        self._since = np.array([-inf if since is None else since.timestamp() for since in moments], np.float64)
        self._places = Places([hash(product_id) for product_id in ids])
        self._lately = lru_cache(maxsize=_KEPT)(self._find)

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids.to_pylist())

    def __getitem__(self, product_id: str) -> ProductInfo:
        return self._lately(product_id)

    def _find(self, product_id: str) -> ProductInfo:
        for row in self._places.of(hash(product_id)):
            if self._ids[row].as_py() == product_id:
                return self._info(row)
        raise KeyError(product_id)

    def columns(self, product_ids: Sequence[str]) -> ProductColumns:
        """What the table says of these products (V,), at once."""
        row = self._rows(product_ids)
        category, brand, attributes = (
            self._texts[name].at(row) for name in (Columns.CATEGORY, Columns.BRAND, Columns.ATTRIBUTES)
        )
        price, since = (np.append(column, rest)[row] for column, rest in ((self._price, nan), (self._since, -inf)))
        return ProductColumns(category, brand, attributes, price, since)

    def _rows(self, product_ids: Sequence[str]) -> IntArray:
        """The rows of products (V,), -1 of those that are not in the table."""
        if len(product_ids) == len(self) and list(product_ids) == list(self):
            return np.arange(len(self))
        row_of = {product_id: row for row, product_id in enumerate(self)}
        return np.array([row_of.get(product_id, -1) for product_id in product_ids], np.int64)

    def _info(self, row: int) -> ProductInfo:
        price = float(self._price[row])
        name, category, brand, attributes = (self._texts[column].one(row) for column in _TEXTS)
        return ProductInfo(
            str(self._ids[row].as_py()),
            name,
            category,
            price if isfinite(price) else None,
            brand,
            attributes,
            float(self._since[row]),
        )


class IdsByCode(Mapping[int, str]):
    """The products of a table by the codes that states hold; of several with one code the last one counts."""

    def __init__(self, product_ids: Sequence[str]) -> None:
        self._ids: pa.Array = pa.array(product_ids, pa.string())
        self._places = Places(product_code(product_ids))

    def __len__(self) -> int:
        return len(set(self))

    def __iter__(self) -> Iterator[int]:
        return iter(self._places.keys.tolist())

    def __getitem__(self, code: int) -> str:
        rows = self._places.of(code)
        if not len(rows):
            raise KeyError(code)
        return str(self._ids[rows[-1]].as_py())


class Places:
    """Where whole numbers lie in a column (n,) of them, found by halves: twelve bytes each, where a dict takes a hundred."""

    def __init__(self, keys: Sequence[int] | IntArray) -> None:
        numbers = np.asarray(keys, np.int64)
        order = np.argsort(numbers, kind="stable")
        self.keys: IntArray = numbers[order]
        self._order = order.astype(np.int32)

    def of(self, key: int) -> list[int]:
        """The places of a number, in order."""
        first = int(np.searchsorted(self.keys, key))
        last = first
        while last < len(self.keys) and self.keys[last] == key:
            last += 1
        places: list[int] = self._order[first:last].tolist()
        return places


@dataclass(frozen=True, eq=False)
class _Texts:
    """A column of texts (n,), each distinct one kept once; code -1 for none."""

    words: list[Any]
    code: NDArray[np.int32]

    def one(self, row: int) -> Any:
        code = self.code[row]
        return None if code < 0 else self.words[code]

    def at(self, rows: IntArray) -> list[Any]:
        """The texts of rows, None for row -1."""
        words = [*self.words, None]
        return [words[code] for code in np.append(self.code, -1)[rows].tolist()]


def _texts(table: pa.Table, name: str) -> _Texts:
    if name not in table.column_names:
        return _Texts([], np.full(table.num_rows, -1, np.int32))
    encoded = table[name].combine_chunks().dictionary_encode()
    return _Texts(encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False))


def _values(table: pa.Table, name: str) -> list[Any]:
    return table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
