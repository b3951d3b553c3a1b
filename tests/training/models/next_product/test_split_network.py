"""The network in its halves scores what torch scores: the compiled form may be faster, never another model."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.errors import StoreError
from features.scoring.network.halves import SplitNetwork
from training.models.next_product.network import NetworkSize, NextProductNet
from training.models.next_product.onnx_export import as_arrays, export_onnx

N_ITEMS, N_KINDS, N_CHANNELS, LENGTH = 40, 5, 3, 16


def made_network(rng: np.random.Generator, **size: int) -> NextProductNet:
    torch.manual_seed(int(rng.integers(1 << 30)))
    net = NextProductNet(NetworkSize(N_ITEMS, N_KINDS, N_CHANNELS, **size), torch.zeros(N_ITEMS + 1))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    with torch.no_grad():
        for table in (net.item, net.item_bias, net.repeat):
            table.weight[0] = 0
    return net.eval()


def made_inputs(rng: np.random.Generator, n: int, filled: float) -> tuple[torch.Tensor, ...]:
    """As of `model_inputs`: events right-aligned, some of unknown products, and nothing said of these."""
    item = rng.integers(0, N_ITEMS + 1, (n, LENGTH)) * (rng.random((n, LENGTH)) < filled)
    age = np.where(item > 0, -np.sort(-rng.exponential(60, (n, LENGTH)), axis=1), 0.0)
    habit = np.stack([rng.permutation(N_ITEMS)[:LENGTH] + 1 for _ in range(n)]) * (rng.random((n, LENGTH)) < filled)
    gap = np.where(rng.random(habit.shape) < 0.5, -1.0, rng.exponential(20, habit.shape))
    weight, count = rng.exponential(2, habit.shape) * (habit > 0), rng.integers(1, 9, habit.shape) * (habit > 0)
    kind, channel = rng.integers(0, N_KINDS, item.shape), rng.integers(0, N_CHANNELS, item.shape)
    floats = (rng.exponential(60, habit.shape), gap, count)
    return tuple(
        torch.from_numpy(np.asarray(array, np.int64 if array.dtype.kind == "i" else np.float32))
        for array in (item, kind, channel, age, habit, weight, *floats)
    )


def arrays_of(net: NextProductNet) -> dict[str, np.ndarray]:
    return {name: parameter.detach().numpy() for name, parameter in net.named_parameters()}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 1 << 30),
    n=st.integers(1, 4),
    filled=st.sampled_from((0.0, 0.1, 0.8, 1.0)),
    size=st.fixed_dictionaries(
        {
            "max_length": st.sampled_from((1, 7, LENGTH, 64)),
            "n_heads": st.sampled_from((1, 4)),
            "embedding_dim": st.sampled_from((4, 8, 32)),
            "hidden_dim": st.sampled_from((5, 24)),
            "repeat_dim": st.sampled_from((1, 2)),
            "n_traces": st.sampled_from((1, 4)),
        }
    ),
)
def test_scores_are_torchs(seed: int, n: int, filled: float, size: dict[str, int]) -> None:
    rng = np.random.default_rng(seed)
    net, given_ = made_network(rng, **size), made_inputs(rng, n, filled)
    popularity = rng.normal(0, 2, N_ITEMS + 1).astype(np.float32)
    split = SplitNetwork.of(arrays_of(net), net.size.max_length)
    assert split is not None
    with torch.no_grad():
        expected = net(*given_, torch.from_numpy(popularity)).numpy()
    scores = split.scores(as_arrays(given_), popularity, split.base(popularity), N_ITEMS + 1)
    assert np.isneginf(scores[:, 0]).all()
    np.testing.assert_allclose(scores[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-4)
    one = {name: array[:1] for name, array in as_arrays(given_).items()}
    alone = split.scores(one, popularity, split.base(popularity), N_ITEMS + 1)
    np.testing.assert_allclose(alone, scores[:1], rtol=1e-5, atol=1e-5)


def test_a_network_with_blocks_is_not_split() -> None:
    assert SplitNetwork.of(arrays_of(made_network(np.random.default_rng(0), n_blocks=1)), 16) is None


def test_an_export_whose_halves_score_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    net, example = made_network(rng), made_inputs(rng, 2, 0.8)
    assert isinstance(export_onnx(net, example), onnx.ModelProto)
    base = SplitNetwork.base
    monkeypatch.setattr(SplitNetwork, "base", lambda self, popularity: base(self, popularity) + np.float32(0.01))
    with pytest.raises(StoreError, match="split network's scores differ"):
        export_onnx(net, example)
