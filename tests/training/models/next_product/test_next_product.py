"""Next product end to end on a made world whose next baskets are known from the customers' habits."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError, MissingError, StoreError
from features.offline.timeline import TIMELINE_SCHEMA
from features.scoring.item_tables import COMPANIONS_FILE
from features.scoring.model_inputs import INPUT_NAMES, CodeRows
from features.scoring.rerank import RANKER_FILE
from features.settings import Settings
from features.state.batch import StateBatch
from features.state.event_arrays import product_code
from features.state.fold import fold_customer
from features.state.products import ProductStates, fold_purchases
from features.store.feature_store import Store
from features.vocabulary import CHANNEL_CODES, Task
from training.data.baskets import load_purchases, next_baskets, number_purchases
from training.models.next_product.baselines import Rankings
from training.models.next_product.champion import champion_at
from training.models.next_product.config import NextProductConfig
from training.models.next_product.data import Examples, ProductVocabulary
from training.models.next_product.measure import measure, slices_of
from training.models.next_product.reranker import ProductRanker, bought_before
from training.models.next_product.train import train_next_product
from training.models.recommenders.lambdamart import RankerConfig
from training.pipeline import load_config
from training.task import TrainContext
from training.tuning import SEARCHES

DAY = 86_400.0
BLANK_INPUTS = {
    name: np.zeros((1, 128), np.float32 if "_" in name and name != "habit_item" else np.int64) for name in INPUT_NAMES
}


def table(rows: Sequence[tuple[str, str, str, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["customer_id", "product_id", "basket", "time"])
    return frame.assign(time=frame["time"] * DAY)


PURCHASES = number_purchases(
    table([("b", "x", "1", 1), ("a", "y", "1", 0), ("a", "x", "1", 0.1), ("a", "z", "2", 5), ("b", "y", "2", 9)])
)


def test_baskets_are_numbered_in_time_and_dated_at_their_first_line() -> None:
    lines = PURCHASES.lines
    assert PURCHASES.customer_ids.tolist() == ["a", "b"]
    assert PURCHASES.product_ids.tolist() == ["x", "y", "z"]
    assert lines.customer.tolist() == [0, 0, 0, 1, 1]
    assert lines.item.tolist() == [1, 2, 3, 1, 2]
    assert lines.basket.tolist() == [0, 0, 1, 2, 3]
    assert (lines.time / DAY).tolist() == [0, 0, 5, 1, 9]


def test_the_next_basket_is_the_first_in_the_half_open_window() -> None:
    found = next_baskets(PURCHASES.lines, 1 * DAY, 9 * DAY)
    assert found.customers.tolist() == [0, 1]
    assert [found.targets.items.tolist(), found.targets.sizes.tolist()] == [[3, 1], [1, 1]]
    assert next_baskets(PURCHASES.lines, 1.5 * DAY, 9 * DAY).customers.tolist() == [0]


def test_only_products_of_enough_customers_have_a_name() -> None:
    vocabulary = ProductVocabulary.of_customers(PURCHASES, before=10 * DAY, n_min_customers=2)
    assert vocabulary.product_ids == ("x", "y")
    assert ProductVocabulary.of_customers(PURCHASES, before=9 * DAY, n_min_customers=2).product_ids == ("x",)
    targets = vocabulary.from_catalogue(next_baskets(PURCHASES.lines, 1 * DAY, 9 * DAY).targets)
    assert targets.sizes.tolist() == [0, 1]
    with pytest.raises(InputError, match="n_min_customers"):
        ProductVocabulary.of_customers(PURCHASES, before=10 * DAY, n_min_customers=3)


def test_codes_become_rows_and_unknown_codes_zero() -> None:
    rows = CodeRows(["milk", "bread"])
    codes = product_code(["bread", "milk", "tea"])
    assert rows(np.array([[*codes, 0]])).tolist() == [[2, 1, 0, 0]]


def test_the_config_file_is_the_config_and_names_real_methods() -> None:
    from training.models.recommenders.baselines import METHODS

    config = load_config(Task.NEXT_PRODUCT)
    assert isinstance(config, NextProductConfig)
    assert set(config.baselines) <= set(METHODS)


def test_a_missing_timeline_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="omni features build"):
        load_purchases(tmp_path / "none.parquet")


class StatesFromTimeline:
    """Folds a customer's purchases before each asked moment: what the feature store answers, for a few customers."""

    def __init__(self, timeline: pa.Table) -> None:
        self.frame = timeline.to_pandas()
        self.schema = timeline.schema

    def training_states(self, entities: pd.DataFrame, task: Task) -> StateBatch:
        states = []
        for customer, as_of in entities[["customer_id", "as_of"]].itertuples(index=False):
            before = (self.frame["customer_id"] == customer) & (self.frame["occurred_at"] < as_of)
            events = pa.Table.from_pandas(self.frame[before], self.schema, preserve_index=False)
            states.append(fold_customer(events))
        return StateBatch.concat(states)

    def training_products(self, moments: Sequence[datetime]) -> list[ProductStates]:
        found = []
        for moment in moments:
            past = self.frame[self.frame["occurred_at"] < moment]
            seconds = past["occurred_at"].astype("int64").to_numpy() / 1e6
            found.append(fold_purchases(ProductStates.empty(), past["product_code"].to_numpy(), seconds))
        return found

    def feature_service_name(self, task: Task) -> str:
        return "next_product_v2"


class SilentRun:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logged: dict[str, Any] = {}

    def log_history(self, name: str, values: Sequence[float]) -> None:
        self.logged[name] = values

    def keep(self, metrics: dict[str, float]) -> None:
        self.logged |= metrics

    def log_onnx(self, model: Any, example: Any, output: Any, metadata: Any, extra_files: Sequence[Path]) -> str:
        folder = self.logged["folder"]
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        for path in extra_files:
            shutil.copy(path, folder)
        self.logged["example"], self.logged["output"] = example, output
        return "models:/made"


def world() -> pa.Table:
    """Twelve customers who each week buy their own two products and, one week in three, a third."""
    rows = []
    for customer in range(12):
        for week in range(20):
            own = [f"p{customer % 4}", f"p{customer % 4 + 4}", *(["p9"] if week % 3 == 0 else [])]
            moment = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=7 * week, hours=customer)
            rows += [(f"c{customer:02}", moment, f"{customer}-{week}-{p}", p, f"{customer}-{week}") for p in own]
    frame = pd.DataFrame(rows, columns=["customer_id", "occurred_at", "event_id", "product_id", "session_id"])
    frame = frame.sort_values(["customer_id", "occurred_at", "event_id"], ignore_index=True)
    frame = frame.assign(
        seq=np.arange(1, len(frame) + 1),
        kind="purchase",
        channel="store",
        product_code=product_code(frame["product_id"].tolist()),
        quantity=1.0,
        value=2.0,
    )
    return pa.Table.from_pandas(frame.reindex(columns=TIMELINE_SCHEMA.names), TIMELINE_SCHEMA, preserve_index=False)


@pytest.mark.parametrize("with_trees", [False, True])
def test_training_finds_the_habits_and_its_files_score_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_trees: bool
) -> None:
    # Twelve customers are too few for trees to help; here they are to be used all the same.
    monkeypatch.setattr(ProductRanker, "helps", with_trees)
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    settings.timeline_path.parent.mkdir(parents=True)
    timeline = world()
    pq.write_table(timeline, settings.timeline_path)
    config = NextProductConfig(
        horizon_days=21,
        step_days=14,
        warmup_days=14,
        n_min_customers=2,
        max_epochs=2,
        batch_size=16,
        ranker=RankerConfig(max_rounds=5, min_data_in_leaf=5),
    )
    run, lines = SilentRun(), []
    run.logged["folder"] = tmp_path
    context = TrainContext(settings, StatesFromTimeline(timeline), config, run, 7, lines.append)  # type: ignore[arg-type]
    trained = train_next_product(context)
    assert trained.rows["test"] == 12
    assert trained.metrics["recall@5"].value == 1.0
    assert trained.baselines["popularity"]["recall@5"].value < 0.8
    assert trained.metadata["feature_service"] == "next_product_v2"
    assert trained.log_model(run) == "models:/made"  # type: ignore[arg-type]
    assert json.loads((tmp_path / "vocabulary.json").read_text()) == [f"p{i}" for i in (*range(8), 9)]
    assert run.logged["example"]["item"].shape == (2, 128)
    assert (tmp_path / COMPANIONS_FILE).exists()
    assert (tmp_path / RANKER_FILE).exists() == with_trees
    assert trained.metadata["ranker"] == with_trees
    assert trained.evaluation is not None
    assert trained.rescore is not None
    (tmp_path / "MLmodel").write_text(json.dumps({"metadata": trained.metadata}))
    np.testing.assert_array_equal(trained.rescore(tmp_path), trained.evaluation["score"])
    check_that_a_champion_forgets_what_is_later(tmp_path, settings, context.store)
    assert any("epoch 1" in line for line in lines)


def check_that_a_champion_forgets_what_is_later(folder: Path, settings: Settings, store: Store) -> None:
    """The files in `folder` know the whole world; half an hour after its beginning one customer had bought p0, p4 and p9."""
    purchases, early = load_purchases(settings.timeline_path), datetime(2024, 1, 1, 0, 30, tzinfo=UTC)
    before = champion_at(folder, purchases, early, settings, store)
    assert before.companions is not None
    known = np.isin(before.product_ids, ["p0", "p4", "p9"])
    expected = np.log(np.where(known, 2 ** (-0.5 / 24 / 3), 0.0) + 0.05)
    np.testing.assert_allclose(before.companions.popularity[1:, 0], expected, atol=1e-6)
    end = datetime(2024, 7, 1, tzinfo=UTC)
    late = champion_at(folder, purchases, end, settings, store)  # after the end of its data
    early_scores, late_scores = (files.scores(BLANK_INPUTS)[0, 1:] for files in (before, late))
    gain = early_scores - late_scores
    assert gain[known].min() > gain[~known].max()
    assert late.companions is not None
    (states,) = store.training_products([end])
    counts = states.counts(end.timestamp())[states.rows_of(product_code(late.product_ids))]
    np.testing.assert_allclose(late.companions.popularity[1:], np.log(counts + 0.05), atol=1e-6)
    metadata = json.loads((folder / "MLmodel").read_text())["metadata"]
    (folder / "MLmodel").write_text(json.dumps({"metadata": metadata | {"popularity_days": None}}))
    assert champion_at(folder, purchases, end, settings, store).log_popularity is None  # of before: stays as it is
    with pytest.raises(StoreError, match="sold after the test began"):
        champion_at(folder, purchases, early, settings, store)


def test_a_trial_tells_every_epoch_and_can_be_cut_short(tmp_path: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    settings.timeline_path.parent.mkdir(parents=True)
    timeline = world()
    pq.write_table(timeline, settings.timeline_path)
    config = NextProductConfig(
        horizon_days=21, step_days=14, warmup_days=14, n_min_customers=2, max_epochs=2, patience=2, batch_size=16
    )
    context = TrainContext(settings, StatesFromTimeline(timeline), config, SilentRun(), 7, lambda _: None)  # type: ignore[arg-type]
    search = SEARCHES[Task.NEXT_PRODUCT](context)
    told: list[tuple[int, float]] = []
    reached = search.evaluate(config, lambda epoch, value: told.append((epoch, value)))
    assert [epoch for epoch, _ in told] == [0, 1]
    assert reached == max(value for _, value in told)
    assert (search.metric, search.direction) == ("ndcg_at_10", "maximize")

    def hopeless(epoch: int, value: float) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        search.evaluate(config.model_copy(update={"dropout": 0.1}), hopeless)


def test_what_was_bought_hundreds_of_times_was_bought() -> None:
    often = [("a", "x", str(day), day) for day in range(256)]
    purchases = number_purchases(table([*often, ("b", "x", "1", 1), ("b", "y", "2", 2)]))
    vocabulary = ProductVocabulary.of_customers(purchases, before=300 * DAY, n_min_customers=1)
    found = bought_before(purchases.lines, vocabulary, np.array([1, 0])).toarray() > 0
    assert found.tolist() == [[False, True, True], [False, True, False]]


def test_figures_come_apart_by_what_is_known_of_customers_and_products() -> None:
    lines = number_purchases(
        table(
            [
                *(("a", product, str(day), day) for day, product in enumerate("xyx")),
                *(("b", product, str(day), day) for day, product in [(0, "x"), (8, "z")]),
                ("a", "z", "9", 9),
                ("a", "x", "9", 9),
                ("b", "y", "9", 9),
            ]
        )
    ).lines
    found = next_baskets(lines, 9 * DAY, 10 * DAY)
    web, store = (CHANNEL_CODES[name] for name in ("web", "store"))
    inputs = {"channel": np.array([[web], [store]]), "item": np.array([[1], [1]])}
    examples = Examples(inputs, found.targets, found.customers, np.zeros(2, int))
    slices = slices_of(examples, lines.before(9 * DAY), new_since=5 * DAY)
    assert found.targets.items.tolist() == [1, 3, 2]
    assert slices.targets["repeat"].tolist() == [True, False, False]
    assert slices.targets["cold_products"].tolist() == [False, True, False]  # z was first bought on day 8
    assert slices.customers["cold_customers"].tolist() == [False, True]
    assert slices.customers["web"].tolist() == [True, False]
    top = np.array([[1, 3] + [0] * 18, [1, 3] + [0] * 18])
    new = np.array([[3, 2] + [0] * 18, [2, 3] + [0] * 18])
    ours, same = Rankings({"": top}, {"": new}, {}), Rankings({"same": top}, {"same": top}, {})
    report = measure(ours, same, examples, lines, 9 * DAY, 4.0, "ndcg@10", 0)
    assert report.metrics["recall_repeat@10"].value == 1.0
    assert report.metrics["recall_explore@10"].value == 0.5  # a's z is found, b's y is not
    assert (report.metrics["ndcg_new@10"].value, report.metrics["recall_new@10"].value) == (1.0, 1.0)
    assert report.baselines["same"]["recall_new@10"].value == 0.5
    assert report.metrics["coverage@5"].value == pytest.approx(2 / 3)
    assert report.gains["same"].value == 0.0
