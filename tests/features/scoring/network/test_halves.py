"""The network in its halves: which graphs it takes, and codes without a row; the training's tests say what it scores."""

import numpy as np
import pytest

from features.arrays import Float32Array
from features.scoring.model_inputs import INPUT_NAMES
from features.scoring.network.halves import SplitNetwork

ROWS, KINDS, CHANNELS, LENGTH = 7, 5, 3, 8
_SHAPES: dict[str, tuple[int, ...]] = {
    "popularity_weight": (),
    "habit_level": (),
    "habit_frequency": (),
    "trace_rate": (2,),
    "trace_score": (2,),
    "pool.forgetting": (2,),
    "item.weight": (ROWS, 4),
    "item_bias.weight": (ROWS, 1),
    "repeat.weight": (ROWS, 3),
    "kind.weight": (KINDS, 4),
    "channel.weight": (CHANNELS, 4),
    "trace_kind.weight": (KINDS, 2),
    "trace_channel.weight": (CHANNELS, 2),
    "context.weight": (6, 4),
    "time.weight": (4, 2),
    "time.bias": (4,),
    "pool.relevance.weight": (2, 4),
    "pool.relevance.bias": (2,),
    "pool.mix.weight": (4, 8),
    "pool.mix.bias": (4,),
    "summary.2.weight": (4, 4),
    "summary.2.bias": (4,),
    "habit_in.weight": (6, 17),
    "habit_in.bias": (6,),
    "habit_out.1.weight": (6, 6),
    "habit_out.1.bias": (6,),
    "habit_out.3.weight": (1, 6),
    "habit_out.3.bias": (1,),
}


def arrays() -> dict[str, Float32Array]:
    rng = np.random.default_rng(0)
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in _SHAPES.items()}


def inputs(n: int = 1) -> dict[str, np.ndarray]:
    ints = ("item", "kind", "channel", "habit_item")
    return {name: np.ones((n, LENGTH), np.int64 if name in ints else np.float32) for name in INPUT_NAMES}


def network() -> SplitNetwork:
    found = SplitNetwork.of(arrays(), max_length=6)
    assert found is not None
    return found


@pytest.mark.parametrize("name", _SHAPES)
def test_a_graph_of_another_kind_is_not_split(name: str) -> None:
    made = arrays()
    less = {other: array for other, array in made.items() if other != name}
    assert SplitNetwork.of(less, 6) is None
    assert SplitNetwork.of(made | {"blocks.0.qkv.weight": made[name]}, 6) is None
    assert SplitNetwork.of(made | {name: made[name][None]}, 6) is None


@pytest.mark.parametrize("name", [name for name, shape in _SHAPES.items() if shape and name != "item.weight"])
def test_arrays_that_do_not_fit_together_are_not_split(name: str) -> None:
    longer = np.concatenate((arrays()[name],) * 2)
    assert SplitNetwork.of(arrays() | {name: longer}, 6) is None


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
