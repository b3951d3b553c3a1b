"""The network in its halves: which graphs it takes, and codes without a row; the training's tests say what it scores."""

import numpy as np
import pytest
from made_network import N_CHANNELS, N_KINDS, network_arrays, network_shapes

from features.scoring.model_inputs import INPUT_NAMES
from features.scoring.network.halves import SplitNetwork

ROWS, KINDS, CHANNELS, LENGTH = 7, N_KINDS, N_CHANNELS, 8
SHAPES = network_shapes(ROWS)


def inputs(n: int = 1) -> dict[str, np.ndarray]:
    ints = ("item", "kind", "channel", "habit_item")
    return {name: np.ones((n, LENGTH), np.int64 if name in ints else np.float32) for name in INPUT_NAMES}


def network() -> SplitNetwork:
    found = SplitNetwork.of(network_arrays(ROWS), max_length=6)
    assert found is not None
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_a_graph_of_another_kind_is_not_split(name: str) -> None:
    made = network_arrays(ROWS)
    less = {other: array for other, array in made.items() if other != name}
    assert SplitNetwork.of(less, 6) is None
    assert SplitNetwork.of(made | {"blocks.0.qkv.weight": made[name]}, 6) is None
    assert SplitNetwork.of(made | {name: made[name][None]}, 6) is None


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape and name != "item.weight"])
def test_arrays_that_do_not_fit_together_are_not_split(name: str) -> None:
    longer = np.concatenate((network_arrays(ROWS)[name],) * 2)
    assert SplitNetwork.of(network_arrays(ROWS) | {name: longer}, 6) is None


@pytest.mark.parametrize(
    ("name", "code"), [("item", ROWS), ("item", -1), ("kind", KINDS), ("channel", CHANNELS), ("habit_item", ROWS)]
)
def test_a_code_without_a_row_is_an_error_and_no_other_memory(name: str, code: int) -> None:
    asked = inputs()
    asked[name][0, 3] = code
    with pytest.raises(IndexError, match="has no row in the network"):
        network().customers(asked, np.zeros(ROWS, np.float32))


def test_rows_that_no_product_has_yet_get_no_score_and_do_no_harm() -> None:
    asked, net, popularity = inputs(2), network(), np.arange(ROWS, dtype=np.float32)
    asked["item"][:, 2], asked["habit_item"][:, 4] = ROWS - 1, ROWS - 2
    whole = net.scores(asked, popularity, net.base(popularity), ROWS)
    some = net.scores(asked, popularity, net.base(popularity), ROWS - 3)
    assert some.shape == (2, ROWS - 3)
    np.testing.assert_allclose(some, whole[:, : ROWS - 3], atol=1e-6)
