"""Hyper-parameters: names that were given up are refused with the new one, and those in use are in the written list."""

import re
from pathlib import Path

import pytest

from features.config import Config
from features.errors import InputError
from features.vocabulary import Task
from training import pipeline
from training.models.best_channel.effects import EffectsConfig
from training.models.boosted import BoosterConfig, parameters
from training.models.churn.contract import ContractConfig
from training.models.next_product.config import NextProductConfig
from training.models.recommenders.lambdamart import RankerConfig
from training.models.uplift.meta_learners import EffectConfig
from training.models.win_back.learner import LearnerConfig
from training.tuning import Range, check_space

README = Path(pipeline.__file__).with_name("README.md")
CONFIGS = (BoosterConfig, ContractConfig, EffectConfig, EffectsConfig, LearnerConfig, NextProductConfig, RankerConfig)


@pytest.mark.parametrize(
    ("task", "old", "new"),
    [
        (Task.CHURN, "booster.lambda_l2", "booster.l2"),
        (Task.CHURN, "booster.early_stopping_rounds", "booster.patience"),
        (Task.CHURN, "booster.num_threads", "booster.n_threads"),
        (Task.CHURN, "contract.lambda_l2", "contract.l2"),
        (Task.CHURN, "contract.shrinkage", "contract.inverse_l2"),
        (Task.BEST_CHANNEL, "effects.history_prior", "effects.prior_strength"),
        (Task.BEST_CHANNEL, "effects.learner.arm_prior_rows", "effects.learner.prior_strength"),
        (Task.WIN_BACK, "n_rounds", "max_rounds"),
        (Task.NEXT_PRODUCT, "n_events", "max_length"),
        (Task.NEXT_PRODUCT, "n_random", "n_negatives"),
        (Task.NEXT_PRODUCT, "rule_window_days", "tables.rules.window_days"),
        (Task.NEXT_PRODUCT, "ranker.lambda_l2", "ranker.l2"),
    ],
)
def test_an_old_key_is_refused_with_the_new_one(task: Task, old: str, new: str) -> None:
    with pytest.raises(InputError, match=re.escape(f"--set {old}: {old} is now {new}.")):
        pipeline.load_config(task, None, [f"{old}=3"])


def test_an_old_key_in_a_file_is_refused_with_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[booster]\nlambda_l2 = 3\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.toml: booster\.lambda_l2 is now booster\.l2\."):
        pipeline.load_config(Task.CHURN, file)


def test_an_old_key_in_a_search_space_is_refused_with_the_new_one(tmp_path: Path) -> None:
    config = pipeline.load_config(Task.CHURN)
    check_space(config, {"booster.l2": Range(low=1, high=2)}, tmp_path / "space.toml")
    with pytest.raises(InputError, match=r"space\.toml: booster\.lambda_l2 is now booster\.l2\."):
        check_space(config, {"booster.lambda_l2": Range(low=1, high=2)}, tmp_path / "space.toml")


def test_what_is_tuned_is_called_as_the_list_says() -> None:
    listed = set(re.findall(r"`(\w+)`", README.read_text(encoding="utf-8").split("## Names of hyper-parameters")[1]))
    for config in CONFIGS:
        for old, new in config.RENAMED.items():
            assert new.rsplit(".", 1)[-1] in listed, (config.__name__, new)
            assert old not in config.model_fields
    tuned = {key.rsplit(".", 1)[-1] for task in pipeline.TASKS for key in _search_keys(task)}
    assert tuned - {"popularity_half_life_days"} <= listed


def test_lightgbm_is_told_by_its_own_names() -> None:
    told = parameters(BoosterConfig(l2=3.0, n_threads=2), seed=1)
    assert (told["lambda_l2"], told["num_threads"]) == (3.0, 2)
    assert not {"l2", "n_threads", "patience", "max_rounds"} & set(told)


def test_every_config_refuses_what_it_does_not_know() -> None:
    assert all(issubclass(config, Config) for config in CONFIGS)
    with pytest.raises(InputError, match=r"there is no key booster\.lambda\."):
        pipeline.load_config(Task.CHURN, None, ["booster.lambda=3"])


def _search_keys(task: Task) -> list[str]:
    from training.tuning import SEARCHES, load_space

    return list(load_space(task)) if task in SEARCHES else []
