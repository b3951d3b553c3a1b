"""Before a service says that it is ready, each question was asked once: nobody waits for what is made at first use."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from features.errors import StoreError
from features.log.sqlite import SqliteEventLog
from features.settings import Settings
from features.vocabulary import Task
from serving import runtime as runtime_module
from serving.answers import Answers, Knowledge
from serving.runtime import Runtime, Watcher
from serving.scorers.bundle import LOADING, Bundle
from serving.warm_up import rehearse

QUESTIONS = ("profile", "next_products", "churn", "best_channel", "decide")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every question that is asked, and how it ended."""
    found: list[tuple[str, str]] = []

    def watched(name: str, answer: Any) -> Any:
        def ask(*args: Any, **kwargs: Any) -> Any:
            try:
                result = answer(*args, **kwargs)
            except Exception as error:
                found.append((name, type(error).__name__))
                raise
            found.append((name, "answered"))
            return result

        return ask

    for name in QUESTIONS:
        monkeypatch.setattr(Answers, name, watched(name, getattr(Answers, name)))
    return found


def test_every_question_is_asked_and_nothing_is_written(
    runtime: Runtime, log: SqliteEventLog, asked: list[tuple[str, str]]
) -> None:
    before = log.last_seq()
    rehearse(runtime.knowledge, runtime.clock, runtime.rules)
    assert asked == [(name, "answered") for name in QUESTIONS]
    assert log.last_seq() == before
    assert log.resolve("rehearsal", {}) == "rehearsal" and log.customer_events("rehearsal").num_rows == 0


def test_what_needs_no_model_is_rehearsed_and_broken_models_are_logged(
    runtime: Runtime, asked: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    rehearse(Knowledge(), runtime.clock, runtime.rules)
    assert asked == [(name, "answered") for name in QUESTIONS]
    assert not caplog.records
    broken = replace(runtime.knowledge.bundle, churn=object())  # type: ignore[arg-type]
    rehearse(replace(runtime.knowledge, bundle=broken), runtime.clock, runtime.rules)
    assert asked[6:] != [] and asked[-1][0] == "decide"
    assert "AttributeError" in caplog.text


def test_without_a_place_to_rehearse_it_goes_on(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise StoreError("The event log cannot be used: database or disk is full.")

    monkeypatch.setattr("serving.warm_up.SqliteEventLog", full)
    rehearse(runtime.knowledge, runtime.clock, runtime.rules)
    assert "first answers will be slow" in caplog.text


def test_it_is_not_ready_before_it_is_rehearsed(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, list[str]]] = []

    def watched(knowledge: Knowledge, *_: object) -> None:
        seen.append((knowledge.bundle.churn is not None, runtime.not_ready()))

    bundle, states = runtime.knowledge.bundle, runtime.knowledge.states
    runtime.knowledge = Knowledge(Bundle(problems=dict.fromkeys(Task, LOADING)), states=states)
    monkeypatch.setattr(runtime_module, "rehearse", watched)
    monkeypatch.setattr(Watcher, "_champions", lambda *_: bundle)
    settings = Settings(tmp_path, f"sqlite:///{tmp_path}/events.db", f"sqlite:///{tmp_path}/mlflow.db")
    Watcher(settings, runtime).refresh()
    assert [has_model for has_model, _ in seen] == [True]
    assert seen[0][1] == [LOADING]
    assert runtime.not_ready() == []
