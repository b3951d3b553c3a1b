"""Shares of an order's discount: to the cent, and nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.formats.money import net_values, order_discount

CENTS = st.integers(0, 100_000).map(lambda cents: cents / 100)


def test_the_last_line_takes_the_rest() -> None:
    assert net_values([10.0, 10.0, 10.0], 10.0) == [6.67, 6.67, 6.66]
    assert net_values([5.0, 0.0], 5.0) == [0.0, 0.0]
    assert net_values([5.0], 9.0) == [0.0]
    assert net_values([0.0, 0.0], 1.0) == [0.0, 0.0]


@given(lines=st.lists(CENTS, min_size=1, max_size=20), share=st.floats(0, 1))
def test_lines_add_up_to_the_order(lines: list[float], share: float) -> None:
    off = round(sum(lines) * share, 2)
    assert sum(net_values(lines, off)) == pytest.approx(sum(lines) - off, abs=1e-6)


@pytest.mark.parametrize(
    ("lines", "stated", "total", "expected"),
    [
        ([40.0, 25.0], 6.5, 58.5, 6.5),
        ([36.0, 9.0], 5.0, 45.0, 0.0),  # prices after the discount
        ([40.0], 4.9, 40.0, 0.0),  # a discount of the shipping
        ([40.0], 4.0, None, 4.0),
        ([40.0], 0.0, 44.0, 0.0),
    ],
)
def test_the_total_of_the_goods_settles_the_discount(
    lines: list[float], stated: float, total: float | None, expected: float
) -> None:
    assert order_discount(lines, stated, total) == pytest.approx(expected)
