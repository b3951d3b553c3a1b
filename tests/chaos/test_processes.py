"""`kill -9` of the service's processes while it takes events and decides: nothing is lost, doubled or left over.

The plain run does two rounds; `make chaos` does fifty, or as many as OMNI_CHAOS_ROUNDS says.
"""

import itertools
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from chaos.harness import (
    CUSTOMERS,
    WITHIN_S,
    Load,
    Serving,
    answers,
    ask,
    free_port,
    is_running,
    kill,
    make_home,
    verify,
    wait_until,
)

from features.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # within MLflow
ROLES = ("supervisor", "server", "worker", "a worker", "stream")
COMBINATIONS = [
    roles
    for n in range(1, len(ROLES) + 1)
    for roles in itertools.combinations(ROLES, n)
    if not {"worker", "a worker"} <= set(roles)
]
SHORT = (("supervisor", "stream"), ("a worker", "stream"))
KEPT_A_ROUND = 30
KILLED = (
    ("supervisor", "server", "worker", "stream"),
    ("a worker",),
    ("server",),
    ("worker", "stream"),
    ("supervisor",),
)
"""Of a service that only decides: everything at once first."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return make_home(tmp_path_factory.mktemp("chaos") / "home")


@pytest.fixture(scope="module")
def serving(home: Settings) -> Iterator[Serving]:
    serving = Serving(home.home, free_port())
    try:
        serving.start().until_whole("/readyz")
        yield serving
        serving.end()
        assert serving.process.returncode == 0
    finally:
        serving.clean_up()


def rounds(
    serving: Serving, settings: Settings, chosen: list[tuple[str, ...]], seed: int, load: Load | None = None
) -> dict[str, object]:
    """Kill each of `chosen` in turn under load; what came of it. Fails where a promise was not kept."""
    rng, load, healthy_s = random.Random(seed), (load or Load(serving.port, seed)).start(), []
    try:
        for roles in chosen:
            kept = load.n_kept()
            wait_until(lambda kept=kept: load.n_kept() >= kept + KEPT_A_ROUND, "the load gets on")
            before = serving.everybody()
            kill(serving, roles, rng)
            if {"supervisor", "server"} & set(roles):
                serving.process.wait(WITHIN_S)
                serving.start()
            healthy_s.append(serving.until_whole("/readyz"))
            now = serving.everybody()
            left = [process for process in before if is_running(process) and process not in now]
            assert left == [], f"{roles} left {left}"
    finally:
        load.stop()
    found = verify(settings, load.promises)
    report: dict[str, object] = {
        "rounds": len(chosen),
        "acknowledged": found.acknowledged,
        "decided": found.decided,
        "lost": len(found.lost),
        "doubled": len(found.doubled),
        "wrong": len(found.wrong),
        "healthy_again_s": {"median": sorted(healthy_s)[len(healthy_s) // 2], "longest": max(healthy_s)},
        "answers": dict(load.promises.statuses),
    }
    assert found.clean, (report, found.lost[:5], found.doubled[:5], found.wrong[:5])
    return report


def test_nothing_is_lost_when_processes_are_killed(serving: Serving, home: Settings) -> None:
    report = rounds(serving, home, list(SHORT), seed=1)
    assert report["rounds"] == len(SHORT)


@pytest.mark.chaos
def test_nothing_is_lost_when_processes_are_killed_over_and_over(serving: Serving, home: Settings, capsys) -> None:
    n_rounds = int(os.environ.get("OMNI_CHAOS_ROUNDS", "50"))
    order = random.Random(n_rounds).sample(COMBINATIONS, len(COMBINATIONS))
    report = rounds(serving, home, list(itertools.islice(itertools.cycle(order), n_rounds)), seed=2)
    with capsys.disabled():
        print(json.dumps(report, indent=1))  # noqa: T201  (what `make chaos` is run for)


@pytest.mark.chaos
def test_no_answered_decision_is_lost_when_everything_is_killed(serving: Serving, home: Settings, capsys) -> None:
    """Nothing but decisions, as many as two workers give; OMNI_CHAOS_ROUNDS=5 is the short form."""
    n_rounds = int(os.environ.get("OMNI_CHAOS_ROUNDS", "50"))
    load = Load(serving.port, seed=3, threads=4, pause_s=0.005, share_of_decisions=1.0)
    report = rounds(serving, home, list(itertools.islice(itertools.cycle(KILLED), n_rounds)), seed=3, load=load)
    with capsys.disabled():
        print(json.dumps(report, indent=1))  # noqa: T201  (what `make chaos` is run for)
    assert report["acknowledged"] == 0


def test_workers_answer_by_the_same_rules_through_a_bad_file_and_a_crash(serving: Serving, home: Settings) -> None:
    def decisions() -> list[dict[str, Any]]:
        """Of a score of questions, each over a connection of its own, so that both workers are asked, those answered.

        A worker that is started anew answers 503 until it has loaded the models.
        """
        asked = [ask(serving.port, "POST", "/v1/decide", {"customer_id": name}) for name in CUSTOMERS[:20]]
        assert {status for status, _ in asked} <= {200, 503}
        return [decision for status, decision in asked if status == 200]

    def versions() -> set[str]:
        return {decision["rules_version"] for decision in decisions()}

    def is_said() -> bool:
        return bool(ask(serving.port, "GET", "/readyz")[1].get("warnings"))

    own = home.home / "rules.toml"
    wait_until(lambda: len(decisions()) == 20, "both workers answer")
    (before,) = versions()
    own.write_text("max_unanswered = 3\n")
    wait_until(lambda: before not in versions(), "the new rules are in force")
    (good,) = versions()
    own.write_text("max_unanswered = -3\n")
    wait_until(is_said, "the bad file is told")
    kill(serving, ["a worker"], random.Random(1))
    serving.until_whole("/readyz")
    assert versions() <= {good}
    wait_until(lambda: len(decisions()) == 20, "the new worker answers, too")
    assert versions() == {good}
    assert ask(serving.port, "GET", "/v1/models")[1]["rules"]["version"] == good
    said = [line for line in serving.log().splitlines() if "ERROR" in line.upper() and "max_unanswered" in line]
    assert 1 <= len(said) <= 2, said  # once, and once more by the worker that came later
    own.unlink()
    wait_until(lambda: versions() == {before} and not is_said(), "the rules before are in force")
    wait_until(lambda: answers(serving.port, "/readyz"), "it is ready")
