"""Win-back where it is served: beside churn, in the tables for everybody, and missing without harm."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_decisions import table_of_all

from features.errors import MissingError
from features.log.sqlite import SqliteEventLog
from features.scoring.win_back import SCORE_FILE, Lapsing, LinearEffect, WinBackScore
from features.vocabulary import CORE_TASKS, Task
from serving.campaigns.audience import audience_table
from serving.campaigns.condition import Condition
from serving.campaigns.decisions import DECISION_SCHEMA
from serving.runtime import Runtime
from serving.schemas import ChurnRequest
from serving.scorers.bundle import Bundle, load_scorer
from serving.scorers.model_card import ModelCard
from serving.scorers.registry import next_bundle
from serving.scorers.win_back import WinBackScorer

EFFECT = LinearEffect(np.zeros(1), np.zeros(1), 0.25)
CARD = ModelCard(Task.WIN_BACK, "4", "win_back_v2")


def score(after: float) -> WinBackScore:
    return WinBackScore(("tenure_days",), EFFECT, (EFFECT, EFFECT), Lapsing(after, 30.0), 0.1, True, 14.0, 28.0)


@pytest.fixture
def serve(runtime: Runtime) -> Callable[[float], Runtime]:
    """The runtime with a model for which ada is lapsing after so many of her gaps."""

    def with_model(after: float) -> Runtime:
        bundle = replace(runtime.knowledge.bundle, win_back=WinBackScorer(CARD, score(after)))
        runtime.knowledge = replace(runtime.knowledge, bundle=bundle)
        return runtime

    return with_model


def test_without_a_model_nothing_is_said_and_nothing_is_missed(runtime: Runtime) -> None:
    answer = runtime.answers.churn(ChurnRequest(customer_id="ada"))
    assert answer.win_back is None
    assert answer.models == {"churn": "2"}
    assert runtime.tasks == CORE_TASKS and Task.WIN_BACK not in runtime.tasks
    assert (runtime.not_ready(), runtime.fallbacks()) == ([], {})
    runtime.tasks = (*CORE_TASKS, Task.WIN_BACK)
    assert "omni train win-back" in runtime.fallbacks()[Task.WIN_BACK]
    assert "win_back_uplift" not in audience_table(runtime, ["ada"]).columns
    with pytest.raises(MissingError, match="omni train win-back"):
        runtime.knowledge.bundle.need_win_back()


def test_a_lapsing_customer_has_an_uplift_and_the_others_are_left_alone(serve: Callable[[float], Runtime]) -> None:
    answer = serve(0.01).answers.churn(ChurnRequest(customer_id="ada"))
    assert answer.win_back is not None
    assert answer.win_back.model_dump() == {"uplift": 0.25, "advice": "contact", "model_version": "4"}
    assert answer.models == {"churn": "2", "win-back": "4"}
    busy = serve(1000.0).answers.churn(ChurnRequest(customer_id="ada")).win_back
    assert busy is not None
    assert busy.model_dump() == {"uplift": None, "advice": "leave alone", "model_version": "4"}


def test_audiences_are_chosen_by_uplift_and_advice(serve: Callable[[float], Runtime]) -> None:
    table = audience_table(serve(0.01), ["ada"])
    assert table[["win_back_uplift", "win_back_advice"]].to_numpy().tolist() == [[0.25, "contact"]]
    assert Condition.parse("win_back_uplift > 0.2 and win_back_advice == 'contact'").select(table).tolist() == [True]


def test_decisions_for_everybody_carry_it_and_stay_the_same(
    runtime: Runtime, serve: Callable[[float], Runtime], log: SqliteEventLog
) -> None:
    def decide() -> tuple[str, dict[str, object]]:
        table = table_of_all(runtime, "ada")
        assert table.schema == DECISION_SCHEMA
        row = table.to_pylist()[0]
        return row["decision_id"], {name: row[name] for name in ("win_back_uplift", "win_back_advice", "models")}

    before, without = decide()
    serve(0.01)
    after, with_model = decide()
    assert before == after
    assert (without["win_back_uplift"], without["win_back_advice"]) == (None, None)
    assert (with_model["win_back_uplift"], with_model["win_back_advice"]) == (0.25, "contact")
    assert '"win-back": "4"' in str(with_model["models"]) and "win-back" not in str(without["models"])


def test_a_champion_is_found_and_loaded_like_the_others(tmp_path: Path) -> None:
    def download(folder: Path) -> Path:
        (folder / SCORE_FILE).write_text(score(2.0).to_json(), encoding="utf-8")
        return folder

    bundle = next_bundle(Bundle(), lambda task: (CARD, download) if task is Task.WIN_BACK else None)
    assert bundle.need_win_back().score.lapsing == Lapsing(2.0, 30.0)
    assert [info.version for info in bundle.infos() if info.ready] == ["4"]
    assert [info.task for info in bundle.infos()] == [task.value for task in Task]
    scorer = load_scorer(CARD, {}, download(tmp_path))
    assert isinstance(scorer, WinBackScorer)
