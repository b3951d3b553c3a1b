"""A product table in, how alike its products are by what is said of them out: TF-IDF of words and their parts, cosine.

Salton and Buckley 1988, Term-weighting approaches in automatic text retrieval, IPM 24(5): tf as is, idf = log(n / df), cosine.
Parts of words (three letters) make plurals and compounds alike, and products of shops whose language nobody told.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import Float32Array, FloatArray, IntArray
from serving.products.catalogue import Catalogue
from serving.products.eligibility import WITHDRAWN

MAX_SHARE: Final = 0.2
"""What more than this share of the products have tells none of them apart."""
MAX_NAMES: Final = 200_000
"""Of a larger range names are not looked at: that takes a minute and more, and each worker would hold 200 MiB."""
_WORD: Final = re.compile(r"\w+")
_PART: Final = 3
_UNTOLD: Final = frozenset({WITHDRAWN, "cost", "margin"})
"""Attributes that say nothing of what a product is."""


@dataclass(frozen=True, eq=False)
class ContentIndex:
    """Terms of V products as an inverted index: of term t the products rows[ends[t] : ends[t + 1]], each with a weight."""

    rows: IntArray  # (n,) by term
    weights: Float32Array  # (n,) of a product's row, the squares sum to one
    ends: IntArray  # (T + 1,)
    terms: IntArray  # (m,) terms by product
    term_ends: IntArray  # (V + 1,)

    def __len__(self) -> int:
        return len(self.term_ends) - 1

    def similarity(self, row: int) -> FloatArray:
        """The cosine (V,) of one product to every one; zero to all where nothing is said of it."""
        cosine = np.zeros(len(self))
        for term in self.terms[self.term_ends[row] : self.term_ends[row + 1]].tolist():
            own = slice(self.ends[term], self.ends[term + 1])
            rows, weights = self.rows[own], self.weights[own]
            cosine[rows] += weights * weights[np.searchsorted(rows, row)]  # a product has a term once
        return cosine

    @classmethod
    def of(cls, product_ids: Sequence[str], catalogue: Catalogue) -> "ContentIndex":
        """The index of products by their rows."""
        texts: dict[str, int] = {}
        counts: list[int] = []
        term_of: list[int] = []
        with_names = len(product_ids) <= MAX_NAMES
        for product_id in product_ids:
            found = {texts.setdefault(term, len(texts)) for term in _terms(catalogue, product_id, with_name=with_names)}
            counts.append(len(found))
            term_of += sorted(found)
        term, row = np.array(term_of, np.int64), np.repeat(np.arange(len(counts)), counts)
        frequency = np.bincount(term, minlength=len(texts))
        tells = (frequency > 1) & (frequency <= max(2, MAX_SHARE * len(counts)))
        idf = np.log(len(counts) / np.maximum(frequency, 1))
        norm = np.sqrt(np.bincount(row, idf[term] ** 2, len(counts)))
        kept = tells[term]
        number = np.cumsum(tells) - 1
        term, row = number[term[kept]], row[kept]
        weights = (np.append(idf[tells], 0.0)[term] / norm[row]).astype(np.float32)
        by_term = np.lexsort((row, term))
        ends = np.searchsorted(term[by_term], np.arange(int(tells.sum()) + 1))
        term_ends = np.searchsorted(row, np.arange(len(counts) + 1))
        return cls(row[by_term], weights[by_term], ends, term, term_ends)


def _terms(catalogue: Catalogue, product_id: str, *, with_name: bool) -> Iterator[str]:
    """What is said of a product: words of its name and their parts, its category, brand and attributes."""
    info = catalogue.get(product_id)
    for word in _WORD.findall((info.name or "").casefold()) if with_name else ():
        yield word
        yield from (f"~{word[start : start + _PART]}" for start in range(len(word) - _PART + 1))
    for field, value in (("category", info.category), ("brand", info.brand)):
        if value:
            yield f"{field}={value.casefold()}"
            yield from (f"{field}~{word}" for word in _WORD.findall(value.casefold()))
    for name, value in json.loads(info.attributes or "{}").items():
        if name not in _UNTOLD and isinstance(value, str):
            yield f"{name}={value.casefold()}"
