"""A champion of before the feature code changed: whoever takes its place need only be no worse."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from features.fingerprint import FEATURE_CODE_TAG, feature_code
from training import registry
from training.gates import Gates, judge_against


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
