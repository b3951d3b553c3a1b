"""Contract churn from a log whose truth is known: who leaves fast is found, the files stand alone, and no future is seen."""

from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from made_contacts import as_log, event, lapsing_customers
from made_subscribers import HAZARD, SMALL, subscribers

from features.errors import InputError
from features.scoring.bg_nbd import Rates
from features.scoring.churn import SCORE_FILE, ChurnScore
from features.scoring.contract import ContractScore, read_score, under_contract
from features.settings import Settings
from features.signals import SIGNAL_NAMES
from features.vocabulary import Task
from training import pipeline, tracking
from training.models.churn.train import fit, load_data
from training.task import TrainContext
from training.tuning import SEARCHES

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
CONTRACT = ['kind="contract"', *SMALL]


def home_of(events: pd.DataFrame, folder, patch: pytest.MonkeyPatch) -> Settings:
    made = Settings.from_env({"OMNI_HOME": str(folder)})
    made.timeline_path.parent.mkdir(parents=True)
    timeline, store = as_log(events)
    pq.write_table(timeline, made.timeline_path)
    patch.setattr(pipeline, "open_store", lambda _: store)
    patch.setattr(pipeline, "data_fingerprint", lambda _: "data-1")
    patch.setattr(pipeline, "code_fingerprint", lambda: "code")
    return made


def context(settings: Settings, *overrides: str) -> TrainContext:
    config = pipeline.load_config(Task.CHURN, None, [*CONTRACT, *overrides])
    return TrainContext(settings, pipeline.open_store(settings), config, None, 0, lambda _: None)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patch:
        yield home_of(subscribers(), tmp_path_factory.mktemp("home"), patch)


@pytest.fixture(scope="module")
def report(settings: Settings) -> pipeline.TrainReport:
    return pipeline.train(Task.CHURN, settings, [*CONTRACT, "more_horizons_days=[56]"])


def test_who_leaves_fast_is_found_and_the_gates_let_it_serve(report: pipeline.TrainReport) -> None:
    assert (report.version, report.champion) == (1, True)
    assert report.metrics["auc"].value > 0.7
    assert report.baselines.keys() == {"base_rate", "contract_age", "logistic"}
    assert report.gains["base_rate"].low > 0 and report.gains["contract_age"].value > 0


def test_the_chances_are_those_of_the_world(settings: Settings) -> None:
    ctx = context(settings)
    data = load_data(ctx)
    scores = fit(data, ctx.config, 0).probability(data.test.features)
    number = data.test.entities["customer_id"].str[1:].astype(int)
    open_end = (number % 3 > 0) & (data.test.column("contract_days") > 30)
    for seldom, tolerance in ((True, 0.13), (False, 0.05)):  # of 1,000 customers not all can be told apart
        rows = (open_end & ((number % 2 == 0) == seldom)).to_numpy()
        assert scores[rows].mean() == pytest.approx(1 - np.exp(-28 * HAZARD[seldom]), abs=tolerance)


def test_at_risk_by_the_log_is_under_contract_by_the_signals(settings: Settings) -> None:
    data = load_data(context(settings))
    assert under_contract(data.test.features).all() and under_contract(data.known.features).all()
    days = data.test.entities["as_of"].iloc[0] - pd.Timestamp("2024-01-01", tz="UTC")
    assert days / pd.Timedelta(days=1) == pytest.approx(272, abs=0.01)
    assert (data.known.entities["as_of"] <= data.cutoff - timedelta(days=28)).all()


def test_appending_the_future_changes_no_past_row(tmp_path, monkeypatch) -> None:
    events = subscribers(300)
    before = load_data(context(home_of(events, tmp_path / "a", monkeypatch)))
    more = [event(f"x{i}", f"c{i:04}", 300.5, "unsubscribe", "web", product_id="box") for i in range(300)]
    later = pd.concat([events, pd.DataFrame([*more, event("end2", "z", 328, "visit", "web")])])
    after = load_data(context(home_of(later, tmp_path / "b", monkeypatch)))
    joint = before.known.entities.merge(after.known.entities, on=["customer_id", "as_of"], suffixes=("", "_after"))
    assert len(joint) == len(before.known)
    assert (joint["label"] == joint["label_after"]).all()


def test_the_files_answer_what_was_measured(report: pipeline.TrainReport, settings: Settings) -> None:
    import lightgbm
    import mlflow

    folder = tracking.local_model(settings, tracking.by_alias(settings, Task.CHURN, tracking.CHAMPION))
    score = read_score(next(folder.rglob(SCORE_FILE)).read_text(encoding="utf-8"))
    assert isinstance(score, ContractScore) and score.horizon_days == 28
    assert read_score(score.to_json()) == score
    longer = read_score(next(folder.rglob("horizon_56.json")).read_text(encoding="utf-8"))
    assert isinstance(longer, ContractScore) and longer.horizon_days == 56
    rows = load_data(context(settings)).test.features[:20].copy()
    rows[0, SIGNAL_NAMES.index("contract_days")] = np.nan
    booster = lightgbm.Booster(model_file=str(next(folder.rglob("model.lgb"))))
    columns = [SIGNAL_NAMES.index(name) for name in booster.feature_name()]
    chances = score.probability(rows, booster.predict(rows[:, columns], raw_score=True))
    assert np.isnan(chances[0]) and ((chances[1:] > 0) & (chances[1:] < 1)).all()
    found = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame(rows, columns=list(SIGNAL_NAMES)))
    np.testing.assert_allclose(found, chances, atol=1e-9)
    trees = np.zeros((20, len(SIGNAL_NAMES)))
    trees[:, columns] = booster.predict(rows[:, columns], pred_contrib=True)[:, :-1]
    raw = booster.predict(rows[:, columns], raw_score=True)
    rest = score.log_odds(rows, raw) - score.contributions(rows, trees).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-6)


def test_a_score_of_purchases_is_read_as_such() -> None:
    rates = Rates(0.5, 6.0, 0.9, 1.6, modified=True)
    score = ChurnScore(28.0, rates, rates, None, (0.0, 0.0, 1.0), 1.0, 0.0)
    assert read_score(score.to_json()) == score


@pytest.mark.parametrize(
    ("events", "overrides", "says"),
    [
        (lapsing_customers(20), (), "holds no contract: no event of kind subscribe names a product"),
        (subscribers(20), (), "contracts were over at the horizon"),
        (subscribers(20), ("horizon_days=200",), "too short for a test and a past window of 200 days each"),
    ],
)
def test_a_log_that_cannot_tell_is_refused_in_one_line(events, overrides, says, tmp_path, monkeypatch) -> None:
    with pytest.raises(InputError, match=says):
        load_data(context(home_of(events, tmp_path, monkeypatch), *overrides))


def test_a_search_is_for_the_other_kind(settings: Settings) -> None:
    with pytest.raises(InputError, match="by folds of its own"):
        SEARCHES[Task.CHURN](context(settings))
