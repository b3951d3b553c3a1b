"""The published protocols on made files whose next items are known, through every part of the model."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.errors import InputError
from training.benchmarks.hybrid import combine
from training.benchmarks.hybrid.held_out import LEAVE_ONE_OUT, NEXT_BASKET, PROTOCOLS, read_held_out
from training.benchmarks.hybrid.sasrec_fit import TransformerConfig, fit_transformer
from training.benchmarks.hybrid.variants import RANKER, Variant, choose
from training.benchmarks.next_product import benchmark, load_config
from training.models.recommenders.baselines import recommend
from training.models.recommenders.candidates import Candidates

SMALL = {"transformer": TransformerConfig(dim=16, max_epochs=2, n_threads=1, n_negatives=16), "n_more_epochs": 1}


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
    assert set(config.parts) <= {*config.methods, combine.TRANSFORMER}
    assert {"popularity", "recent_popularity", "personal_frequency", "sequence_rules", "item_knn"} <= set(
        config.baselines
    )
    assert set(config.baselines) <= set(config.methods)


def test_kind_channel_and_the_time_between_become_codes(tmp_path: Path) -> None:
    rows = [("a", "x", 100, "view", "web"), ("a", "y", 107, "buy", None), ("a", "z", 107, "view", "app")]
    table = pd.DataFrame(
        [*rows, ("b", "x", 50, "view", "web")], columns=["user_id", "item_id", "timestamp", "kind", "channel"]
    )
    table.to_csv(tmp_path / "f.csv", index=False)
    lines = read_held_out(tmp_path / "f.csv", LEAVE_ONE_OUT).lines
    codes = {name: (side.code.tolist(), side.n_codes) for name, side in lines.sides.items()}
    assert codes == {"kind": ([2, 1, 2, 2], 3), "channel": ([2, 0, 1, 2], 3), "gap": ([0, 4, 1, 0], 42)}
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
    users, test = data.targets(0)
    found = {}
    for inputs in (("kind",), ()):
        config = TransformerConfig(
            dim=16, max_epochs=14, learning_rate=0.02, batch_size=32, n_negatives=64, dropout=0.0, inputs=inputs
        )
        fitted = fit_transformer(data.known(2), data.now, config, 0).about(data.known(1), data.now)
        found[inputs] = (recommend(fitted, users, 1)[:, 0] == test.items).mean()
    assert found["kind",] > 0.9
    assert found[()] < 0.65


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


def test_the_ranker_answers_only_where_it_is_clearly_better_and_equal_parts_answer_together() -> None:
    part = np.tile([0.0, 1.0], 50)
    values = {"rules": part, "item_knn": part * 0.5}
    assert choose(values) == ("rules",)
    noisy = np.concatenate((part[:50] + 0.5, part[50:] - 0.48))  # a mean gain of 0.01, a standard error of 0.049
    assert choose({**values, RANKER: noisy}) == ("rules",)
    assert choose({**values, "ease": noisy}) == ("rules", "ease")
    assert choose({**values, RANKER: part + 0.01}) == (RANKER,)


def test_parts_are_joined_by_their_reciprocal_places() -> None:
    places = np.array([[[1, 1 / 3], [1 / 2, 1], [1 / 3, 1 / 2]]], np.float32)  # (1, 3, 2)
    none = np.zeros((1, 3), np.int64)
    found = Candidates(np.array([[7, 8, 9]]), places, none, ("place_rules", "place_item_knn"), ("rules", "item_knn"))
    orders = {
        parts: found.best(Variant(parts, None).scores(found), 3).tolist()
        for parts in (("rules",), ("item_knn",), ("rules", "item_knn"))
    }
    assert orders == {("rules",): [[7, 8, 9]], ("item_knn",): [[8, 9, 7]], ("rules", "item_knn"): [[8, 7, 9]]}


def test_a_part_can_be_left_out_and_refit_fits_the_validation_item(tmp_path: Path) -> None:
    path = chain(tmp_path / "chain.csv")
    config = load_config(LEAVE_ONE_OUT, {"parts": ["item_knn"]})
    plain = benchmark(path, config=config)
    again = benchmark(path, config=config, refit=True)
    assert "transformer" not in plain.protocol["validation"]
    assert again.protocol["validation"] == plain.protocol["validation"]
    assert again.metrics["ndcg@10"] != plain.metrics["ndcg@10"]


def test_nothing_that_is_fitted_depends_on_the_held_out_items(tmp_path: Path) -> None:
    config = load_config(LEAVE_ONE_OUT, SMALL)
    one = read_held_out(chain(tmp_path / "chain.csv"), LEAVE_ONE_OUT)
    item = one.lines.item.copy()
    item[one.left == 0] = 1
    other = type(one)(type(one.lines)(**{**vars(one.lines), "item": item}), one.left, one.users, one.clock)
    fits = []
    for data in (one, other):
        tuned = combine.tune_methods(data, config, 0, lambda _: None)
        fitted = combine.fit(data, config, tuned, 0, lambda _: None)
        fits.append(({name: (one.settings, one.value) for name, one in tuned.items()}, fitted.valid))
    assert fits[0] == fits[1]


def test_users_with_three_items_only_are_enough(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(user, int(item), place) for user in range(30) for place, item in enumerate(rng.integers(0, 8, 3))]
    report = benchmark(write(tmp_path / "short.csv", rows), config=load_config(LEAVE_ONE_OUT, SMALL))
    assert report.protocol["chosen"] != RANKER
    assert report.rows["users"] == 30
    assert report.metrics["hr@10"].value == 1.0  # eight items, ten places
