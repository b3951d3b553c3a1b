"""The sequence model: what it may see, that it learns an order, and that a killed fit ends where it would have."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.benchmarks.hybrid.negatives import NegativeSampler, sampled_loss
from training.benchmarks.hybrid.sasrec import CausalTransformer, TransformerSize
from training.benchmarks.hybrid.sasrec_fit import (
    Sequences,
    TransformerConfig,
    TransformerRecommender,
    batch_borders,
    fit_transformer,
    n_affordable,
)
from training.data.interactions import SECONDS_PER_DAY, Interactions

CONFIG = TransformerConfig(
    length=6, dim=16, max_epochs=6, n_negatives=8, batch_size=16, learning_rate=0.01, dropout=0.0, n_threads=1
)


def cycle(n_users: int = 40, n_items: int = 20, length: int = 7) -> Interactions:
    """After item i always comes i + 1."""
    start = np.arange(n_users) % n_items
    item = (start[:, None] + np.arange(length)) % n_items + 1
    n = item.size
    time = np.tile(np.arange(length), n_users) * SECONDS_PER_DAY
    return Interactions(np.repeat(np.arange(n_users), length), item.ravel(), np.arange(n), time, n_users, n_items)


def test_no_position_sees_what_comes_later() -> None:
    torch.manual_seed(0)
    net = CausalTransformer(TransformerSize(n_items=9, length=5, dim=8, n_sides=(3,))).eval()
    item, side = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[1, 2, 1, 2]])
    changed, other = item.clone(), side.clone()
    changed[0, 3], other[0, 3] = 9, 1
    one, two = net(item, (side,)), net(changed, (other,))
    torch.testing.assert_close(one[:, :3], two[:, :3])
    assert not torch.allclose(one[:, 3], two[:, 3])


def test_a_product_that_nobody_bought_has_its_contents_vector() -> None:
    content = torch.tensor([[0], [1], [1], [2]])
    net = CausalTransformer(TransformerSize(n_items=3, dim=8, n_contents=(3,)), content)
    with torch.no_grad():
        net.item.weight.zero_()
    vectors = net.item_vectors(torch.arange(4))
    torch.testing.assert_close(vectors[1], vectors[2])
    assert not torch.allclose(vectors[1], vectors[3])
    assert vectors[0].abs().sum() == 0


def test_histories_are_cut_to_the_newest_events_and_padded_at_the_end() -> None:
    data = cycle(2, 20, 4).select(np.array([True] * 4 + [True, True, False, False]))
    item, _ = Sequences.of(data, 3).batch(np.array([0, 1]))
    assert item.tolist() == [[2, 3, 4], [2, 3, 0]]


def test_a_long_history_is_learned_from_in_windows_that_share_an_end() -> None:
    data = cycle(3, 20, 8).select(np.array([True] * 8 + [True] + [False] * 7 + [True] * 3 + [False] * 5))
    windows = Sequences.windows(data, 4)
    item, _ = windows.batch(np.arange(len(windows.sizes)))
    assert item.tolist() == [[5, 6, 7, 8], [2, 3, 4, 5], [1, 2, 0, 0], [3, 4, 5, 0]]


def test_a_step_takes_as_many_sequences_as_its_longest_leaves_room_for() -> None:
    sizes = np.array([2, 50, 3, 2, 50, 200, 3, 2, 2, 2])
    assert batch_borders(sizes, batch_size=4, batch_events=100) == [0, 1, 3, 7]  # 200 | 50 50 | 3 3 2 2 | 2 2 2


def test_every_item_as_a_negative_makes_the_exact_softmax_of_what_is_scored() -> None:
    torch.manual_seed(0)
    net = CausalTransformer(TransformerSize(n_items=5, length=4, dim=8, dropout=0.0))
    with torch.no_grad():
        net.item.weight[1:].normal_()
        net.again.normal_(std=0.2)
    known, wanted = torch.tensor([[1, 4, 1], [2, 2, 0]]), torch.tensor([[4, 1, 3], [2, 5, 0]])
    states = torch.randn(2, 3, 8)
    logits = states @ net.item.weight.T  # (2, 3, 6)
    after = ((0, 0, {1: 0}), (0, 1, {1: 1, 4: 0}), (0, 2, {1: 0, 4: 1}), (1, 0, {2: 0}), (1, 1, {2: 0}))
    for row, at, ago in after:
        for item, events in ago.items():
            logits[row, at, item] += 10 * net.again[: events + 1].sum()
    real = wanted > 0
    exact = torch.nn.functional.cross_entropy(logits[real][:, 1:], wanted[real] - 1)
    everything = (torch.arange(1, 6), torch.zeros(5))
    torch.testing.assert_close(sampled_loss(net, states, known, wanted, everything), exact)


@pytest.mark.parametrize("returns", [True, False])
def test_whether_one_comes_back_to_an_item_is_learned(returns: bool) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.integers(1, 21, (60, 2))
    item = np.where(returns, np.tile(pairs, 3), rng.permuted(np.tile(np.arange(1, 21), (60, 1)), axis=1)[:, :6])
    time = np.tile(np.arange(6), 60) * SECONDS_PER_DAY
    data = Interactions(np.repeat(np.arange(60), 6), item.ravel(), np.arange(360), time, 60, 20)
    model = fit_transformer(data, 1e7, CONFIG.model_copy(update={"max_epochs": 40}), 0)
    best = model.scores(np.arange(60))[:, 1:].argmax(axis=1) + 1
    share_known = (best[:, None] == item).any(axis=1).mean()
    assert share_known > 0.8 if returns else share_known < 0.1


def test_negatives_are_drawn_as_often_as_expected() -> None:
    rows, log_expected = NegativeSampler(np.array([0, 16, 1, 0]), 20_000, 0.5).draw(np.random.default_rng(0))
    found = np.bincount(rows.numpy(), minlength=4)
    # half by 16^.75 : 1, half evenly over three
    np.testing.assert_allclose(found[1:] / 20_000, [8 / 18 + 1 / 6, 1 / 18 + 1 / 6, 1 / 6], atol=0.01)
    assert np.exp(log_expected.numpy()[rows.numpy() == 1][0]) == pytest.approx(20_000 * (8 / 18 + 1 / 6), rel=1e-4)


def test_it_learns_the_order_and_answers_about_other_histories() -> None:
    data = cycle()
    longer = CONFIG.model_copy(update={"max_epochs": 40, "n_negatives": 64})
    model = fit_transformer(data, data.time.max() + 1, longer, 0)
    scores = model.scores(np.arange(20))
    last = data.item.reshape(40, 7)[:20, -1]
    assert (scores[:, 1:].argmax(axis=1) + 1 == last % 20 + 1).mean() >= 0.9
    shorter = model.about(data.select(np.arange(280) % 7 < 3), 0.0)
    third = data.item.reshape(40, 7)[:20, 2]
    assert (shorter.scores(np.arange(20))[:, 1:].argmax(axis=1) + 1 == third % 20 + 1).mean() >= 0.9


def test_what_was_taken_before_the_sequence_begins_counts_as_oldest() -> None:
    net = CausalTransformer(TransformerSize(n_items=20, length=3, dim=8))
    data = cycle(1, 20, 7)
    without = TransformerRecommender.of(net, data, ()).scores(np.array([0]))
    with torch.no_grad():
        net.again[:] = torch.tensor([-0.5, -0.1])
    gained = TransformerRecommender.of(net, data, ()).scores(np.array([0])) - without
    np.testing.assert_allclose(gained[0, 1:9], [-6, -6, -6, -6, -6, -6, -5, 0], atol=1e-5)


def test_the_best_epoch_stays_and_the_rest_is_not_waited_for() -> None:
    values = iter([0.1, 0.5, 0.2, 0.3, 0.1, 0.1])
    lines: list[str] = []
    config = CONFIG.model_copy(update={"patience": 2})
    fit_transformer(cycle(), 1e7, config, 0, validate=lambda _: next(values), progress=lines.append)
    assert len(lines) == 4


def test_a_large_file_gets_fewer_passes() -> None:
    config = TransformerConfig(max_epochs=10, max_events=1_000)
    assert [n_affordable(config, n) for n in (50, 250, 5_000)] == [10, 4, 1]


def test_a_fit_that_was_killed_goes_on_to_the_same_end(tmp_path: Path) -> None:
    data, path = cycle(), tmp_path / "fit.pt"

    class KilledError(Exception):
        pass

    def kill_at(epoch: int):
        def progress(text: str) -> None:
            if f"epoch {epoch} " in text:
                raise KilledError

        return progress

    whole = fit_transformer(data, 1e7, CONFIG, 3)
    with pytest.raises(KilledError):
        fit_transformer(data, 1e7, CONFIG, 3, checkpoint=path, progress=kill_at(4))
    lines: list[str] = []
    resumed = fit_transformer(data, 1e7, CONFIG, 3, checkpoint=path, progress=lines.append)
    assert len(lines) == 3  # epochs 4, 5 and 6
    for one, two in zip(whole.net.parameters(), resumed.net.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    other_seed: list[str] = []
    fit_transformer(data, 1e7, CONFIG, 4, checkpoint=path, progress=other_seed.append)
    assert len(other_seed) == 6
