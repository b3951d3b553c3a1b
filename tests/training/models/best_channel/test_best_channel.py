"""Best channel on a made world: who answers mail is known, and an arm with too few answers is kept as its rate."""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.errors import InputError, OmniError
from features.vocabulary import Task
from training.benchmarks.report import MemoryStates, as_timeline
from training.models.best_channel import train
from training.models.best_channel.arms_of_log import find_arms
from training.models.best_channel.data import BestChannelConfig, load_data, with_arms_of_log
from training.pipeline import load_config
from training.task import TrainContext, TrainedModel
from training.tuning import SEARCHES

START = pd.Timestamp("2024-01-01", tz="UTC")
MAIL = {
    "name": "mail",
    "channel": "post",
    "kind": "send",
    "response_kinds": ["outcome"],
    "response_match": ["campaign_id"],
    "response_days": 5,
}
SMALL = {"num_leaves": 3, "min_data_in_leaf": 20, "max_rounds": 60, "learning_rate": 0.1}


def world(n: int = 250) -> pd.DataFrame:
    """Every 12 days a letter to everybody; only frequent buyers ever answer. One text message each, unanswered."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        name, gap = f"c{i:03}", rng.choice([2.0, 12.0])
        for day in np.arange(rng.uniform(0, gap), 180, gap):
            rows.append((name, day, "purchase", "store", None, 9.0))
        for wave, day in enumerate(range(10, 170, 12)):
            rows.append((name, day, "send", "post", f"w{wave}", np.nan))
            if gap == 2.0 and rng.random() < 0.5:
                rows.append((name, day + 2, "outcome", "post", f"w{wave}", np.nan))
        rows += [(name, day, "send", "sms", f"t{day}", np.nan) for day in (20, 70, 130)]
    table = pd.DataFrame(rows, columns=["customer_id", "day", "kind", "channel", "campaign_id", "value"])
    return table.assign(occurred_at=START + pd.to_timedelta(table.pop("day"), unit="D"))


def context(folder: Path, arms: list[dict]) -> TrainContext:
    events = world()
    timeline = as_timeline(events)
    kept = events.reset_index(names="event_id").astype({"event_id": str})[["event_id", "campaign_id"]]
    campaigns = dict(zip(kept["event_id"], kept["campaign_id"], strict=True))
    table = timeline.to_pandas()
    table["campaign_id"] = table["event_id"].map(campaigns).astype("string")
    table["decision_id"] = table["properties"] = pd.Series(None, index=table.index, dtype="string")
    path = folder / "timeline.parquet"
    table.to_parquet(path)
    assert pq.read_metadata(path).num_rows == len(events)
    config = BestChannelConfig.model_validate({"arms": arms, "period_days": 50, "booster": SMALL})
    run = SimpleNamespace(log_history=lambda *_: None, log_figure=lambda *_: None)
    return TrainContext(
        SimpleNamespace(timeline_path=path),  # type: ignore[arg-type]
        MemoryStates(timeline),  # type: ignore[arg-type]
        config,
        run,  # type: ignore[arg-type]
        0,
        lambda _: None,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    sms = {**MAIL, "name": "sms", "channel": "sms"}
    return train.train_best_channel(context(tmp_path_factory.mktemp("world"), [MAIL, sms]))


def test_who_answers_is_found(trained: TrainedModel) -> None:
    mail = trained.evaluation.query("part == 'mail'")
    assert trained.metrics["auc/mail"].value > 0.7
    assert mail.loc[mail["score"] > 0.3, "label"].mean() == pytest.approx(0.5, abs=0.08)
    assert mail.loc[mail["score"] < 0.1, "label"].max() == 0.0
    assert trained.metrics["log_loss/mail"].value < trained.baselines["base_rate"]["log_loss/mail"].value
    assert trained.gains["base_rate/mail"].low > 0


def test_an_arm_without_answers_is_kept_as_its_shrunk_rate(trained: TrainedModel) -> None:
    arms = {arm["arm"]: arm for arm in trained.metadata["arms"]}
    assert arms["sms"]["constant"] is True
    assert arms["mail"]["constant"] is False
    scores = trained.evaluation.query("part == 'sms'")["score"]
    assert scores.nunique() == 1
    assert 0 < scores.iloc[0] < 0.01


def test_test_contacts_come_after_all_others_and_their_windows_are_complete(
    trained: TrainedModel,
) -> None:
    # Letters go out on days 10, 22, …, 166; the last answer comes on day 168, so validation begins on day 68.
    assert trained.rows["train/mail"] == 250 * 5  # 10 to 58
    assert trained.rows["valid/mail"] == 250 * 4  # 70 to 106
    assert trained.rows["test/mail"] == 250 * 3  # 130 to 154; that of 166 could be answered after the data's end


def test_the_metadata_says_what_the_probabilities_are_not(trained: TrainedModel) -> None:
    assert "not randomised" in trained.metadata["limits"]


def test_overall_metrics_are_means_over_arms(trained: TrainedModel) -> None:
    for name in ("log_loss", "brier", "ece"):
        arms = [trained.metrics[f"{name}/{arm}"].value for arm in ("mail", "sms")]
        assert trained.metrics[name].value == pytest.approx(np.mean(arms))


def test_too_few_answers_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ctx = context(tmp_path, [{**MAIL, "name": "sms", "channel": "sms"}])
    data, split = load_data(ctx)
    with caplog.at_level(logging.WARNING):
        train.fit(data, ctx.config, ctx)
    assert "sms has 0 answers in training" in caplog.text
    assert split.test_end > datetime(2024, 6, 1, tzinfo=UTC)


def test_a_search_judges_the_arms_that_can_be_learned_by_their_validation_loss(tmp_path: Path) -> None:
    ctx = context(tmp_path, [MAIL, {**MAIL, "name": "sms", "channel": "sms"}])
    search = SEARCHES[Task.BEST_CHANNEL](ctx)
    told: list[tuple[int, float]] = []
    reached = search.evaluate(ctx.config, lambda step, value: told.append((step, value)))
    assert told == [(1, reached)]
    blunt = ctx.config.booster.model_copy(update={"learning_rate": 0.001})
    assert search.evaluate(ctx.config.model_copy(update={"booster": blunt}), lambda *_: None) > reached
    with pytest.raises(OmniError, match="No arm has enough answers"):
        search.evaluate(ctx.config.model_copy(update={"min_positives": 10**6}), lambda *_: None)


def test_an_arm_that_was_never_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The arm push has no contact"):
        load_data(context(tmp_path, [MAIL, {**MAIL, "name": "push", "channel": "push"}]))


def fortnightly(tmp_path: Path, **settings: float) -> TrainContext:
    """A log whose only contact is a letter every other week, answered within a week or not at all."""
    ctx = context(tmp_path, [{**MAIL, "response_days": 7}])
    table = pd.read_parquet(ctx.settings.timeline_path)
    of_mail = table["kind"].isin(["send", "outcome"]) & (table["channel"] == "post")
    day = (table["occurred_at"] - START) / pd.Timedelta(days=1)
    wave = table["campaign_id"].str.removeprefix("w").where(of_mail).astype("Float64")
    moved = (day - 10 - wave * 12) + 3 + wave * 14  # every 14 days, the last one 2 days before the end
    table["occurred_at"] = table["occurred_at"].where(
        ~of_mail.to_numpy(), START + pd.to_timedelta(moved.astype(float), unit="D")
    )
    table.to_parquet(ctx.settings.timeline_path)
    config = ctx.config.model_copy(update={"period_days": None, **settings})
    return replace(ctx, config=config)


def test_a_fortnightly_newsletter_is_learned_from_in_periods_of_its_own_rhythm(tmp_path: Path) -> None:
    (mail,), split = load_data(fortnightly(tmp_path))
    assert (split.test_end - split.valid_end).days == 7 + 14  # its answers' window, and a gap
    assert min(len(mail.train), len(mail.valid), len(mail.test)) > 0
    assert set(mail.test.entities["as_of"].dt.normalize().unique()) <= {
        day.normalize() for day in pd.date_range(split.valid_end, split.test_end, freq="D")
    }


def test_a_period_that_is_set_too_short_is_told_to_be_longer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"used about every 14 days: pass a longer period, --set period_days=21\."):
        load_data(fortnightly(tmp_path, period_days=8.0))
    (mail,), _ = load_data(fortnightly(tmp_path, period_days=21.0))
    assert len(mail.test) > 0


def test_the_shipped_config_is_valid_and_two_arms_cannot_share_a_name() -> None:
    config = load_config(Task.BEST_CHANNEL)
    assert isinstance(config, BestChannelConfig)
    assert [arm.name for arm in config.arms] == ["post_personal", "post_targeted", "mailer", "display"]
    with pytest.raises(ValueError, match="the same name"):
        BestChannelConfig.model_validate({"arms": [MAIL, MAIL]})


def test_another_log_is_learned_from_by_the_ways_of_contact_that_it_holds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ctx = context(tmp_path, [MAIL, {**MAIL, "name": "push", "channel": "push"}])
    ctx = replace(ctx, config=ctx.config.model_copy(update={"arms_not_in_log": "find", "period_days": 50}))
    with caplog.at_level(logging.WARNING):
        found = with_arms_of_log(ctx).config.arms
    # a text message went out too seldom to be learned from: none in the test period
    assert [(arm.name, arm.response_kinds, arm.response_match) for arm in found] == [
        ("post", ("outcome",), ("channel", "campaign_id")),
    ]
    sms = find_arms(ctx.settings.timeline_path)[1]
    assert (sms.name, sms.response_kinds, sms.response_match) == ("sms", ["purchase"], [])  # never answered as such
    assert "no contact of push" in caplog.text

    known = replace(ctx, config=ctx.config.model_copy(update={"arms": ctx.config.arms[:1]}))
    assert with_arms_of_log(known) is known


def test_a_log_without_contacts_says_what_to_ingest(tmp_path: Path) -> None:
    ctx = context(tmp_path, [{**MAIL, "name": "push", "channel": "push"}])
    ctx = replace(ctx, config=ctx.config.model_copy(update={"arms_not_in_log": "find"}))
    table = pd.read_parquet(ctx.settings.timeline_path)
    table[table["kind"] == "purchase"].to_parquet(ctx.settings.timeline_path)
    with pytest.raises(InputError, match="Ingest what was sent"):
        with_arms_of_log(ctx)
