"""The benchmark of logged decisions, on made experiments whose answer is known: who differs, who does not, who cannot tell."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import omni
from features.errors import InputError
from training.benchmarks.best_channel import benchmark, cross_fit, judge_decisions
from training.data.decisions import as_decisions, encode, read_decisions, reference_arm
from training.evaluation.qini import N_POINTS, auuc, qini, qini_curve, rank_within
from training.models.uplift.meta_learners import EffectConfig
from training.models.uplift.shrinkage import arm_levels

WANTED = {"policy_value_dr", "policy_value_snips", "policy_value_ips", "policy_value_dm"}


def experiment(n: int, differ: float, seed: int = 0) -> pd.DataFrame:
    """A fair test of three arms; mail helps who likes mail by `differ`, and text messages help the others."""
    rng = np.random.default_rng(seed)
    likes = rng.random(n) < 0.5
    action = rng.choice(["nothing", "mail", "text"], n)
    chance = 0.2 + np.where(action == "mail", 0.06 + np.where(likes, differ, -differ), 0.0)
    chance += np.where(action == "text", 0.02 - np.where(likes, differ, -differ), 0.0)
    return pd.DataFrame(
        {
            "action": action,
            "pscore": 1 / 3,
            "reward": (rng.random(n) < chance).astype(int),
            "x_likes": np.where(likes, "mail", "other"),
            "x_noise": rng.normal(size=n),
            "x_gap": np.where(rng.random(n) < 0.3, np.nan, 1.0),
        }
    )


def test_personalisation_is_found_where_customers_differ() -> None:
    report = judge_decisions(as_decisions(experiment(4_000, 0.15)))
    assert report.gains["best_single_arm"].low > 0
    # mail to who likes it is worth 0.41, text to the others 0.37, mail to everybody 0.26
    assert report.metrics["policy_value_dr"].value == pytest.approx(0.39, abs=0.03)
    assert report.baselines["best_single_arm"]["policy_value_dr"].value == pytest.approx(0.26, abs=0.03)
    assert report.metrics["qini_mail"].low > 0
    assert report.metrics["qini_text"].low > 0
    assert "beats the best single arm" in report.protocol["conclusion"]


@pytest.mark.parametrize("words", [(True, False), ("true", "false"), (1, 0)])
def test_what_nobody_sent_is_left_out_and_counted(tmp_path: Path, words: tuple[object, object]) -> None:
    table = experiment(3_000, 0.15)
    lost = np.arange(len(table)) % 3 == 0
    plain = as_decisions(table)
    table["delivered"] = np.where(lost & (table["action"] != "nothing"), words[1], words[0])
    table.loc[lost, "reward"] = 0
    table.to_csv(tmp_path / "log.csv", index=False)
    found = read_decisions(tmp_path / "log.csv")
    counts = np.bincount(found.log.action, minlength=3) / np.bincount(plain.log.action, minlength=3)
    assert counts == pytest.approx([2 / 3] * 3, abs=0.05)  # nothing is thinned as the others are
    assert found.not_delivered == {arm: int((lost & (table["action"] == arm)).sum()) for arm in ("mail", "text")}
    mailed = found.log.reward[found.log.action == found.arms.index("mail")]
    assert mailed.mean() == pytest.approx(table.loc[~lost & (table["action"] == "mail"), "reward"].mean())


def test_a_word_that_is_neither_delivered_nor_not_is_refused() -> None:
    table = experiment(100, 0.1).assign(delivered=2)
    with pytest.raises(InputError, match="delivered is neither true nor false"):
        as_decisions(table, "the file")
    with pytest.raises(InputError, match="holds no decision that was delivered"):
        as_decisions(table.query("action != 'nothing'").assign(delivered=False))


def test_nothing_is_claimed_where_nobody_differs() -> None:
    report = judge_decisions(as_decisions(experiment(4_000, 0.0)))
    assert report.metrics["policy_value_dr"] == report.baselines["best_single_arm"]["policy_value_dr"]
    assert (report.gains["best_single_arm"].low, report.gains["best_single_arm"].high) == (0.0, 0.0)
    assert report.protocol["policy_per_fold"] == ["best_single_arm"] * 5
    assert "not proven to differ" in report.protocol["conclusion"]


def test_the_report_has_the_promised_names(tmp_path: Path) -> None:
    table = experiment(600, 0.1)
    table["timestamp"] = pd.date_range("2024-01-01", periods=len(table), freq="h", tz="UTC")
    table.to_csv(tmp_path / "log.csv", index=False)
    command = ["benchmark", "best-channel", "--decisions", str(tmp_path / "log.csv"), "--json"]
    result = CliRunner().invoke(omni.app, [*command, "--report", str(tmp_path / "r.json")])
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report == json.loads(result.stdout)
    assert {"metrics", "baselines", "seconds", "protocol", "rows", "seed"} <= set(report)
    assert {*WANTED, "qini_mail", "qini_nothing", "qini_text"} <= set(report["metrics"])
    assert {"best_single_arm", "logging_policy", "random", "always_mail"} <= set(report["baselines"])
    for baseline in ("best_single_arm", "logging_policy"):
        assert set(report["baselines"][baseline]) >= WANTED
    assert report["baselines"]["logging_policy"]["policy_value_ips"]["value"] == pytest.approx(table["reward"].mean())
    assert report["protocol"]["qini_against"] == "nothing"
    assert report["rows"]["decisions"] == 600


def test_rows_of_a_customer_stay_in_one_fold() -> None:
    table = experiment(300, 0.1)
    table["customer_id"] = np.arange(300) // 3
    judged = cross_fit(as_decisions(table), EffectConfig(), 0)
    folds = pd.Series(judged.folds).groupby(table["customer_id"]).nunique()
    assert folds.max() == 1
    assert set(judged.folds) == {0, 1, 2, 3, 4}


def test_many_arms_and_no_features_are_fine() -> None:
    rng = np.random.default_rng(0)
    arms = rng.integers(0, 24, 2_000)
    log = pd.DataFrame(
        {"action": arms, "pscore": 1 / 24, "reward": (rng.random(2_000) < 0.1 + 0.03 * arms).astype(float)}
    )
    report = judge_decisions(as_decisions(log))
    assert report.metrics["policy_value_dr"].value == pytest.approx(0.77, abs=0.1)
    assert "qini_23" in report.metrics


def test_a_lucky_arm_with_a_handful_of_rows_is_not_taken_for_the_best() -> None:
    table = experiment(1_500, 0.0)
    table.loc[:3, ["action", "pscore", "reward"]] = ["rare", 0.004, 1]
    report = judge_decisions(as_decisions(table))
    assert "rare" not in report.protocol["best_single_arm_per_fold"]
    assert "always_rare" not in report.baselines
    assert "4.0 effective rows" in report.protocol["support"]["always_rare"]["refusal"]


def test_policies_choose_among_the_arms_by_which_a_customer_can_be_reached() -> None:
    table = experiment(1_500, 0.0)
    reached = np.random.default_rng(1).random(1_500) < 0.5
    table["eligible_mail"] = reached
    table.loc[table["action"] == "mail", "reward"] = 1  # so mail is the best by far
    decisions = as_decisions(table)
    assert decisions.eligible is not None
    assert decisions.eligible[:, decisions.arms.index("text")].all()
    chances = cross_fit(decisions, EffectConfig(learners=("dr_linear",)), 0).chances["learned"]
    assert chances[~reached, decisions.arms.index("mail")].max() == 0.0
    assert chances[reached, decisions.arms.index("mail")].mean() == 1.0


def test_an_arms_level_is_shrunk_by_how_unsure_it_is() -> None:
    rng = np.random.default_rng(0)
    score = np.column_stack([rng.normal(0.0, 1, 400), rng.normal(1.0, 1, 400), rng.normal(1.2, 60, 400)])
    levels = arm_levels(score)
    plain = score.mean(axis=0)
    assert abs(levels[2] - plain[2]) > 10 * abs(levels[1] - plain[1])
    assert arm_levels(score[:, :2]) == pytest.approx(plain[:2], abs=0.02)


def test_logs_that_cannot_answer_are_refused_in_words(tmp_path: Path) -> None:
    log = experiment(300, 0.0)
    cases = {
        "pscore 1": log.assign(pscore=1.0),
        "no column 'pscore'": log.drop(columns="pscore"),
        "the one action 'mail'": log.assign(action="mail"),
        "pscore is 1.5": log.assign(pscore=1.5),
        "action is missing in 1 rows": log.assign(action=[None, *log["action"][1:]]),
        "holds no decision": log[:0],
    }
    for says, table in cases.items():
        table.to_parquet(tmp_path / "log.parquet")
        with pytest.raises(InputError, match=says):
            benchmark(tmp_path / "log.parquet")
    with pytest.raises(InputError, match="is not there"):
        read_decisions(tmp_path / "none.parquet")


def test_columns_of_every_kind_become_numbers() -> None:
    table = pd.DataFrame(
        {
            "x_n": [1, 2, None],
            "x_b": [True, False, True],
            "x_c": pd.Categorical(["a", "b", "a"]),
            "x_t": pd.to_datetime(["1970-01-02", "1970-01-03", None]),
            "x_i": [np.inf, 1.0, 2.0],
        }
    )
    x, names = encode(table)
    assert names == ("x_n", "x_b", "x_c=a", "x_c=b", "x_t", "x_i")
    assert np.array_equal(x[:, :4], [[1, 1, 1, 0], [2, 0, 0, 1], [np.nan, 1, 1, 0]], equal_nan=True)
    assert np.array_equal(x[:, 4:], [[1, np.nan], [2, 1], [np.nan, 2]], equal_nan=True)


def test_the_arm_that_does_nothing_is_told_by_its_name() -> None:
    assert reference_arm(["Mens E-Mail", "No E-Mail", "Womens E-Mail"]) == 1
    assert reference_arm(["control", "treated"]) == 0
    assert reference_arm(["0", "1", "2"]) is None
    assert reference_arm(["normal", "notice"]) is None


def test_the_qini_curve_equals_its_formula_by_hand() -> None:
    table = pd.DataFrame({"action": ["a", "b", "a", "b"], "pscore": 0.5, "reward": [1.0, 0.0, 0.0, 1.0]})
    log = as_decisions(table).log
    effect = np.array([4.0, 3.0, 2.0, 1.0])
    gains = qini_curve(log, effect, 0, 1)(np.ones(4))
    # the best half: 1 against 0, so one half; all: 1/2 against 1/2, so nothing
    assert gains[N_POINTS // 2 - 1] == pytest.approx(0.5)
    assert gains[-1] == pytest.approx(0.0)
    assert qini(log, effect, 0, 1)(np.ones(4)) == pytest.approx(auuc(gains))
    assert auuc(np.array([0.5, 1.0])) == pytest.approx(0.5)  # a straight line
    assert qini(log, -effect, 0, 1)(np.ones(4)) < 0 < qini(log, effect, 0, 1)(np.ones(4))


def test_ranks_are_within_folds() -> None:
    assert rank_within(np.array([10.0, 11.0, 1.0, 2.0]), np.array([0, 0, 1, 1])).tolist() == [0.25, 0.75, 0.25, 0.75]
    folds = np.array([0, 0, 0, 1, 1, 2])
    assert rank_within(np.full(6, 3.0), folds).tolist() == [0.5] * 6  # folds of any size: nobody lies above anybody
    assert rank_within(np.array([1.0, 1.0, 2.0, 5.0, 4.0, 0.0]), folds) == pytest.approx(
        [1 / 3, 1 / 3, 5 / 6, 0.75, 0.25, 0.5]
    )
