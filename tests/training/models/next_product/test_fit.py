"""The fit of the network on histories whose order is known: windows, batches, what it learns, and that a killed fit goes on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.benchmarks.next_product import load_config
from training.data.held_out import LEAVE_ONE_OUT, HeldOut
from training.data.interactions import SECONDS_PER_DAY, Interactions
from training.models.next_product.config import NextProductConfig
from training.models.next_product.fit import batch_borders, rank
from training.models.next_product.published import (
    asked_examples,
    learned_examples,
    line_inputs,
    older_windows,
    published_dataset,
)
from training.models.next_product.system import fit

SMALL = {
    "max_length": 6,
    "embedding_dim": 16,
    "max_epochs": 6,
    "n_negatives": 8,
    "batch_size": 16,
    "learning_rate": 0.01,
    "dropout": 0.0,
    "patience": 40,
}


def config(**settings: object) -> NextProductConfig:
    return load_config(LEAVE_ONE_OUT, {**SMALL, **settings})


def cycle(n_users: int = 40, n_items: int = 20, length: int = 7) -> HeldOut:
    """After item i always comes i + 1."""
    start = np.arange(n_users) % n_items
    return held_out((start[:, None] + np.arange(length)) % n_items + 1, n_items)


def held_out(item: np.ndarray, n_items: int) -> HeldOut:
    n_users, length = item.shape
    time = np.tile(np.arange(length), n_users) * SECONDS_PER_DAY
    user = np.repeat(np.arange(n_users), length)
    lines = Interactions(user, item.ravel(), np.arange(item.size), time, n_users, n_items)
    left = np.tile(np.arange(length)[::-1], n_users)
    return HeldOut(lines, left, np.arange(n_users), np.full(item.size, np.nan))


def best(data: HeldOut, settings: NextProductConfig) -> np.ndarray:
    """Everybody's best item after all but the last."""
    net, _ = fit(published_dataset(data, 1, settings), settings, 0, lambda _: None)
    late = published_dataset(data, 0, settings)
    return rank(net, late.valid, late.vocabulary, 1)[:, 0]


def test_histories_are_cut_to_the_newest_events_and_padded_in_front() -> None:
    lines = cycle(2, 20, 4).lines.select(np.array([True] * 4 + [True, True, False, False]))
    inputs = line_inputs(lines, np.array([0, 4]), np.array([4, 6]), 3)
    assert inputs["item"].tolist() == [[2, 3, 4], [0, 2, 3]]
    assert inputs["age_days"].tolist() == [[3, 2, 1], [0, 2, 1]]


def test_habits_say_how_often_how_lately_and_how_regularly() -> None:
    data = held_out(np.array([[4, 2, 4, 9, 4]]), 9)
    inputs = line_inputs(data.lines, np.array([0]), np.array([5]), 4)
    assert inputs["habit_item"].tolist() == [[0, 2, 9, 4]]  # the latest last
    assert inputs["habit_count"].tolist() == [[0, 1, 1, 3]]
    assert inputs["habit_age_days"].tolist() == [[0, 4, 2, 1]]
    assert inputs["habit_gap_days"].tolist() == [[-1, -1, -1, 2]]
    expected = sum(2 ** (-days / 90) for days in (1, 3, 5))
    assert inputs["habit_weight"][0, 3] == pytest.approx(expected)


def test_a_long_history_is_learned_from_in_windows_that_share_an_end() -> None:
    kept = np.array([True] * 8 + [True] + [False] * 7 + [True] * 3 + [False] * 5)
    lines = cycle(3, 20, 8).lines.select(kept)
    nobody, everybody = np.empty(0, np.int64), np.arange(3)
    customers, start, end = older_windows(lines, nobody, everybody, 4, n_newest=1)
    assert customers.tolist() == [0, 0, 0, 2]
    windows = [lines.item[first:last].tolist() for first, last in zip(start, end, strict=True)]
    assert windows == [[5, 6, 7, 8], [2, 3, 4, 5], [1, 2], [3, 4, 5]]


def test_what_lies_before_the_newest_events_is_learned_without_a_target() -> None:
    examples = learned_examples(cycle(1, 20, 9), 0, 4)
    assert examples.inputs["item"].tolist() == [[5, 6, 7, 8], [2, 3, 4, 5], [0, 0, 1, 2]]
    assert [examples.targets.items.tolist(), examples.targets.sizes.tolist()] == [[9], [1, 0, 0]]
    assert len(asked_examples(cycle(1, 20, 9), 0, 4)) == 1


def test_a_step_takes_as_many_sequences_as_its_longest_leaves_room_for() -> None:
    sizes = np.array([2, 50, 3, 2, 50, 200, 3, 2, 2, 2])
    assert batch_borders(sizes, batch_size=4, batch_events=100) == [0, 1, 3, 7]  # 200 | 50 50 | 3 3 2 2 | 2 2 2


def test_it_learns_the_order() -> None:
    data = cycle()
    top = best(data, config(max_epochs=40, n_negatives=64))
    assert (top == data.lines.item.reshape(40, 7)[:, -1]).mean() >= 0.9


@pytest.mark.parametrize("returns", [True, False])
def test_whether_one_comes_back_to_an_item_is_learned(returns: bool) -> None:
    rng = np.random.default_rng(0)
    pairs = rng.integers(1, 21, (60, 2))
    item = np.where(returns, np.tile(pairs, 4), rng.permuted(np.tile(np.arange(1, 21), (60, 1)), axis=1)[:, :8])
    top = best(held_out(item, 20), config(max_epochs=40))
    share_known = (top[:, None] == item[:, :-1]).any(axis=1).mean()
    assert share_known > 0.8 if returns else share_known < 0.1


def test_a_fit_that_was_killed_goes_on_to_the_same_end(tmp_path: Path) -> None:
    settings, path = config(), tmp_path / "fit.pt"
    data = published_dataset(cycle(), 1, settings)

    class KilledError(Exception):
        pass

    def kill_at(epoch: int):
        def progress(text: str) -> None:
            if f"epoch {epoch} " in text:
                raise KilledError

        return progress

    whole, _ = fit(data, settings, 3, lambda _: None)
    with pytest.raises(KilledError):
        fit(data, settings, 3, kill_at(4), checkpoint=path)
    lines: list[str] = []
    resumed, history = fit(data, settings, 3, lines.append, checkpoint=path)
    assert len(lines) == 3  # epochs 4, 5 and 6
    assert len(history.loss) == 6
    for one, two in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    other_seed: list[str] = []
    fit(data, settings, 4, other_seed.append, checkpoint=path)
    assert len(other_seed) == 6
