"""The win-back task: whom a contact brings back is learned from the log, proven or refused, and kept in files that answer."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from made_contacts import CONFIG, as_log, event, lapsing_customers

from features.errors import InputError
from features.scoring.win_back import CONTACT, LEAVE_ALONE, SCORE_FILE, WinBackScore
from features.settings import Settings
from features.signals import SIGNAL_NAMES
from features.vocabulary import Task
from training import pipeline, registry, tracking
from training.models.win_back.learner import LearnerConfig, assemble, customer_folds, fit_winback
from training.task import TrainContext

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


def home_of(events: pd.DataFrame, folder, patch: pytest.MonkeyPatch) -> Settings:
    made = Settings.from_env({"OMNI_HOME": str(folder)})
    made.timeline_path.parent.mkdir(parents=True)
    timeline, store = as_log(events)
    pq.write_table(timeline, made.timeline_path)
    patch.setattr(pipeline, "open_store", lambda _: store)
    patch.setattr(pipeline, "data_fingerprint", lambda _: "data-1")
    patch.setattr(pipeline, "code_fingerprint", lambda: "code")
    return made


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patch:
        yield home_of(lapsing_customers(), tmp_path_factory.mktemp("home"), patch)


@pytest.fixture(scope="module")
def report(settings: Settings) -> pipeline.TrainReport:
    return pipeline.train(Task.WIN_BACK, settings, CONFIG)


def test_whom_a_contact_brings_back_is_proven_and_serves(report: pipeline.TrainReport) -> None:
    assert (report.version, report.champion) == (1, True)
    assert report.rows == {
        "moments": 1500, "contacts": 762, "left_alone": 738, "lapsing": 1500, "advice_contact": 750
    }  # fmt: skip
    # half of all are won, 40 of 100 each
    assert report.metrics["policy_value"].value == pytest.approx(0.2, abs=0.03)
    assert report.baselines["nobody"]["policy_value"].value == 0.0
    assert abs(report.baselines["everybody"]["policy_value"].value) < 0.06
    assert all(report.gains[way].low > 0 for way in ("risk", "random", "everybody", "nobody"))
    assert report.metrics["qini"].low > 0
    assert report.metrics["effect_slope"].value == pytest.approx(1.0, abs=0.2)


def test_the_files_stand_alone_and_say_what_was_measured(report: pipeline.TrainReport, settings: Settings) -> None:
    import mlflow

    folder = tracking.local_model(settings, tracking.by_alias(settings, Task.WIN_BACK, tracking.CHAMPION))
    score = WinBackScore.from_json(next(folder.rglob(SCORE_FILE)).read_text(encoding="utf-8"), "it")
    signals = np.zeros((3, len(SIGNAL_NAMES)), np.float32)
    names = list(SIGNAL_NAMES)
    signals[:, names.index("overdue_ratio")] = [3.0, 3.0, 0.5]
    signals[:, names.index("days_since_action")] = 30.0
    for row, channel in enumerate(("app", "web", "app")):
        signals[row, names.index(f"purchases_{channel}_90d")] = 2.5
        signals[row, names.index(f"actions_{channel}_30d")] = 1.4
    uplift = score.uplift(signals)
    assert uplift[0] > 0.2 and uplift[1] < -0.2 and np.isnan(uplift[2])
    assert score.advice(uplift).tolist() == [CONTACT, LEAVE_ALONE, LEAVE_ALONE]
    found = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame(signals, columns=names))
    np.testing.assert_allclose(found, uplift, rtol=1e-5)


def test_the_same_again_is_refused_and_a_worse_one_compared_on_the_same_moments(
    report: pipeline.TrainReport, settings: Settings
) -> None:
    again = pipeline.train(Task.WIN_BACK, settings, CONFIG)
    assert not again.champion
    with pytest.raises(registry.GateError, match=r"policy_value gain over the champion 0\.0000"):
        registry.promote(Task.WIN_BACK, settings)
    other = pipeline.train(Task.WIN_BACK, settings, [*CONFIG, "horizon_days=20"])
    rescored = tracking.run_table(settings, other.run_id, registry.rescored_file(1))
    ours = tracking.run_table(settings, other.run_id, tracking.EVALUATION_FILE)
    assert rescored["key"].tolist() == ours["key"].tolist()
    assert rescored["score"].mean() == pytest.approx(ours["score"].mean(), abs=0.02)


def test_where_contacts_do_nothing_the_gates_refuse_and_everybody_is_left_alone(tmp_path, monkeypatch) -> None:
    settings = home_of(lapsing_customers(effect=0.0, seed=3), tmp_path, monkeypatch)
    report = pipeline.train(Task.WIN_BACK, settings, CONFIG, force_first=True)
    assert report.champion
    assert any(reason.startswith("refused: effect_slope_low") for reason in report.gates)
    folder = tracking.local_model(settings, tracking.by_alias(settings, Task.WIN_BACK, tracking.CHAMPION))
    score = WinBackScore.from_json(next(folder.rglob(SCORE_FILE)).read_text(encoding="utf-8"), "it")
    assert not score.proven
    assert score.advice(np.array([0.9])).tolist() == [LEAVE_ALONE]


@pytest.mark.parametrize(
    ("events", "says"),
    [
        (lapsing_customers(30).query("kind != 'decision'"), "no decision with an arm and a pscore that is 42 days old"),
        (lapsing_customers(200).query("channel != 'email'"), "0 contacts and"),
    ],
)
def test_a_log_that_cannot_tell_is_refused_in_one_line(events, says, tmp_path, monkeypatch) -> None:
    settings = home_of(events, tmp_path, monkeypatch)
    with pytest.raises(InputError, match=says):
        pipeline.train(Task.WIN_BACK, settings, CONFIG)


def test_who_refused_the_channel_was_left_alone_and_who_no_arm_reaches_is_not_compared(tmp_path, monkeypatch) -> None:
    from training.models.win_back.data import load_moments

    events = lapsing_customers(400)
    refusing = [f"c{i:04}" for i in range(0, 400, 4)]
    no = pd.DataFrame([event(f"u{name}", name, 1, "unsubscribe", "email") for name in refusing])
    settings = home_of(pd.concat([events, no]), tmp_path, monkeypatch)
    config = pipeline.load_config(Task.WIN_BACK, None, [*CONFIG, "min_data_in_leaf=20"])
    context = TrainContext(settings, pipeline.open_store(settings), config, None, 0, lambda _: None)  # type: ignore[arg-type]
    moments = load_moments(context)
    assert set(moments.rows.entities["customer_id"]) == {f"c{i:04}" for i in range(400)} - set(refusing)
    assert set(moments.contacts.chance) == {0.5}


def test_what_was_only_looked_at_is_no_moment(tmp_path, monkeypatch) -> None:
    from training.models.win_back.data import load_moments

    def moments_of(events: pd.DataFrame, name: str):
        settings = home_of(events, tmp_path / name, monkeypatch)
        config = pipeline.load_config(Task.WIN_BACK, None, [*CONFIG, "min_data_in_leaf=20"])
        return load_moments(TrainContext(settings, pipeline.open_store(settings), config, None, 0, lambda _: None))  # type: ignore[arg-type]

    events = lapsing_customers(400)
    decided = events.query("kind == 'decision'").head(150)
    looked_at = decided.assign(
        event_id="look-" + decided["event_id"],
        decision_id="look-" + decided["event_id"],
        occurred_at=decided["occurred_at"] + pd.Timedelta(days=1),
        properties=[text.replace("{", '{"asked_by": "web", ', 1) for text in decided["properties"]],
    )
    plain, with_looks = moments_of(events, "plain"), moments_of(pd.concat([events, looked_at]), "looks")
    assert with_looks.rows.entities["key"].tolist() == plain.rows.entities["key"].tolist()
    assert with_looks.contacts.treated.tolist() == plain.contacts.treated.tolist()
    n_sends = int((looked_at["channel"] == "email").sum())
    assert (plain.delivery.counts(), with_looks.delivery.counts()) == ({}, {"not_delivered/email": n_sends})


def test_a_hold_out_counts_as_left_alone_with_the_chance_of_its_draw() -> None:
    rng = np.random.default_rng(1)
    n = 4000
    held = rng.random(n) < 0.25
    sent = ~held & (rng.random(n) < 0.8)
    action = np.where(sent, "email", "nothing").astype(object)
    customers = np.array([f"c{i}" for i in range(n)], dtype=object)
    contacts = assemble(
        rng.normal(size=(n, 2)).astype(np.float32),
        action,
        pd.DataFrame({"email": np.ones(n, bool)}),
        (rng.random(n) < 0.5 + 0.2 * sent).astype(float),
        customers,
        LearnerConfig(),
        0,
        chance=np.where(held, 0.0, 0.8),
        held_out=held,
    )
    assert contacts.treated[held].sum() == 0
    assert contacts.chance.mean() == pytest.approx(0.75 * 0.8, abs=0.02)
    assert contacts.chance.std() < 0.05
    assert fit_winback(contacts, LearnerConfig(), 0).scores.mean() == pytest.approx(0.2, abs=0.04)


def test_a_customer_is_in_the_same_fold_at_every_training() -> None:
    names = np.array(["ada", "bob", "cleo", "dora"], dtype=object)
    assert customer_folds(names, 3).tolist() == customer_folds(names[::-1], 3)[::-1].tolist()
