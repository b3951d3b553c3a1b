"""What a question allows and what is known of products in, which products may be answered out; pure.

Every way to a product (ranking, decision, exploration) goes through the one mask that `allowed_products` makes.
"""

import json
import math
import sys
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.arrays import BoolArray, FloatArray, IntArray
from features.state.event_arrays import product_code
from serving.decision.never import COST, MARGIN, NOTHING_TO_ADVERTISE, Never
from serving.decision.rules import Rules, is_due
from serving.products.catalogue import Catalogue
from serving.products.history import PurchaseHistory
from serving.products.product_rows import ProductColumns
from serving.schemas import Narrowing, ProductFilter

WITHDRAWN: Final = "withdrawn"
"""The attribute that takes a product out of every answer where it is true."""


@dataclass(frozen=True, eq=False)
class ProductTable:
    """What the catalogue knows of `product_ids`, one array entry each, so that a rule is one comparison."""

    product_ids: tuple[str, ...]
    catalogue: Catalogue

    def __len__(self) -> int:
        return len(self.product_ids)

    @cached_property
    def category(self) -> NDArray[np.object_]:
        """Category in small letters, '' where unknown (V,)."""
        return self._text(self._columns.category)

    @cached_property
    def brand(self) -> NDArray[np.object_]:
        """Brand in small letters, '' where unknown (V,)."""
        return self._text(self._columns.brand)

    @property
    def price(self) -> FloatArray:
        """Price, NaN where unknown (V,)."""
        return self._columns.price

    @property
    def available_from_s(self) -> FloatArray:
        """Since when the product is sold, seconds since 1970; minus infinity where unknown (V,)."""
        return self._columns.available_from_s

    @cached_property
    def beginnings(self) -> FloatArray:
        """The moments from which on another product is sold, in order."""
        return np.unique(self.available_from_s[np.isfinite(self.available_from_s)])

    def has(self, attribute: str, value: str) -> BoolArray:
        """Whose attribute of that name is `value`, in small letters (V,)."""
        values = self._attributes.get(attribute)
        return np.zeros(len(self), np.bool_) if values is None else np.asarray(values == value, np.bool_)

    def numbers(self, attribute: str) -> FloatArray:
        """The attribute of that name as a number, NaN where there is none (V,)."""
        values = self._attributes.get(attribute)
        return np.full(len(self), math.nan) if values is None else np.array(list(map(_number, values)), np.float64)

    @cached_property
    def withdrawn(self) -> BoolArray:
        """Taken off the range (V,)."""
        return self.has(WITHDRAWN, "true")

    @cached_property
    def row_of_id(self) -> dict[str, int]:
        """Product id to column."""
        return {product_id: row for row, product_id in enumerate(self.product_ids)}

    @cached_property
    def row_of_code(self) -> dict[int, int]:
        """The code that states hold of a product, to column."""
        return {code: row for row, code in enumerate(product_code(self.product_ids).tolist())}

    def refused(self, never: Never) -> BoolArray:
        """What is never advertised (V,)."""
        mask = np.zeros(len(self), np.bool_)
        if never.categories:
            mask |= np.isin(self.category, [name.casefold() for name in never.categories])
        if never.brands:
            mask |= np.isin(self.brand, [name.casefold() for name in never.brands])
        for product_id in never.products:
            if product_id in self.row_of_id:
                mask[self.row_of_id[product_id]] = True
        for name, values in never.attributes.items():
            for value in values:
                mask |= self.has(name, value.casefold())
        if never.min_price is not None:
            mask |= self.price < never.min_price  # NaN is not less
        if never.min_margin is not None:
            mask |= self.margin < never.min_margin
        return mask

    @cached_property
    def margin(self) -> FloatArray:
        """The margin as a share of the price, NaN where neither it nor price and cost are known (V,)."""
        priced = np.where(self.price > 0, self.price, math.nan)
        own = self.numbers(MARGIN)
        return np.where(np.isnan(own), 1.0 - self.numbers(COST) / priced, own)

    def in_stock(self, store_id: str | None) -> BoolArray:
        """Where units are known, at least one (V,).

        Online (None) and in a store without any stock record an unlisted product counts as there; in a store that has
        records an unlisted product is not sold.
        """
        units = self.catalogue.stock.get(store_id)
        if units is None:
            return np.ones(len(self), dtype=np.bool_)
        unlisted = 1.0 if store_id is None else 0.0
        return np.array([units.get(product_id, unlisted) > 0 for product_id in self.product_ids], dtype=np.bool_)

    @cached_property
    def _columns(self) -> ProductColumns:
        return self.catalogue.columns(self.product_ids)

    @cached_property
    def _attributes(self) -> dict[str, NDArray[np.object_]]:
        """Values as small text (V,) by the attribute's name, None where a product has none; each text is read and kept once."""
        read: dict[str | None, list[tuple[str, str]]] = {None: []}
        found: dict[str, NDArray[np.object_]] = {}
        for row, text in enumerate(self._columns.attributes):
            if text not in read:
                pairs = json.loads(text or "{}").items()
                read[text] = [(sys.intern(name), sys.intern(str(value).casefold())) for name, value in pairs]
            for name, value in read[text]:
                if name not in found:
                    found[name] = np.full(len(self), None, dtype=object)
                found[name][row] = value
        return found

    def _text(self, values: Sequence[str | None]) -> NDArray[np.object_]:
        small = {value: (value or "").casefold() for value in set(values)}
        return np.array([small[value] for value in values], dtype=object)


_TABLES: Final[deque[ProductTable]] = deque(maxlen=4)


def product_table(product_ids: tuple[str, ...], catalogue: Catalogue) -> ProductTable:
    """The table of a model's products, made once per model and catalogue."""
    for table in tuple(
        _TABLES
    ):  # by which tuple it is: to compare or to hash all ids takes longer than a decision's rules
        if table.product_ids is product_ids and table.catalogue is catalogue:
            return table
    table = ProductTable(product_ids, catalogue)
    _TABLES.appendleft(table)
    return table


@lru_cache(maxsize=64)
def sellable(table: ProductTable, store_id: str | None, never: Never = Never()) -> BoolArray:  # noqa: B008 (frozen)
    """Neither withdrawn nor out of stock nor what is never advertised (V,); must not be written to.

    Made once for a catalogue and a version of the rules, and not for each question.
    """
    mask = table.in_stock(store_id) & ~table.withdrawn
    if not never.is_empty:
        mask &= ~table.refused(never)
    mask.flags.writeable = False
    return mask


def nothing_to_advertise(table: ProductTable, never: Never) -> str | None:
    """Why no product may be advertised at all, in words; None where some may, and where there are none."""
    if never.is_empty or not _refuses_all(table, never):
        return None
    return f"{NOTHING_TO_ADVERTISE}: [never] in rules.toml rules out all {len(table):,} products"


@lru_cache(maxsize=64)
def _refuses_all(table: ProductTable, never: Never) -> bool:
    return bool(len(table)) and bool(table.refused(never).all())


@lru_cache(maxsize=64)
def _begun(table: ProductTable, store_id: str | None, n_begun: int, never: Never) -> BoolArray:
    """What of the sellable is sold by now (V,), the same until the next product's first day; must not be written to."""
    since = table.beginnings[n_begun - 1] if n_begun else -math.inf
    mask = sellable(table, store_id, never) & (table.available_from_s <= since)
    mask.flags.writeable = False
    return mask


def narrowed_products(table: ProductTable, wanted: Narrowing, rules: Rules, as_of_s: float) -> BoolArray:
    """Which products are sold at a moment and are what a question wants (V,), whoever asks."""
    n_begun = int(np.searchsorted(table.beginnings, as_of_s, side="right"))
    allowed = _begun(table, wanted.store_id, n_begun, rules.never).copy()
    if wanted.categories:
        allowed &= np.isin(table.category, [name.casefold() for name in wanted.categories])
    if wanted.brands:
        allowed &= np.isin(table.brand, [name.casefold() for name in wanted.brands])
    if wanted.min_price is not None:
        allowed &= table.price >= wanted.min_price
    if wanted.max_price is not None:
        allowed &= table.price <= wanted.max_price
    for name, value in wanted.attributes.items():
        allowed &= table.has(name, value.casefold())
    allowed[[table.row_of_id[name] for name in wanted.exclude if name in table.row_of_id]] = False
    return allowed


def allowed_products(
    table: ProductTable,
    wanted: ProductFilter,
    histories: PurchaseHistory,
    exclude_recent_days: float,
    rules: Rules,
    as_of_s: float,
    resting: Collection[int] = (),
) -> BoolArray:
    """Which products may be answered (V,); `histories` are the customer's purchases, `resting` codes of products that rest."""
    allowed = narrowed_products(table, wanted, rules, as_of_s)
    forbidden: list[int] = []
    if wanted.rebuys != "any":
        bought = histories.all
    else:
        bought = histories.within(exclude_recent_days) if exclude_recent_days > 0 else {}
    for code, history in bought.items():
        too_soon = history.last_days < exclude_recent_days
        if too_soon or wanted.rebuys == "never" or (wanted.rebuys == "due" and not is_due(history, rules)):
            forbidden += [table.row_of_code[code]] if code in table.row_of_code else []
    forbidden += [table.row_of_code[code] for code in resting if code in table.row_of_code]
    allowed[forbidden] = False
    return allowed


def rows_among(table: ProductTable, product_ids: Collection[str]) -> BoolArray:
    """Which products (V,) are among the caller's own."""
    among = np.zeros(len(table), np.bool_)
    among[[table.row_of_id[name] for name in product_ids if name in table.row_of_id]] = True
    return among


def allowed_to_all(
    table: ProductTable, wanted: ProductFilter, rules: Rules, as_of_s: FloatArray
) -> Iterator[tuple[IntArray, BoolArray]]:
    """Rows of the n customers of `as_of_s` (n,), and the products that the same of may be answered to all of them (V,).

    They differ by the first days of products that lie between their moments; by what each bought only where `wanted` says so.
    """
    assert wanted.rebuys == "any", "else what may be answered is another for each customer"
    begun = np.searchsorted(table.beginnings, as_of_s, side="right")
    for n_begun in np.unique(begun).tolist():
        rows = np.flatnonzero(begun == n_begun)
        yield rows, allowed_products(table, wanted, PurchaseHistory({}), 0.0, rules, float(as_of_s[rows[0]]))


def _number(value: str | None) -> float:
    try:
        number = math.nan if value is None else float(value)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
