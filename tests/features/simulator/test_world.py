"""The simulated world: valid events, a truth that its own rewards agree with, and nothing to find where nothing is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import omni
from features.errors import InputError
from features.events.schema import EVENT_SCHEMA, validate_table
from features.simulator.people import CONTACT
from features.simulator.world import START, World, WorldConfig, simulate, world_config
from features.vocabulary import EventKind


@pytest.fixture(scope="module")
def world() -> World:
    return simulate(WorldConfig(n_customers=500, n_days=84, seed=3, warmup_days=14))


@pytest.fixture(scope="module")
def events(world: World) -> pd.DataFrame:
    return world.events.to_pandas()


def test_every_event_is_valid_and_in_order(world: World) -> None:
    good, rejected = validate_table(world.events)
    assert rejected.num_rows == 0
    assert good.num_rows > 20_000
    assert world.events.schema == EVENT_SCHEMA
    moments = world.events["occurred_at"].cast(pa.int64()).to_numpy()
    assert (np.diff(moments) >= 0).all()
    assert len(set(world.events["event_id"].to_pylist())) == good.num_rows


def test_the_same_seed_gives_the_same_world_and_another_one_another(world: World) -> None:
    small = WorldConfig(n_customers=40, n_days=40, seed=1)
    one, two = simulate(small), simulate(small)
    assert one.events.equals(two.events)
    pd.testing.assert_frame_equal(one.decisions, two.decisions)
    pd.testing.assert_frame_equal(one.truth, two.truth)
    assert not one.events.equals(simulate(WorldConfig(n_customers=40, n_days=40, seed=2)).events)


def test_all_channels_and_both_ends_of_the_journey_are_there(events: pd.DataFrame) -> None:
    assert set(events["channel"]) == {
        "web",
        "app",
        "store",
        "social",
        "chat",
        "call_center",
        "email",
        "push",
        "sms",
        "ads",
        "post",
    }
    never = {"deliver", "subscribe", "ignore", "impression", "erase"}
    assert set(events["kind"]) == {kind.value for kind in EventKind} - never


def test_identifiers_appear_as_in_life(events: pd.DataFrame) -> None:
    kinds_of = events.assign(
        ids=events["identifiers"].map(lambda pairs: tuple(k for k, _ in pairs) if pairs is not None else ())
    )
    anonymous = kinds_of[events["customer_id"].isna()]
    assert 0.02 < len(anonymous) / len(events) < 0.3
    assert set(anonymous["ids"]) == {("cookie",)}
    store = kinds_of[(events["kind"] == "purchase") & (events["channel"] == "store")]
    assert set(store["ids"]) == {("loyalty_card",)}
    logins = kinds_of[(events["kind"] == "identify") & (events["channel"] == "web")]
    assert ("cookie", "email") in set(logins["ids"])
    cookie = kinds_of["ids"] == ("cookie",)
    known = kinds_of[cookie & events["customer_id"].notna() & (events["channel"] == "web")]
    owners = (
        known.assign(cookie=known["identifiers"].map(lambda pairs: pairs[0][1]))
        .groupby("cookie")["customer_id"]
        .nunique()
    )
    assert owners.max() == 1


def test_rewards_agree_with_the_truth_and_pscores_with_the_policy(world: World) -> None:
    taken = np.array([world.arms.index(action) for action in world.decisions["action"]])
    expected = world.expected()[np.arange(len(taken)), taken]
    missed = world.decisions["reward"].to_numpy() - expected
    assert abs(missed.mean()) < 3 * missed.std() / np.sqrt(len(missed))
    inverse = 1 / world.decisions["pscore"]
    for arm in world.arms:
        weight = np.where(world.decisions["action"] == arm, inverse, 0.0)
        assert weight.mean() == pytest.approx(1.0, abs=4 * weight.std() / np.sqrt(len(weight)))


def test_what_is_known_at_a_decision_is_what_happened_before(world: World, events: pd.DataFrame) -> None:
    sends = events[events["kind"] == "send"]
    row = world.decisions.iloc[-1]
    before = sends[(sends["customer_id"] == row["customer_id"]) & (sends["occurred_at"] < row["as_of"])]
    days = (row["as_of"].floor("D") - before["occurred_at"].dt.floor("D")).dt.days
    assert len(before) > 0
    assert row["x_contacts_7d"] == pytest.approx((0.5 ** (days / 7)).sum())
    assert row["x_days_since_contact"] == days.min()


def test_a_contact_without_consent_is_not_sent_and_is_worth_what_nothing_is(world: World, events: pd.DataFrame) -> None:
    refused = (world.decisions["x_consent_sms"] == 0).to_numpy()
    assert refused.sum() > 100
    truth = world.truth[refused]
    assert (truth["expected_sms_morning"] == truth["expected_nothing"]).all()
    asked = world.decisions[refused & (world.decisions["action"] == "sms_evening")]
    sent = events[events["kind"] == "send"]["decision_id"]
    assert len(asked) > 0
    assert not asked["decision_id"].isin(sent).any()


def test_the_oracle_gains_from_difference_and_nothing_from_none() -> None:
    gains = {}
    for name in ("strong", "weak", "null"):
        expected = simulate(world_config(name, n_customers=200, n_days=50, seed=0)).expected()
        gains[name] = expected.max(axis=1).mean() / expected.mean(axis=0).max() - 1
    assert gains["null"] == pytest.approx(0.0, abs=1e-12)
    assert 0.2 < gains["weak"] < 0.6 * gains["strong"]


def test_in_the_world_of_retention_contacts_keep_and_drive_away_far_more() -> None:
    uplift = {
        name: simulate(world_config(name, n_customers=200, n_days=70, seed=0)).truth["retention_uplift"]
        for name in ("strong", "retention")
    }
    assert uplift["retention"].std() > 4 * uplift["strong"].std()
    assert (uplift["retention"] > 0.02).mean() > 0.2 < (uplift["retention"] < -0.02).mean()


def test_pressure_lowers_what_contacts_are_worth(world: World) -> None:
    effect = world.truth["probability_post"] - world.truth["probability_nothing"]
    pressed = world.decisions["x_pressure"]
    assert effect[pressed > 2].mean() < effect[pressed < 0.5].mean()


def test_who_stays_agrees_with_the_hazard() -> None:
    config = WorldConfig(n_customers=4_000, n_days=29, seed=5, warmup_days=99, churn_per_day=0.02)
    world = simulate(config)  # no contacts, so retention without one is what happens
    people = world.customers[world.customers["joined_at"] < pd.Timestamp(START)]
    assert people["left_at"].isna().mean() == pytest.approx(people["retention_nothing"].mean(), abs=0.03)
    ratio = people["contact_hazard_ratio"]
    assert (people.loc[ratio > 1, "retention_uplift"] < 0).all()
    assert (people.loc[ratio < 1, "retention_uplift"] > 0).all()


def test_predictability_is_what_behaviour_tells() -> None:
    def told(predictability: float) -> float:
        world = simulate(
            WorldConfig(n_customers=1_500, n_days=45, seed=2, predictability=predictability, warmup_days=40)
        )
        effect = world.truth["probability_ads"] - world.truth["probability_post"]
        x = world.decisions[["x_share_social", "x_share_store", "x_share_web", "x_share_app"]].to_numpy()
        x = np.column_stack([np.ones(len(x)), x])
        fitted = x @ np.linalg.lstsq(x, effect, rcond=None)[0]
        return float(np.corrcoef(fitted, effect)[0, 1] ** 2)

    assert told(0.0) < 0.05
    assert told(1.0) > 0.2


def test_stock_runs_out_and_is_filled_up(world: World) -> None:
    stock = world.stock.to_pandas()
    assert stock["store_id"].isna().any()
    empty = stock["units"] == 0
    assert 0.001 < empty.mean() < 0.5
    assert set(stock["as_of"].dt.dayofweek) == {0}


def test_the_command_writes_the_files(tmp_path: Path) -> None:
    command = ["simulate", "--customers", "30", "--days", "40", "--seed", "1", "--out", str(tmp_path / "w"), "--json"]
    result = CliRunner().invoke(omni.app, command)
    assert result.exit_code == 0, result.stderr
    files = {path.name for path in (tmp_path / "w").iterdir()}
    assert files == {
        f"{name}.parquet" for name in ("events", "products", "stock", "decisions", "truth", "customers")
    } | {"world.json"}
    log, truth = (pd.read_parquet(tmp_path / "w" / f"{name}.parquet") for name in ("decisions", "truth"))
    assert log["decision_id"].tolist() == truth["decision_id"].tolist()
    assert {"action", "pscore", "reward", "timestamp", "customer_id", "as_of"} <= set(log.columns)
    assert len([name for name in log.columns if name.startswith("x_")]) > 20


def test_settings_that_make_no_world_are_refused() -> None:
    with pytest.raises(InputError, match="predictability is 2"):
        WorldConfig(predictability=2)
    with pytest.raises(InputError, match="no world 'odd'"):
        world_config("odd")
    assert len(CONTACT) == 5
