"""Products of a range and of sales in, scorers out: each product once, and nothing looked up that was looked up before."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from serving.fallback.popularity import Popularity
from serving.fallback.population import EVERYWHERE, Sales
from serving.products.catalogue import Catalogue
from serving.products.product_rows import ProductInfo


class Listed(Mapping[str, ProductInfo]):
    """A range of products that makes no object of any."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __getitem__(self, product_id: str) -> ProductInfo:
        raise AssertionError("a look at everybody asks for each product one by one")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def sold(*names: str) -> Sales:
    return Sales(pa.array(names, pa.string()), {EVERYWHERE: 0}, np.arange(len(names)), np.ones(len(names)))


def test_what_was_sold_and_is_in_no_table_comes_after_what_is() -> None:
    shop = Catalogue(Listed("bread", "tea"))
    first = Popularity(sold("jam", "tea"), shop)
    assert first.at().product_ids == ("bread", "tea", "jam")
    assert Popularity(sold("tea"), shop, first).at().product_ids == ("bread", "tea")


def test_the_same_products_are_looked_up_once() -> None:
    shop = Catalogue(Listed("bread", "tea"))
    first = Popularity(sold("jam", "tea"), shop)
    again = Popularity(sold("tea", "jam"), shop, first)
    assert again.at().row_of is first.at().row_of
    other = Popularity(sold("tea", "jam"), Catalogue(Listed("tea", "jam", "milk")), again)
    assert other.at().product_ids == ("tea", "jam", "milk")
