"""Effects from logged decisions of a simulated world: what is learned, what is written, and what serving reads back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from made_world import context_of, differing_world, write_timeline

from features.outcomes.rewards import RewardConfig, decision_entities
from features.scoring.effects import load_effects
from features.signals import SIGNAL_NAMES, compute_signals
from features.simulator.world import World
from features.state.batch import StateBatch
from features.vocabulary import Task
from training.benchmarks.report import MemoryStates
from training.data.splits import TimeSplit
from training.evaluation.plots import policy_values
from training.models.best_channel.effects import Effects, EffectsConfig, learn_effects, summary
from training.models.best_channel.evidence import no_evidence
from training.pipeline import CONFIGS, load_config

CONFIG = load_config(Task.BEST_CHANNEL, CONFIGS / "best-channel-decisions.toml")
CHANNELS = {arm.name: arm.channel for arm in CONFIG.arms}  # type: ignore[attr-defined]
COSTS = {arm.name: arm.cost for arm in CONFIG.arms}  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def world() -> World:
    return differing_world(400)


@pytest.fixture(scope="module")
def timeline(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_timeline(world, tmp_path_factory.mktemp("world"))


def learned(timeline: Path, **changes: object) -> Effects | None:
    split = TimeSplit.at_end_of(pd.Timestamp("2024-03-11", tz="UTC").to_pydatetime(), 10)
    config = EffectsConfig(**{**CONFIG.effects.model_dump(), **changes})  # type: ignore[attr-defined]
    return learn_effects(context_of(timeline), config, COSTS, CHANNELS, split)


@pytest.fixture(scope="module")
def effects(timeline: Path) -> Effects:
    found = learned(timeline)
    assert found is not None
    return found


def test_the_reward_of_a_decision_is_the_worlds_own(world: object, timeline: Path) -> None:
    rows = decision_entities(timeline, CONFIG.effects.reward, COSTS, pd.Timestamp("2024-03-11", tz="UTC"))  # type: ignore[attr-defined]
    log = world.decisions.set_index("decision_id")  # type: ignore[attr-defined]
    events = world.events.to_pandas()  # type: ignore[attr-defined]
    ids = events[events["kind"] == "decision"].set_index("event_id")["decision_id"]
    ours = rows.set_index(rows["key"].map(ids))
    truth = log.loc[ours.index]
    assert len(ours) > 0.95 * len(log)
    assert (ours["arm"] == truth["action"]).all()
    assert ours["pscore"].to_numpy() == pytest.approx(truth["pscore"].to_numpy(), rel=1e-8)
    assert ours["label"].to_numpy() == pytest.approx(truth["reward"].to_numpy(), abs=0.01)


@pytest.mark.parametrize(("counts", "says"), [("engagement", {0.0, 1.0}), ("purchase", {0.0, 1.0})])
def test_other_rewards_count_and_cost_nothing_where_told_so(timeline: Path, counts: str, says: set[float]) -> None:
    reward = RewardConfig(counts=counts, costs=False)  # type: ignore[arg-type]
    rows = decision_entities(timeline, reward, COSTS, pd.Timestamp("2024-03-11", tz="UTC"))
    assert set(rows["label"]) == says
    if counts == "engagement":
        assert rows.loc[rows["arm"] == "nothing", "label"].max() == 0.0


def test_the_policy_is_judged_on_later_decisions(effects: Effects) -> None:
    assert effects.policy.personal
    assert effects.rows["train/decisions"] > 1_000
    assert set(effects.metrics) == {f"policy_value_{name}" for name in ("dr", "snips", "ips", "dm")}
    assert {"best_single_arm", "random", "logging_policy"} <= set(effects.baselines)
    assert effects.metrics["policy_value_dr"].value > effects.baselines["random"]["policy_value_dr"].value
    assert "On later decisions" in summary(effects)


def test_the_values_are_drawn_with_their_intervals(effects: Effects) -> None:
    figure = policy_values({"learned": effects.metrics["policy_value_dr"]}, "values")
    line, point = figure.axes[0].lines
    metric = effects.metrics["policy_value_dr"]
    assert list(line.get_xdata()) == [metric.low, metric.high]
    assert list(point.get_xdata()) == [metric.value]


def test_serving_reads_what_training_wrote(effects: Effects, timeline: Path, tmp_path: Path) -> None:
    effects.write(tmp_path)
    scorer = load_effects(tmp_path, "the model")
    assert scorer is not None
    ends = pd.DataFrame(
        {"customer_id": [f"C{i:06d}" for i in range(40)], "as_of": pd.Timestamp("2024-03-11", tz="UTC")}
    )
    states = MemoryStates(pq.read_table(timeline)).training_states(ends, Task.BEST_CHANNEL)
    signals = compute_signals(states, np.full(40, pd.Timestamp("2024-03-11", tz="UTC").timestamp()))
    columns = [SIGNAL_NAMES.index(name) for name in effects.signals]
    n = np.nan_to_num(signals[:, SIGNAL_NAMES.index("n_action_occasions")].astype(float))
    ours = effects.policy.effects(signals[:, columns], n / (n + effects.history_prior))
    assert scorer.gains(signals) == pytest.approx(ours - ours[:, [0]], rel=1e-6, abs=1e-9)
    assert scorer.personal
    assert np.ptp(scorer.gains(signals), axis=0).max() > 0


def test_nobody_known_gets_the_populations_answer(effects: Effects, tmp_path: Path) -> None:
    effects.write(tmp_path)
    scorer = load_effects(tmp_path, "the model")
    assert scorer is not None
    nobody = compute_signals(StateBatch.empty(1), np.array([0.0]))
    assert scorer.gains(nobody)[0] == pytest.approx(effects.policy.means - effects.policy.means[0])


def test_too_few_decisions_teach_nothing(timeline: Path) -> None:
    assert learned(timeline, min_decisions=100_000) is None
    assert "too few decisions" in summary(None)


def test_two_policies_are_compared_on_the_same_decisions(effects: Effects, timeline: Path, tmp_path: Path) -> None:
    evidence = effects.evidence
    assert (evidence.learned, evidence.refusal) == (True, "")
    assert evidence.scores.mean() == pytest.approx(effects.metrics["policy_value_dr"].value)
    assert evidence.logged.mean() == pytest.approx(effects.baselines["logging_policy"]["policy_value_dr"].value)
    assert evidence.rival(tmp_path) is None  # a version without effects
    effects.write(tmp_path)
    theirs = evidence.rival(tmp_path)
    assert theirs is not None
    assert np.mean(theirs == evidence.scores) > 0.99  # the same choices, but for ties within rounding
    everybody = learned(timeline, learner={"learners": ["dr_linear"], "max_rounds": 1})
    assert everybody is not None
    everybody.write(tmp_path)
    other = evidence.rival(tmp_path)
    assert other is not None
    assert not np.array_equal(other, evidence.scores)
    assert no_evidence().rival(tmp_path) is not None
