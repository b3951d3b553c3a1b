"""Tastes by hand: shares of what was bought, against everybody's, and what is bought most."""

import numpy as np
import pytest

from features.attributes.tastes import ProductGroups, Tastes

GROUPS = ProductGroups.of(
    ["w1", "w2", "c1", "x"],
    ["WINE", "WINE", "CHEESE", None],
    lambda ids: np.array([ord(i[0]) * 10 + len(i) for i in ids]),
)


def codes(*ids: str) -> np.ndarray:
    return np.array([ord(i[0]) * 10 + len(i) for i in ids])


TASTES = Tastes.of(
    np.array([0, 0, 1, 1, 2]), codes("w1", "c1", "c1", "x", "x"), np.array([3.0, 1.0, 4.0, 9.0, 1.0]), 4, GROUPS
)
"""Three of wine and one of cheese; four of cheese; somebody who bought what is in no category; and nobody."""


def test_shares_are_of_what_is_in_a_category() -> None:
    np.testing.assert_array_equal(TASTES.share("WINE"), [0.75, 0.0, np.nan, np.nan])
    np.testing.assert_array_equal(TASTES.population, [5 / 8, 3 / 8])  # cheese, wine


def test_an_affinity_is_against_everybody_and_careful_with_few_purchases() -> None:
    wine = TASTES.affinity("WINE")
    assert wine[0] == pytest.approx((3 / (3 / 8) + 3) / (4 + 3))
    assert wine[1] == pytest.approx(3 / 7)
    assert np.isnan(wine[2:]).all()


def test_what_is_bought_most() -> None:
    names, share, affinity = TASTES.top()
    assert names == ["WINE", "CHEESE", None, None]
    np.testing.assert_array_equal(share, [0.75, 1.0, np.nan, np.nan])
    assert affinity[:2].tolist() == pytest.approx([11 / 7, (4 / (5 / 8) + 3) / 7])


def test_no_products_and_a_name_of_no_group() -> None:
    nothing = Tastes.of(
        np.array([0]), codes("w1"), np.ones(1), 1, ProductGroups.of([], [], lambda _: np.empty(0, np.int64))
    )
    assert nothing.top()[0] == [None]
    with pytest.raises(KeyError):
        TASTES.share("BEER")
