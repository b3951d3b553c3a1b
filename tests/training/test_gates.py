"""When a challenger may become the champion: paired gains, baselines, slices, calibration, policies, newer data or code."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.errors import InputError
from features.fingerprint import FEATURE_CODE_TAG, feature_code
from features.vocabulary import Task
from training import gates, registry
from training.gates import Gates, PolicyGain, Verdict, judge_against, judge_first


def evaluation(scores: list[float], labels: list[float] | None = None) -> pd.DataFrame:
    n = len(scores)
    return pd.DataFrame(
        {
            "key": [f"k{i}" for i in range(n)],
            "customer_id": [f"c{i}" for i in range(n)],
            "label": labels if labels is not None else [np.nan] * n,
            "score": scores,
            "part": "all",
        }
    )


def test_the_gates_demand_a_paired_gain() -> None:
    rules = Gates(primary="ndcg@10")
    low, high = evaluation([0.1, 0.5, 0.2, 0.4] * 30), evaluation([0.2, 0.6, 0.3, 0.5] * 30)
    assert judge_against(rules, {}, high, low).passed
    assert not judge_against(rules, {}, low, high).passed
    assert not judge_against(rules, {}, low, low).passed
    assert "same rows" in str(judge_against(rules, {}, high, low.iloc[1:]))


def test_with_newer_data_no_worse_is_enough_if_the_baselines_are_beaten() -> None:
    rules = Gates(primary="ndcg@10", max_loss_if_newer=0.02)
    champion = evaluation([0.1, 0.5, 0.2, 0.4] * 30)  # 0.3 in the mean: 0.006 may be lost
    found = {"ndcg_at_10": 0.3, "baseline.popularity.ndcg_at_10": 0.2}

    def verdict(loss: float, newer: bool = True, rules: Gates = rules) -> Verdict:
        ours = champion.assign(score=champion["score"] - loss)
        return judge_against(rules, found, ours, champion, newer_data=newer)

    assert verdict(0.0).passed
    assert "needs > -0.006 (2.0% less than the champion: it knows newer data)" in str(verdict(0.0))
    assert verdict(0.005).passed
    assert not verdict(0.007).passed
    assert not verdict(0.0, newer=False).passed
    assert not verdict(0.0, rules=Gates(primary="ndcg@10")).passed
    found["baseline.popularity.ndcg_at_10"] = 0.35
    assert "refused: ndcg@10 0.3000, popularity has 0.3500" in str(verdict(0.005))
    assert verdict(-0.01).passed  # better: baselines are the first champion's matter


def test_with_newer_data_slices_and_policies_may_lose_the_same_share() -> None:
    rules = Gates(primary="ndcg@10", max_loss_if_newer=0.02, min_policy_gain=0.0)
    champion = evaluation([0.1, 0.5, 0.2, 0.4] * 30).assign(part=["a", "b"] * 60)  # 0.15 and 0.45 in the mean
    for loss, passed in ((0.002, True), (0.005, False)):
        ours = champion.assign(score=champion["score"] - np.where(champion["part"] == "a", loss, 0.0))
        assert judge_against(rules, {}, ours, champion, newer_data=True).passed == passed
    for low, passed in ((-0.01, True), (-0.03, False)):
        policy = PolicyGain("version 3", 3, "", 0.0, low, 0.01, rival_value=1.0)
        assert judge_against(rules, {}, champion, champion, policy, 3, newer_data=True).passed == passed
        assert not judge_against(rules, {}, champion, champion, policy, 3).passed


def test_by_other_feature_code_no_worse_is_enough() -> None:
    rules = Gates(primary="ndcg@10", max_loss_if_newer=0.02)
    champion = evaluation([0.1, 0.5, 0.2, 0.4] * 30)
    found = {"ndcg_at_10": 0.3, "baseline.popularity.ndcg_at_10": 0.2}
    assert not judge_against(rules, found, champion, champion).passed
    verdict = judge_against(rules, found, champion, champion, other_features=True)
    assert verdict.passed
    assert "less than the champion: the feature code has changed since the champion)" in str(verdict)


def test_a_champion_of_other_feature_code_is_known_by_its_tag() -> None:
    def version(code: str | None) -> Any:
        return SimpleNamespace(tags={} if code is None else {FEATURE_CODE_TAG: code})

    now = feature_code()
    assert registry._other_features(version(now), version("an older one"))
    assert not registry._other_features(version(now), version(now))
    assert not registry._other_features(version("an older one"), version("an older one"))
    assert not registry._other_features(version(now), version(None))  # a version of before tags were kept


def test_the_gates_watch_calibration_and_floors() -> None:
    labels = [1.0, 0.0] * 200
    sure, unsure = evaluation([0.7, 0.3] * 200, labels), evaluation([0.5, 0.5] * 200, labels)
    assert judge_against(Gates(primary="log_loss"), {}, sure, unsure).passed
    strict = Gates(primary="log_loss", max_ece_increase=0.005)
    assert "refused: calibration error 0.3000" in str(judge_against(strict, {}, sure, unsure))
    rng = np.random.default_rng(0)
    chances = rng.uniform(0.1, 0.9, 400)
    drawn = (rng.uniform(size=400) < chances).astype(float).tolist()
    champion = evaluation(chances.tolist(), drawn)
    for shift, says in (
        (0.03, "ok"),
        (0.04, "refused"),
    ):  # 0.0122 and 0.0182 worse, of which 0.0077 and 0.0098 is chance
        verdict = judge_against(strict, {}, champion.assign(score=champion["score"] + shift), champion)
        assert f"{says}: calibration error" in str(verdict)
    floored = Gates(primary="ndcg@10", floors={"coverage@10": 0.2})
    assert not judge_first(floored, {"ndcg_at_10": 0.5, "coverage_at_10": 0.1}).passed
    assert judge_first(floored, {"ndcg_at_10": 0.5, "coverage_at_10": 0.3}).passed


def test_the_first_version_must_beat_every_baseline() -> None:
    rules = Gates(primary="log_loss")
    assert judge_first(rules, {"log_loss": 0.3, "baseline.a.log_loss": 0.4, "baseline.a.auc": 0.9}).passed
    verdict = judge_first(rules, {"log_loss": 0.3, "baseline.a.log_loss": 0.4, "baseline.b.log_loss": 0.2})
    assert not verdict.passed
    assert "refused: log_loss 0.3000, b has 0.2000" in str(verdict)


def test_a_policy_must_not_be_worth_less_than_the_champions() -> None:
    rules = Gates(primary="ndcg@10", min_policy_gain=0.0)
    low, high = evaluation([0.1, 0.5, 0.2, 0.4] * 30), evaluation([0.2, 0.6, 0.3, 0.5] * 30)

    def verdict(policy: PolicyGain | None, champion: int = 3) -> Verdict:
        return judge_against(rules, {}, high, low, policy, champion)

    assert verdict(None).passed
    assert verdict(PolicyGain("version 3", 3, "", 0.0, 0.0, 0.0)).passed  # the same choices
    assert verdict(PolicyGain("version 3", 3, "", 0.5, 0.1, 0.9)).passed
    unsure = verdict(PolicyGain("version 3", 3, "", 0.5, -0.1, 1.1))
    assert not unsure.passed
    assert "refused: value of its choices over version 3's 0.5000 [-0.1000, 1.1000] per decision" in str(unsure)
    assert "compared with another champion (version 2)" in str(verdict(PolicyGain("version 2", 2, "", 0.5, 0.1, 0.9)))
    untold = PolicyGain("version 3", 3, "3.0 effective rows")
    assert "refused: what its choices are worth cannot be told from the log: 3.0 effective" in str(verdict(untold))
    first = judge_first(rules, {"ndcg_at_10": 0.5}, PolicyGain("the log's own decisions", None, "3.0 effective rows"))
    assert not first.passed
    assert judge_first(
        rules, {"ndcg_at_10": 0.5}, PolicyGain("the log's own decisions", None, "", 0.1, -0.1, 0.3)
    ).passed


def test_every_task_has_gates_and_a_broken_file_is_named(tmp_path: Path) -> None:
    assert {gates.load_gates(task).primary for task in Task} == {"log_loss", "ndcg@10", "policy_value"}
    (tmp_path / "gates.toml").write_text("[churn]\nprimary = 'auc'\nbeat_everything = true\n")
    with pytest.raises(InputError, match="beat_everything"):
        gates.load_gates(Task.CHURN, tmp_path / "gates.toml")
