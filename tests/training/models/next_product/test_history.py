"""How much products were bought as of a moment: the same from the feature store and from lines."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest

from features.state.event_arrays import product_code
from features.state.products import ProductStates, fold_purchases
from training.data.interactions import Interactions
from training.models.next_product.history import ProductHistory

DAY = 86_400.0
LINES = Interactions(
    customer=np.array([0, 0, 1]),
    item=np.array([1, 2, 2]),
    basket=np.array([0, 1, 2]),
    time=np.array([0.0, 3.0, 10.0]) * DAY,
    n_customers=2,
    n_items=3,
)
IDS = ("milk", "tea")


class Store:
    """A feature store of LINES, whose items are milk and tea."""

    def __init__(self) -> None:
        self.asked: list[datetime] = []

    def training_products(self, moments: Sequence[datetime]) -> list[ProductStates]:
        self.asked += moments
        pasts = [LINES.before(moment.timestamp()) for moment in moments]
        codes = np.concatenate(([0], product_code(IDS)))
        return [fold_purchases(ProductStates.empty(), codes[past.item], past.time) for past in pasts]


def test_lines_and_the_store_say_the_same() -> None:
    moments = [datetime.fromtimestamp(day * DAY, UTC) for day in (3, 10, 20)]
    store = Store()
    of_store = ProductHistory.of_store(store, IDS, moments)
    of_lines = ProductHistory.of_lines(LINES, np.array([1, 2]))

    for moment in moments:
        np.testing.assert_allclose(of_store.counts(moment.timestamp()), of_lines.counts(moment.timestamp()), rtol=1e-12)
    assert store.asked == moments  # all in one go
    assert of_lines.counts(3 * DAY)[:, 1].tolist() == pytest.approx([0.0, 2 ** (-3 / 7), 0.0])
    assert of_lines.counts(10 * DAY)[:, 1].tolist() == pytest.approx([0.0, 2 ** (-10 / 7), 0.5])
    with pytest.raises(KeyError):
        of_store.counts(4 * DAY)
