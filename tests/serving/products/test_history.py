"""What a customer bought, in words: occasions, and a usual gap only where there are two."""

import pytest

from features.state.batch import StateBatch
from features.state.event_arrays import product_code
from serving.decision.rules import ProductHistory, Rules
from serving.products.history import PurchaseHistory, product_reasons

TEA = int(product_code(["tea"])[0])


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (ProductHistory(1, None, 3.0), ["bought once", "last bought 3 days ago"]),
        (ProductHistory(2, 11.0, 12.0), ["bought 2 times", "11 days apart", "last bought 12 days ago"]),
        (ProductHistory(3, 11.0, 8.7), ["bought 3 times", "bought about every 11 days", "last bought 9 days ago"]),
        (ProductHistory(3, 11.0, 8.8), ["bought 3 times", "bought about every 11 days", "last bought 9 days ago: due"]),
        (
            ProductHistory(33, 11.0, 34.0, earlier=True),
            [
                "bought 33 times lately",
                "bought about every 11 days",
                "last bought 34 days ago: lapsed, worth a reminder",
            ],
        ),
    ],
)
def test_the_words_say_how_often_and_how_far_apart(history: ProductHistory, expected: list[str]) -> None:
    assert product_reasons(TEA, StateBatch.empty(1), PurchaseHistory({TEA: history}), Rules(), 0.0) == expected
