"""What the tutorials show works: files come in as written, and the loop from a decision to its outcome closes over HTTP."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from made_champions import make_champions
from pages import ROOT, fences, read

from features.build import build_features
from features.events.schema import parse_table
from features.ingest import ingest
from features.log.engines import open_log
from features.settings import Settings
from features.sources.mapping_config import MappingConfig
from serving.supervisor import Service, start_service

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
TUTORIALS = ROOT / "docs" / "tutorials"
HERE = "http://127.0.0.1:3000"
LOOP = read("docs/tutorials/close-the-loop.md")


def events_of(settings: Settings) -> list[dict[str, Any]]:
    log = open_log(settings)
    try:
        return pa.concat_tables(log.read()).to_pylist()
    finally:
        log.close()


def test_the_tills_file_comes_in_as_the_page_says(settings: Settings, tmp_path: Path) -> None:
    page = read("docs/tutorials/own-csv.md")
    (tmp_path / "till.csv").write_text(fences(page, "text")[0], encoding="utf-8")
    (tmp_path / "till.toml").write_text(fences(page, "toml")[0], encoding="utf-8")

    report = ingest(str(tmp_path / "till.csv"), settings, mapping=tmp_path / "till.toml")

    assert (report.rows, report.appended, report.rejected) == (3, 2, 1)
    coffee, grinder = events_of(settings)
    assert (coffee["event_id"], coffee["value"], coffee["channel"]) == ("till:7001:1", 25.0, "store")
    assert coffee["occurred_at"] == datetime(2025, 2, 3, 9, 12, tzinfo=UTC)
    assert grinder["resolved_customer_id"] == coffee["resolved_customer_id"]


def test_every_mapping_that_is_shown_is_one() -> None:
    shown = [
        tomllib.loads(block)
        for page in TUTORIALS.glob("*.md")
        for block in fences(page.read_text(encoding="utf-8"), "toml")
        if "[columns]" in block
    ]

    assert len(shown) >= 2
    for mapping in shown:
        MappingConfig.model_validate(mapping)


def test_scripts_and_python_can_be_read() -> None:
    for page in TUTORIALS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for block in fences(text, "sh"):
            subprocess.run(["bash", "-n"], input=block, text=True, check=True, capture_output=True)
        for block in fences(text, "python"):
            compile(block, page.name, "exec")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Customers who buy tea and want e-mails, champions, and no exploration: all are sent something."""
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path_factory.mktemp("home"))})
    now = datetime.now(UTC)
    items: list[dict[str, Any]] = []
    for name in ("ana", "ben", "eve"):
        who = {"customer_id": name, "identifiers": {"email": f"{name}@example.org"}}
        items.append({"event_id": f"{name}-yes", "kind": "subscribe", "channel": "email", **who})
        for day in (90, 60, 30):
            bought = {"kind": "purchase", "channel": "web", "product_id": "tea", "quantity": 1, "value": 4.5}
            items.append({"event_id": f"{name}-{day}", **bought, **who, "currency": "EUR"})
            items[-1]["occurred_at"] = (now - timedelta(days=day)).isoformat()
        items[-4]["occurred_at"] = (now - timedelta(days=100)).isoformat()
    table, rejected = parse_table(items, now)
    assert not rejected
    log = open_log(settings)
    log.append(table)
    log.close()
    (settings.home / "rules.toml").write_text("exploration = 0.0\n", encoding="utf-8")
    build_features(settings, lambda _: None)
    make_champions(settings, ["tea", "milk"])
    return settings


@pytest.fixture(scope="module")
def service(home: Settings) -> Iterator[Service]:
    started = start_service(home, port=0, with_applier=False, log_file=home.home / "serve.log")
    try:
        started.wait_ready(timeout_s=120)
        yield started
    finally:
        started.stop()


def at(service: Service, code: str) -> str:
    """The code of a page, asking this service."""
    assert HERE in code
    return code.replace(HERE, service.url)


def test_the_curl_lines_close_the_loop(service: Service, home: Settings) -> None:
    python = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{python}:{os.environ['PATH']}"}
    script = at(service, fences(LOOP, "sh")[0]) + '\necho; echo "$decision_id"'

    said = subprocess.run(
        ["bash", "-euo", "pipefail"], input=script, env=env, capture_output=True, text=True, check=True, timeout=60
    )

    *answers, decision_id = said.stdout.strip().splitlines()
    assert [answer["accepted"] for answer in parsed("".join(answers))] == [1, 3]
    told = {event["kind"]: event["decision_id"] for event in events_of(home) if event["event_id"] in LOOP_EVENTS}
    assert told == {"send": decision_id, "click": decision_id, "purchase": None, "outcome": decision_id}


LOOP_EVENTS = set(re.findall(r'"event_id": "([\w-]+)"', fences(LOOP, "sh")[0]))


def parsed(text: str) -> list[Any]:
    """JSON objects that follow each other."""
    decoder, answers, place = json.JSONDecoder(), [], 0
    while place < len(text):
        answer, place = decoder.raw_decode(text, place)
        answers.append(answer)
    return answers


def test_the_python_closes_it_and_the_report_tells(service: Service, home: Settings) -> None:
    with_client, without = fences(LOOP, "python")
    names: dict[str, Any] = {}
    exec(at(service, with_client), names)
    assert kinds_about(names["decision"].decision_id, home) == {"decision", "send", "click", "outcome"}
    exec(at(service, without), names)
    assert kinds_about(names["decision"]["decision_id"], home) == {"decision", "send", "outcome"}

    build_features(home, lambda _: None)
    asked = subprocess.run(
        [sys.executable, ROOT / "omni.py", "report", "--json", "--from", f"{datetime.now(UTC) - timedelta(days=28):%F}",
         "--to", f"{datetime.now(UTC) + timedelta(days=1):%F}"],
        env={**os.environ, "OMNI_HOME": str(home.home), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    measures = {one["name"]: one["now"]["value"] for one in json.loads(asked.stdout)["success"]["measures"]}
    assert measures["contacts_per_customer"] == 1.0


def kinds_about(decision_id: str, home: Settings) -> set[str]:
    return {event["kind"] for event in events_of(home) if event["decision_id"] == decision_id}


def test_the_webhooks_orders_are_events(service: Service, home: Settings) -> None:
    names: dict[str, Any] = {}
    exec(at(service, fences(read("docs/tutorials/events-over-http.md"), "python")[0]), names)
    lines = [
        {"position": 1, "sku": "tea", "quantity": 2, "price": 4.5},
        {"position": 2, "sku": "milk", "quantity": 1, "price": 1.2},
    ]
    order = {
        "id": 8001,
        "email": "ana@example.org",
        "created_at": datetime.now(UTC).isoformat(),
        "currency": "EUR",
        "lines": lines,
    }

    first, again = (names["send"](names["events_of"](order)) for _ in range(2))

    assert (first["accepted"], again["accepted"], again["duplicates"]) == (2, 0, 2)
    bought = [event for event in events_of(home) if event["event_id"].startswith("order-8001-")]
    assert [(event["resolved_customer_id"], event["value"]) for event in bought] == [("ana", 9.0), ("ana", 1.2)]
