"""Who came, changed, was told apart or refused since the last build: all of them are in bulk, as of now."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.build import build_features
from features.errors import InputError, MissingError
from features.events.schema import events_to_table, parse_events
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.settings import Settings
from features.vocabulary import Channel
from serving.campaigns import audience, bulk
from serving.campaigns.audience import export_audience
from serving.campaigns.customers import customer_ids, everybody
from serving.runtime import Runtime

NOW = datetime(2024, 3, 1, tzinfo=UTC)
BUILT = ("ada", "bob", "cy")


def event(customer: str | None, kind: str, minute: int, channel: str = "web", **fields: Any) -> dict[str, Any]:
    at = f"2024-02-20T10:{minute:02d}:00Z"
    return {
        "event_id": f"{kind}-{customer}-{minute}-{channel}",
        "occurred_at": at,
        "kind": kind,
        "channel": channel,
        "customer_id": customer,
        **fields,
    }


def append(log: EventLog, *items: dict[str, Any]) -> None:
    events, rejected = parse_events(list(items), NOW)
    assert not rejected
    log.append(events_to_table(events))


@pytest.fixture(scope="module")
def built_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("built")
    settings = Settings.from_env({"OMNI_HOME": str(home)})
    log = open_log(settings)
    items = [event(one, "subscribe", i, "email") for i, one in enumerate(BUILT)]
    items += [event(None, "view", 9, product_id="tea", identifiers={"cookie": "ck-1"})]
    events, _ = parse_events(items, NOW)
    log.append(events_to_table(events))
    log.close()
    build_features(settings, lambda _: None)
    return home


@pytest.fixture
def settings(built_home: Path, tmp_path: Path) -> Settings:
    shutil.copytree(built_home, tmp_path / "home")
    return Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    opened = open_log(settings)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def commands_of_the_home(settings: Settings, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command gets the tests' models, on the home's own log and online store."""

    def fresh(**_: Any) -> Runtime:
        log = open_log(settings)
        states = LiveStates(OnlineReader(settings, runtime.clock), log)  # type: ignore[arg-type]
        return replace(runtime, log=log, knowledge=replace(runtime.knowledge, states=states))

    for module in (audience, bulk):
        monkeypatch.setattr(module, "Runtime", fresh)
        monkeypatch.setattr(module, "Watcher", lambda *_: SimpleNamespace(refresh=lambda: None))


def bulk_rows(settings: Settings, out: Path) -> tuple[list[str], Any]:
    report = bulk.decide_all(settings, out, keep=False)
    return pq.read_table(out)["customer_id"].to_pylist(), report


def test_without_anything_new_everybody_is_of_the_build(log: EventLog, settings: Settings, tmp_path: Path) -> None:
    ids, report = bulk_rows(settings, tmp_path / "d.parquet")
    assert set(BUILT) < set(ids) and len(ids) == 4
    assert (report.n_newer_customers, report.n_refreshed) == (0, 0)


def test_who_came_since_the_build_is_in_bulk_and_in_the_audience(
    log: EventLog, settings: Settings, tmp_path: Path
) -> None:
    append(
        log,
        event("dora", "subscribe", 20, "email"),
        event("bob", "view", 21, product_id="tea"),
        event("eve", "decision", 22, decision_id="d1"),  # our own record, no behaviour
    )
    ids, report = bulk_rows(settings, tmp_path / "d.parquet")
    assert {"dora", *BUILT} < set(ids) and "eve" not in ids
    assert (report.customers, report.n_newer_customers, report.n_refreshed) == (5, 1, 1)
    chosen = export_audience(settings, "consent_email", tmp_path / "a.parquet")
    assert sorted(pd.read_parquet(tmp_path / "a.parquet")["customer_id"]) == ["ada", "bob", "cy", "dora"]
    assert (chosen.customers, chosen.n_newer_customers, chosen.n_refreshed) == (5, 1, 1)


def test_who_refused_since_the_build_is_left_out(log: EventLog, settings: Settings, tmp_path: Path) -> None:
    append(log, event("bob", "unsubscribe", 30, "email"))
    export_audience(settings, "consent_email", tmp_path / "a.csv")
    assert pd.read_csv(tmp_path / "a.csv")["customer_id"].tolist() == ["ada", "cy"]
    bulk.decide_all(settings, tmp_path / "d.parquet", keep=False)
    (row,) = [row for row in pq.read_table(tmp_path / "d.parquet").to_pylist() if row["customer_id"] == "bob"]
    assert row["channel"] != Channel.EMAIL
    assert "not email_news: the customer refused email" in row["reasons"]


def test_a_visitor_who_is_told_apart_is_there_once(log: EventLog, settings: Settings, tmp_path: Path) -> None:
    before = set(customer_ids(settings))
    (anonymous,) = before - set(BUILT)
    append(log, event("frida", "identify", 40, identifiers={"cookie": "ck-1"}))
    who = everybody(customer_ids(settings), settings, log)
    assert "frida" in who.newer
    ids, report = bulk_rows(settings, tmp_path / "d.parquet")
    assert "frida" in ids and anonymous not in ids
    assert report.n_newer_customers == 1


def test_a_build_of_another_log_leaves_nobody_out(log: EventLog, settings: Settings) -> None:
    settings.timeline_path.with_name("build.json").unlink()
    append(log, event("dora", "view", 50, product_id="tea"))
    who = everybody(customer_ids(settings), settings, log)
    assert who.newer == {"dora"}
    assert set(BUILT) <= who.changed


def test_without_a_build_it_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "none")})
    with pytest.raises(MissingError, match="omni features build"):
        export_audience(settings, "True", tmp_path / "a.csv")
    assert not settings.home.exists()


def test_a_csv_is_guarded_unless_it_is_raw(log: EventLog, settings: Settings, tmp_path: Path) -> None:
    evil = ("=1+1", "+49151", "-5", "@x")
    append(log, *(event(one, "subscribe", i, "email") for i, one in enumerate(evil)))
    export_audience(settings, "consent_email", tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv", dtype={"customer_id": str})
    assert sorted(table["customer_id"])[:4] == sorted(f"'{one}" for one in evil)
    assert table["days_since_purchase"].isna().all() and table["customer_for_days"].dtype == float
    export_audience(settings, "consent_email", tmp_path / "raw.csv", raw=True)
    export_audience(settings, "consent_email", tmp_path / "a.parquet")
    for found in (
        pd.read_csv(tmp_path / "raw.csv", dtype={"customer_id": str}),
        pd.read_parquet(tmp_path / "a.parquet"),
    ):
        assert set(evil) < set(found["customer_id"])


def test_a_mistake_in_the_condition_costs_no_wait(log: EventLog, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Did you mean consent_email"):
        export_audience(settings, "consent_emial", tmp_path / "a.csv")


def test_of_an_older_omnis_build_only_who_is_in_the_log_counts(log: EventLog, settings: Settings) -> None:
    """Its note does not say of which log it is: that may have been restored since."""
    assert "zed" in everybody([*BUILT, "zed"], settings, log).ids
    (note,) = settings.home.rglob("build.json")
    content = json.loads(note.read_text())
    del content["anchor"]
    note.write_text(json.dumps(content))
    everyone = everybody([*BUILT, "zed"], settings, log)
    assert set(BUILT) < set(everyone.ids) and "zed" not in everyone.ids
    assert everyone.changed == {*BUILT}


def test_states_read_in_bulk_give_the_rows_that_one_by_one_gives(
    log: EventLog, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settled are ada and the visitor; bob acted, cy's decision is older than his last event, dora is new, the rest joined."""
    append(
        log,
        event("bob", "view", 21, product_id="tea"),
        event("cy", "decision", 0, decision_id="d1", product_id="tea"),
        event("ada", "decision", 50, decision_id="d2", product_id="tea"),
        event("dora", "subscribe", 20, "email"),
    )
    asked: list[str] = []
    get = LiveStates.get
    monkeypatch.setattr(LiveStates, "get", lambda states, name: asked.append(name) or get(states, name))

    bulk.decide_all(settings, tmp_path / "bulk.parquet", keep=False)
    singly = [*asked]
    monkeypatch.setattr(bulk.SettledStates, "open", lambda *_, **__: None)
    bulk.decide_all(settings, tmp_path / "single.parquet", keep=False)

    assert singly == ["bob", "cy", "dora"]
    rows, expected = (pq.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in ("bulk", "single"))
    assert [row["customer_id"] for row in rows] == asked[len(singly) :]
    assert rows == expected


def test_a_visitor_told_apart_while_a_job_runs_is_read_anew(log: EventLog, settings: Settings) -> None:
    runtime = bulk.Runtime()
    reader = OnlineReader(settings, runtime.clock)
    assert runtime.knowledge.states is not None
    settled = bulk.SettledStates.open(settings, runtime.knowledge.states, reader, log)
    assert settled is not None
    (anonymous,) = set(customer_ids(settings)) - set(BUILT)
    assert settled.get([anonymous, "ada"]).names == [anonymous, "ada"]

    append(log, event("frida", "identify", 40, identifiers={"cookie": "ck-1"}))

    assert settled.get([anonymous, "frida"]).names == ["frida"]
