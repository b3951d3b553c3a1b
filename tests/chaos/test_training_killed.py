"""`kill -9` of `omni train`: no half model is champion, the registry can be read, and another training does its work.

The plain run does one round; `make chaos` does eight, or as many as OMNI_CHAOS_TRAININGS says.
"""

import itertools
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from chaos.probe import Prober
from made_buyers import regular_buyers

from features.build import build_features
from features.clock import Clock
from features.errors import OmniError
from features.events.schema import parse_table
from features.log.engines import open_log
from features.settings import Settings
from features.vocabulary import Task
from training import tracking

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # within MLflow
SMALL = ("horizon_days=20", "step_days=10", "booster.max_rounds=30", "booster.min_data_in_leaf=20")
TRAIN = ["train", "churn", *(word for key in SMALL for word in ("--set", key))]
NOW = datetime(2024, 7, 2, tzinfo=UTC).isoformat()
"""Just after the last purchase."""


@dataclass
class Bench:
    """A home that nothing was trained in, and who trains in copies of it; `took_s` when nobody disturbs."""

    home: Path
    scratch: Path
    prober: Prober
    took_s: float = 0.0
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def copy(self) -> Settings:
        """The home anew, in another place than before: MLflow keeps a registry open that it once read."""
        copy = shutil.copytree(self.home, self.scratch / f"home-{next(self.numbers)}")
        return Settings.from_env({"OMNI_HOME": str(copy)})

    def train(self, settings: Settings, kill_after_s: float | None = None) -> dict[str, Any]:
        """Train in a copy, or be killed."""
        more = {"command": TRAIN, "kill_after_s": kill_after_s}
        return self.prober.do("run", settings.home, self.scratch, NOW, **more)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("training")
    (folder / "scratch").mkdir()
    bench = Bench(folder / "home", folder / "scratch", Prober())
    try:
        _make_home(Settings.from_env({"OMNI_HOME": str(bench.home)}))
        settings = bench.copy()
        outcome = bench.train(settings)
        assert outcome["answer"][0] == 0, outcome
        assert _champion(settings) == "whole"
        bench.took_s = outcome["took_s"]
        yield bench
    finally:
        bench.prober.close()


def test_a_training_that_was_killed_leaves_no_half_champion(bench: Bench) -> None:
    assert rounds(bench, 1, seed=1)["wrong"] == []


@pytest.mark.chaos
def test_trainings_that_are_killed_over_and_over(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    report = rounds(bench, int(os.environ.get("OMNI_CHAOS_TRAININGS", "8")), seed=2)
    with capsys.disabled():
        print(json.dumps(report))  # noqa: T201  (what `make chaos` is run for)
    assert report["wrong"] == [], report


def rounds(bench: Bench, n_rounds: int, seed: int) -> dict[str, Any]:
    """Kill a training `n_rounds` times, each later than the one before, and train again; what came of it."""
    rng, counts, wrong = random.Random(seed), Counter[str](), []
    for number in range(n_rounds):
        settings = bench.copy()
        first = bench.train(settings, kill_after_s=bench.took_s * (number + rng.random()) / n_rounds)
        counts["killed" if "died" in first else "done before"] += 1
        between = _champion(settings)
        counts[f"then the champion is {between}"] += 1
        again = bench.train(settings)
        after = _champion(settings)
        if again.get("answer", (1,))[0] != 0 or after != "whole" or between not in ("none", "whole"):
            wrong.append({"killed": first.get("died"), "then": between, "again": again, "after": after})
    return {"rounds": n_rounds, **counts, "wrong": wrong}


def _champion(settings: Settings) -> str:
    """What there is of a champion, loaded and asked as the service does; every version of it can be read."""
    try:
        found = tracking.by_alias(settings, Task.CHURN, tracking.CHAMPION)
        if found is None:
            return "none"
        assert found in tracking.versions(settings, Task.CHURN)
        tracking.tried_model(settings, found)
    except OmniError as error:
        return str(error)
    return "whole"


def _make_home(settings: Settings) -> None:
    rows = regular_buyers(150)
    table, rejected = parse_table(
        [
            {
                "event_id": f"b{number}",
                "occurred_at": pd.Timestamp(row.occurred_at).isoformat(),
                "kind": "purchase",
                "channel": "store",
                "customer_id": row.customer_id,
                "product_id": f"p{number % 20}",
                "value": row.value,
            }
            for number, row in enumerate(rows.itertuples())
        ],
        Clock.from_settings(settings).now(),
    )
    assert not rejected
    with closing(open_log(settings)) as log:
        log.append(table)
    build_features(settings, lambda _: None)
