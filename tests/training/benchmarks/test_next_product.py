"""The published protocols on made files whose next items are known, through every part of the model."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from features.errors import InputError
from features.scoring.rerank import PARTS
from training.benchmarks import next_product
from training.benchmarks.next_product import benchmark, load_config, rank_held_out
from training.data.held_out import LEAVE_ONE_OUT, NEXT_BASKET, PROTOCOLS, read_held_out
from training.models.next_product import train
from training.models.next_product.reranker import ProductRanker
from training.models.recommenders.baselines import METHODS

SMALL = {"embedding_dim": 16, "max_epochs": 4, "n_negatives": 16, "n_more_epochs": 1, "learning_rate": 0.01}


def chain(path: Path, n_users: int = 60) -> Path:
    """After item i comes i + 1 (of 12), except that a fifth of the steps is random."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(n_users):
        item = int(rng.integers(12))
        for position in range(10):
            rows.append((f"u{user}", item, position))
            item = (item + 1) % 12 if rng.random() > 0.2 else int(rng.integers(12))
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "position"])
    frame.sample(frac=1, random_state=1).to_csv(path, index=False)
    return path


def shop(path: Path, n_users: int = 40) -> Path:
    """Every basket of a user holds their own two items, and one that is drawn anew."""
    rng = np.random.default_rng(0)
    rows = [
        (user, item, basket)
        for user in range(n_users)
        for basket in range(6)
        for item in {f"i{user % 20}", f"i{user % 20 + 20}", f"i{rng.integers(60)}"}
    ]
    pd.DataFrame(rows, columns=["user_id", "item_id", "position"]).to_parquet(path)
    return path


def write(path: Path, rows: list[tuple[object, object, object]], order: str = "position") -> Path:
    pd.DataFrame(rows, columns=["user_id", "item_id", order]).to_csv(path, index=False)
    return path


def test_the_last_item_is_the_test_and_the_one_before_it_validates(tmp_path: Path) -> None:
    rows = [("b", "x", 2), ("b", "y", 1), ("b", "z", 3), ("b", "x", 4), ("a", "z", 1), ("a", "x", 10), ("a", "y", 9)]
    data = read_held_out(write(tmp_path / "f.csv", rows), LEAVE_ONE_OUT)
    assert data.lines.item.tolist() == [3, 2, 1, 2, 1, 3, 1]  # x, y, z are 1, 2, 3; position 10 comes after 9
    assert data.left.tolist() == [2, 1, 0, 3, 2, 1, 0]
    users, targets = data.targets(0)
    assert [users.tolist(), targets.items.tolist()] == [[0, 1], [1, 1]]
    users, targets = data.targets(2)  # `a` has no history before that
    assert [users.tolist(), targets.items.tolist()] == [[1], [1]]
    assert data.known(2).item.tolist() == [3, 2, 1]


def test_users_without_three_baskets_are_learned_from_and_not_asked_about(tmp_path: Path) -> None:
    rows = [("a", "x", 1), ("a", "y", 1), ("a", "z", 2), ("b", "x", 1), ("b", "y", 2), ("b", "y", 3), ("b", "z", 3)]
    data = read_held_out(write(tmp_path / "f.csv", rows), NEXT_BASKET)
    assert data.users.tolist() == [1]
    assert data.left.tolist() == [1, 1, 0, 2, 1, 0, 0]
    assert data.targets(0)[1].items.tolist() == [2, 3]
    assert data.known(2).item.tolist() == [1, 2, 3, 1]


def test_timestamps_may_be_numbers_or_moments_and_ties_keep_the_files_order(tmp_path: Path) -> None:
    numbers = [("a", "z", 5), ("a", "x", 5), ("a", "y", 1)]
    data = read_held_out(write(tmp_path / "n.csv", numbers, "timestamp"), LEAVE_ONE_OUT)
    assert data.lines.item.tolist() == [2, 3, 1]
    days = [("a", "z", "2024-02-01"), ("a", "x", "2024-02-01"), ("a", "y", "2024-01-31T23:00:00Z")]
    dated = read_held_out(write(tmp_path / "d.csv", days, "timestamp"), LEAVE_ONE_OUT)
    assert dated.lines.item.tolist() == [2, 3, 1]
    lines, end = dated.dated(0)
    assert (lines.time / 86_400).tolist() == [0, 1000, 1000]
    assert end == 1000 * 86_400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item\n1,2\n", "user_id, item_id"),
        ("user_id,item_id,position\n1,2,1\n1,2,2\n", "three interactions"),
        ("user_id,item_id,position\n1,,1\n1,2,2\n", "row 1 has no"),
        ("user_id,item_id,position\n1,2,first\n1,2,second\n", "position"),
        ("user_id,item_id,timestamp\n1,2,noon\n1,2,night\n", "ISO 8601"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_held_out(tmp_path / "bad.csv", LEAVE_ONE_OUT)


def test_an_unknown_protocol_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_config("other")
    assert all(name in str(caught.value) for name in PROTOCOLS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_config_file_names_parts_and_baselines_that_exist(protocol: str) -> None:
    config = load_config(protocol)
    assert set(config.parts) <= set(PARTS)
    assert {"popularity", "recent_popularity", "personal_frequency", "sequence_rules", "item_knn"} <= set(
        config.baselines
    )
    assert set(config.baselines) <= set(METHODS)


def test_the_benchmark_and_omni_train_fit_the_same_system() -> None:
    assert next_product.fit_system is train.fit_system
    assert next_product.rank_moment is train.rank_moment
    assert next_product.NextProductConfig is train.NextProductConfig


def test_kind_and_channel_become_codes(tmp_path: Path) -> None:
    rows = [("a", "x", 100, "view", "web"), ("a", "y", 107, "buy", None), ("a", "z", 107, "view", "app")]
    table = pd.DataFrame(
        [*rows, ("b", "x", 50, "view", "web")], columns=["user_id", "item_id", "timestamp", "kind", "channel"]
    )
    table.to_csv(tmp_path / "f.csv", index=False)
    lines = read_held_out(tmp_path / "f.csv", LEAVE_ONE_OUT).lines
    codes = {name: (side.code.tolist(), side.n_codes) for name, side in lines.sides.items()}
    assert codes == {"kind": ([2, 1, 2, 2], 3), "channel": ([2, 0, 1, 2], 3)}
    assert lines.select(lines.item == 1).sides["kind"].code.tolist() == [2, 2]


def test_the_next_item_may_depend_on_what_was_done_with_the_last(tmp_path: Path) -> None:
    """After a view of item i comes i + 1, after a purchase i + 5 (of 12): without the kind it is one of two."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(300):
        item = int(rng.integers(12))
        for position, kind in enumerate(rng.choice(["view", "buy"], 8)):
            rows.append((user, item, position, kind))
            item = (item + (1 if kind == "view" else 5)) % 12
    pd.DataFrame(rows, columns=["user_id", "item_id", "position", "kind"]).to_csv(tmp_path / "kinds.csv", index=False)
    data = read_held_out(tmp_path / "kinds.csv", LEAVE_ONE_OUT)
    pace = {"max_epochs": 14, "n_more_epochs": 14, "learning_rate": 0.02, "batch_size": 32, "dropout": 0.0}
    config = load_config(LEAVE_ONE_OUT, {**SMALL, **pace, "with_ranker": False})
    blind = replace(data, lines=replace(data.lines, sides={}))
    _, test = data.targets(0)
    knowing, guessing = (
        (rank_held_out(known, config, 0, lambda _: None).top[:, 0] == test.items).mean() for known in (data, blind)
    )
    assert knowing > 0.9
    assert guessing < 0.65


def test_the_benchmark_finds_the_order_that_popularity_cannot(tmp_path: Path) -> None:
    config = load_config(LEAVE_ONE_OUT, SMALL)
    report = benchmark(chain(tmp_path / "chain.csv"), seed=1, config=config, ablation=True)
    assert report.metrics["hr@5"].value > 0.8 > report.baselines["popularity"]["hr@5"].value
    assert report.baselines["sequence_rules"]["hr@5"].value > 0.8
    assert report.rows == {"interactions": 600, "users": 60, "items": 12}
    written = json.loads(json.dumps(report.to_dict()))
    assert {f"{m}@10" for m in ("hr", "ndcg", "recall", "mrr", "phr", "coverage")} <= set(written["metrics"])
    assert {"only rules", "without rules", "only transformer", "without transformer"} <= set(written["ablation"])
    assert report.ablation["only rules"]["hr@5"].value > report.ablation["only recent_popularity"]["hr@5"].value
    assert report.protocol["refit"] is False


def test_the_next_basket_is_mostly_what_was_bought_before(tmp_path: Path) -> None:
    report = benchmark(shop(tmp_path / "shop.parquet"), NEXT_BASKET, seed=1)
    assert report.metrics["recall@5"].value > 0.6 > report.baselines["popularity"]["recall@5"].value
    assert report.baselines["tifu_knn"]["recall@5"].value > 0.6
    assert report.metrics["phr@10"] == report.metrics["hr@10"]


def test_the_trees_answer_only_where_they_are_clearly_better() -> None:
    gains = {0.03: True, 0.01: False, -0.03: False}  # against two standard errors of 0.01
    for gain, helps in gains.items():
        assert ProductRanker(None, None, 0.2, 0.2 + gain, 0.01).helps is helps  # type: ignore[arg-type]


def test_a_part_can_be_left_out_and_refit_fits_the_validation_item(tmp_path: Path) -> None:
    path = chain(tmp_path / "chain.csv")
    config = load_config(LEAVE_ONE_OUT, {"parts": ["item_knn"]})
    plain = benchmark(path, config=config)
    again = benchmark(path, config=config, refit=True)
    assert again.protocol["validation"] == plain.protocol["validation"]
    assert again.metrics["ndcg@10"] != plain.metrics["ndcg@10"]


def test_a_part_that_does_not_exist_is_refused_and_only_benchmarks_leave_parts_out() -> None:
    with pytest.raises(InputError, match="tea_leaves is no part; the parts are transformer, rules"):
        load_config(LEAVE_ONE_OUT, {"parts": ["rules", "tea_leaves"]})
    fewer = load_config(LEAVE_ONE_OUT, {"parts": ["rules"]})
    with pytest.raises(InputError, match="all parts"):
        train.train_next_product(SimpleNamespace(config=fewer))  # type: ignore[arg-type]


def test_nothing_that_is_fitted_depends_on_the_held_out_items(tmp_path: Path) -> None:
    config = load_config(LEAVE_ONE_OUT, SMALL)
    one = read_held_out(chain(tmp_path / "chain.csv"), LEAVE_ONE_OUT)
    item = one.lines.item.copy()
    item[one.left == 0] = 1
    other = replace(one, lines=replace(one.lines, item=item))
    validated = one.lines.item.copy()
    validated[one.left == 1] = 1
    third = replace(one, lines=replace(one.lines, item=validated))
    first, second, changed = (rank_held_out(data, config, 0, lambda _: None).system for data in (one, other, third))
    for mine, theirs in zip(first.past, changed.past, strict=True):  # nor do the trees' examples on what validates
        np.testing.assert_array_equal(mine[1].examples.targets.items, theirs[1].examples.targets.items)
    assert first.valid == second.valid
    assert first.tables == second.tables
    torch.testing.assert_close(first.net.item.weight, second.net.item.weight)


def test_users_with_three_items_only_are_enough(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(user, int(item), place) for user in range(30) for place, item in enumerate(rng.integers(0, 8, 3))]
    report = benchmark(write(tmp_path / "short.csv", rows), config=load_config(LEAVE_ONE_OUT, SMALL))
    assert report.protocol["chosen"] != "ranker"
    assert report.rows["users"] == 30
    assert report.metrics["hr@10"].value == 1.0  # eight items, ten places
