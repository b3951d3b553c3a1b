"""Two variants over HTTP and in bulk: the same customers get the same, and the log says which."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from features.experiments.draw import variant_of
from features.experiments.experiment import Experiment
from features.log.sqlite import SqliteEventLog
from serving.campaigns import bulk
from serving.decision.rules import Rules
from serving.experiments.in_force import Experiments
from serving.runtime import Runtime

NAMES = [f"shopper-{number}" for number in range(40)]
ALWAYS = Experiment(
    name="always-random",
    variants=[{"name": "as-is", "share": 0.4}, {"name": "random", "share": 0.4, "control": "random_allowed"}],
)


@pytest.fixture
def trying(runtime: Runtime, log: SqliteEventLog, append: Callable[..., None]) -> Runtime:
    """A service of forty customers, whose experiment has begun."""
    append(*({"customer_id": name, "kind": "purchase", "product_id": "tea", "value": 4.0} for name in NAMES))
    runtime.rules = Rules(opt_in_channels=(), exploration=0.0)
    runtime.experiments = Experiments(log.experiments())
    log.experiments().start(ALWAYS, lead_s=0)
    runtime.experiments.look()
    return runtime


def expected(name: str) -> dict[str, str]:
    number = variant_of(name, ALWAYS)
    return {} if number is None else {ALWAYS.name: ALWAYS.variants[number].name}


def test_answers_and_the_log_say_who_got_which_variant(trying: Runtime, log: SqliteEventLog, client: Any) -> None:
    answers = client.run(*(("POST", "/v1/decide", {"customer_id": name}) for name in NAMES))
    assert {answer.status_code for answer in answers} == {200}
    logged = {
        row["event_id"]: json.loads(row["properties"])
        for table in log.read()
        for row in table.to_pylist()
        if row["kind"] == "decision"
    }
    assert {str(expected(name)) for name in NAMES} == {
        "{}",
        "{'always-random': 'as-is'}",
        "{'always-random': 'random'}",
    }
    for name, answer in zip(NAMES, (answer.json() for answer in answers), strict=True):
        properties = logged[answer["decision_id"]]
        assert answer.get("experiments", {}) == properties.get("experiments", {}) == expected(name)
        assert answer["rules_version"] == properties["rules_version"]
        is_random = expected(name).get(ALWAYS.name) == "random"
        assert (answer["rules_version"] == trying.rules.version) is not is_random
        chances = set(properties["chances"].values())
        assert (len(chances) == 1) is is_random  # every allowed way, nothing among them, is as likely


def test_bulk_gives_everybody_what_http_gives(trying: Runtime, client: Any, tmp_path: Path) -> None:
    out = tmp_path / "decisions.parquet"
    bulk._decide(trying, NAMES, out, False, lambda _: None, 0.0)  # first: over HTTP contacts are reserved
    singly = [
        answer.json() for answer in client.run(*(("POST", "/v1/decide", {"customer_id": name}) for name in NAMES))
    ]
    rows = pq.read_table(out).to_pylist()
    assert [row["customer_id"] for row in rows] == NAMES
    for row, answer in zip(rows, singly, strict=True):
        assert json.loads(row["experiments"] or "{}") == answer.get("experiments", {})
        assert (row["decision_id"], row["arm"], row["pscore"]) == (
            answer["decision_id"],
            answer["arm"],
            answer["pscore"],
        )
        assert row["rules_version"] == answer["rules_version"]


def test_a_decision_from_before_it_began_is_another_one(trying: Runtime, client: Any) -> None:
    name = next(name for name in NAMES if expected(name) == {ALWAYS.name: "as-is"})
    within = client.post("/v1/decide", {"customer_id": name}).json()
    trying.experiments = Experiments()
    before = client.post("/v1/decide", {"customer_id": name}).json()
    assert within["rules_version"] == before["rules_version"]
    assert within["decision_id"] != before["decision_id"]
    assert "experiments" not in before
