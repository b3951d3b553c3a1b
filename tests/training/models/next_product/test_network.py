"""The network: shapes, padding, point of departure, sampled loss against the full one, and the exported file."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from features.scoring.model_inputs import INPUT_NAMES
from features.scoring.next_product import POPULARITY_NAME, network_scores, open_session
from training.models.next_product.loss import (
    BatchTargets,
    CandidateSampler,
    PopularityAt,
    SharedCandidates,
    sampled_softmax_loss,
)
from training.models.next_product.network import NetworkSize, NextProductNet
from training.models.next_product.onnx_export import as_arrays, export_onnx

N_ITEMS, LENGTH = 12, 8


def network(seed: int = 0, n_blocks: int = 0, disturbed: bool = True) -> NextProductNet:
    torch.manual_seed(seed)
    size = NetworkSize(N_ITEMS, n_kinds=5, n_channels=3, max_length=6, embedding_dim=8, n_blocks=n_blocks, dropout=0.0)
    net = NextProductNet(size, torch.cat((torch.zeros(1), torch.linspace(-1, 1, N_ITEMS))))
    if disturbed:
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        with torch.no_grad():
            for table in (net.item, net.item_bias, net.repeat):
                table.weight[0] = 0
    return net.eval()


def inputs(batch: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    item = rng.integers(0, N_ITEMS + 1, (batch, LENGTH))
    age = -np.sort(-rng.uniform(0, 90, (batch, LENGTH)), axis=1)
    habit = np.stack([rng.permutation(np.arange(1, N_ITEMS + 1))[:LENGTH] for _ in range(batch)])
    habit[:, :3] = 0
    floats = [rng.uniform(0, 5, (batch, LENGTH)) for _ in range(4)]
    whole = [item, rng.integers(0, 5, item.shape), rng.integers(0, 3, item.shape)]
    arrays = [*whole, age, habit, *floats]
    return tuple(torch.from_numpy(a) if a.dtype.kind == "i" else torch.from_numpy(a).float() for a in arrays)


def nothing(batch: int) -> tuple[torch.Tensor, ...]:
    return tuple(torch.zeros_like(part) for part in inputs(batch))


def test_scores_every_product_and_never_the_padding() -> None:
    scores = network()(*inputs(3))
    assert scores.shape == (3, N_ITEMS + 1)
    assert torch.isneginf(scores[:, 0]).all()
    assert torch.isfinite(scores[:, 1:]).all()


def test_a_customer_of_whom_nothing_is_known_gets_what_is_popular() -> None:
    scores = network(disturbed=False)(*nothing(1))[0, 1:]
    assert scores.argmax() == N_ITEMS - 1
    assert torch.isfinite(scores).all()


def test_an_unfitted_network_ranks_habits_by_decayed_frequency_above_all_else() -> None:
    given = list(nothing(1))
    given[4] = torch.tensor([[0, 0, 0, 0, 0, 3, 1, 2]])
    given[5] = torch.tensor([[0, 0, 0, 0, 0, 1.0, 2.5, 0.7]])
    order = network(disturbed=False)(*given)[0].argsort(descending=True)
    assert order[:4].tolist() == [1, 3, 2, N_ITEMS]


@pytest.mark.parametrize("n_blocks", [0, 1])
def test_padding_and_events_beyond_the_newest_change_nothing(n_blocks: int) -> None:
    net, given = network(n_blocks=n_blocks), list(inputs(2))
    given[0][:, :4] = 0
    expected = net(*given)
    given[1] = given[1].clone()
    given[1][:, :4] = 4
    given[2] = given[2].clone()
    given[2][:, :4] = 2
    torch.testing.assert_close(net(*given), expected)
    given = list(inputs(2))
    expected = net(*given)
    given[0] = given[0].clone()
    given[0][:, :2] = 7
    torch.testing.assert_close(net(*given), expected)


def test_the_order_of_habits_does_not_matter() -> None:
    net, given = network(), list(inputs(2))
    turned = given[:4] + [part.flip(1) for part in given[4:]]
    torch.testing.assert_close(net(*turned), net(*given))


def test_no_event_sees_what_comes_later() -> None:
    net, given = network(n_blocks=2), [part[:, 2:] for part in inputs(1)[:4]]
    changed = [part.clone() for part in given]
    for part in changed[:3]:
        part[0, -1] = 1 if part[0, -1] != 1 else 2
    one, two = net.read(*given)[2], net.read(*changed)[2]
    torch.testing.assert_close(one[:, :-1], two[:, :-1])
    assert not torch.allclose(one[:, -1], two[:, -1])


def test_the_loss_of_next_items_is_the_softmax_over_what_is_new_to_the_customer() -> None:
    net = network(n_blocks=1)
    item = torch.tensor([[0, 0, 3, 5, 3, 8]])
    blank = torch.zeros_like(item)
    events = (item, blank, blank, blank.float())
    habits = (blank, *(blank.float() for _ in range(4)))
    popularity = PopularityAt(net.log_popularity.unsqueeze(0), torch.zeros(1, dtype=torch.int64))
    everything = SharedCandidates(torch.arange(1, N_ITEMS + 1), torch.zeros(N_ITEMS))
    nobody = BatchTargets(torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), torch.empty(0))
    found = sampled_softmax_loss(net, (*events, *habits), popularity, nobody, everything, sequence_weight=1.0)
    states = net.read(*events)[2]
    scores = states @ net.item.weight.T + net.item_bias.weight.T + net.popularity_weight * net.log_popularity
    losses = []
    for place, wanted in ((2, 5), (4, 8)):  # that 3 comes again after 5 is for the habits to say
        new = [row for row in range(1, N_ITEMS + 1) if row not in item[0, : place + 1]]
        losses.append(-torch.log_softmax(scores[0, place, new], 0)[new.index(wanted)])
    assert found.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


def test_the_sampled_loss_is_the_full_one_when_all_products_are_candidates() -> None:
    net, given = network(), inputs(4)
    owner, wanted = torch.tensor([0, 0, 1, 2, 3]), torch.tensor([1, 5, 12, 3, 7])
    weight = torch.tensor([0.5, 0.5, 1, 1, 1])
    popularity = PopularityAt(net.log_popularity.unsqueeze(0), torch.zeros(4, dtype=torch.int64))
    everything = SharedCandidates(torch.arange(1, N_ITEMS + 1), torch.zeros(N_ITEMS))
    # events of products that are no habit leave a trace that shared candidates do not see: all are "latest" here
    found = sampled_softmax_loss(net, given, popularity, BatchTargets(owner, wanted, weight), everything, n_latest=6)
    logs = torch.log_softmax(net(*given)[:, 1:], dim=1)
    expected = -(logs[owner, wanted - 1] * weight).sum() / 4
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_wanted_product_outside_the_candidates_still_counts() -> None:
    net, given = network(disturbed=False), nothing(1)
    popularity = PopularityAt(torch.zeros(1, N_ITEMS + 1), torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        for parameter in net.summary.parameters():
            parameter.zero_()
    one = SharedCandidates(torch.tensor([2]), torch.zeros(1))
    wanted = BatchTargets(torch.tensor([0]), torch.tensor([9]), torch.ones(1))
    assert sampled_softmax_loss(net, given, popularity, wanted, one).item() == pytest.approx(np.log(2))


def test_candidates_are_the_popular_ones_and_a_weighted_sample_of_the_rest() -> None:
    counts = np.array([99.0, *range(10)])
    drawn = CandidateSampler(counts, n_popular=3, n_negatives=4).draw(np.random.default_rng(0))
    assert drawn.item[:3].tolist() == [10, 9, 8]
    rest = drawn.item[3:]
    assert len(set(rest.tolist())) == len(rest)
    assert set(rest.tolist()) <= set(range(1, 8))
    assert drawn.log_weight[3:].exp().sum().item() == pytest.approx(7)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n_blocks", [0, 1])
def test_the_exported_file_gives_the_same_scores_without_our_code(tmp_path: Path, n_blocks: int) -> None:
    net, given = network(n_blocks=n_blocks), inputs(5, seed=3)
    graph = export_onnx(net, inputs(2))
    assert [each.name for each in graph.graph.input] == [*INPUT_NAMES, POPULARITY_NAME]
    popularity = torch.linspace(-2.0, 3.0, N_ITEMS + 1)
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    np.savez(tmp_path / "inputs.npz", **as_arrays(given), **{POPULARITY_NAME: popularity.numpy()})
    script = (
        "import json, numpy, onnxruntime; "
        "s = onnxruntime.InferenceSession('model.onnx'); "
        "print(json.dumps(s.run(['score'], dict(numpy.load('inputs.npz')))[0][:, 1:].tolist()))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    expected = net(*given, popularity)[:, 1:].detach().numpy()
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-4)
    assert np.abs(expected - net(*given)[:, 1:].detach().numpy()).max() > 0.1
    one = as_arrays(tuple(part[:1] for part in given))
    scores = network_scores(open_session(graph.SerializeToString()), one, popularity.numpy())
    assert scores.shape == (1, N_ITEMS + 1)
