"""What goes wrong is logged and told without personal data: what came in marked is looked for in everything that is said."""

import asyncio
import json
import logging
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import settings_in
from typer.testing import CliRunner

import omni
from features.clock import Clock
from features.events.schema import parse_table
from features.log.engines import open_log
from features.money.home import HomeCurrency
from serving.api import create_app
from serving.erasure import Eraser
from serving.runtime import Runtime

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # within MLflow

MARKS = ("zelda.marked@example.org", "+49170999888777", "Zelda Markedname", "zelda-marked-cookie")
MAIL, PHONE, NAME, COOKIE = MARKS
WHO = {"email": MAIL, "phone": PHONE, "cookie": COOKIE}


def event(event_id: str, **fields: Any) -> dict[str, Any]:
    at = "2024-03-01T09:00:00Z"
    return {"event_id": event_id, "occurred_at": at, "kind": "visit", "channel": "web", "customer_id": NAME, **fields}


BODIES = (
    event("ok", identifiers=WHO),
    [
        event("b1", kind="buy", identifiers=WHO),
        event("b2", value=MAIL),
        event("b3", properties={"note": MAIL, "x": 1e999}),
    ],
    event("b4", identifiers={"E Mail": MAIL}),
    event("b5", customer_id=f" {NAME}"),
    event("b6", kind="outcome", decision_id=MAIL),
    {"events": [event("b7", occurred_at=MAIL)], MAIL: NAME},
)


class MarkedError(Exception):
    """A library's error that shows what it was given, as SQLAlchemy's and pydantic's do."""


def ask(runtime: Runtime) -> list[httpx.Response]:
    async def all_of_it() -> list[httpx.Response]:
        app = create_app(lambda: runtime)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http,
        ):
            answers = [await http.post("/v1/events", content=json.dumps(body)) for body in BODIES]
            for path in ("/v1/churn", "/v1/decide", "/v1/next-products", "/v1/best-channel"):
                answers.append(await http.post(path, json={"identifiers": WHO}))
                answers.append(await http.post(path, json={"customer_id": NAME, MAIL: PHONE}))
                answers.append(await http.post(path, content=f'{{"customer_id": "{MAIL}", '))
            for name in (f"email:{MAIL}", NAME, f"{MAIL}%0A", f"phone:{PHONE}"):
                answers += [await http.get(f"/v1/customers/{name}"), await http.delete(f"/v1/customers/{name}")]
            return answers

    return asyncio.run(all_of_it())


def assert_unmarked(text: str) -> None:
    for mark in MARKS:
        assert mark not in text, text[max(0, text.index(mark) - 300) : text.index(mark) + 100]


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler) is logging.StreamHandler]:
        root.removeHandler(handler)  # of a command that another test ran: its stream is closed by now
    for asker in ("httpx", "httpcore"):  # of these tests, not of the service
        logging.getLogger(asker).setLevel(logging.WARNING)
    return caplog


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    settings = settings_in(tmp_path / "home")
    log = open_log(settings)
    found = Runtime(
        log, Clock.from_settings(settings), eraser=Eraser(settings, log), currency=HomeCurrency(settings, log)
    )
    found.close = log.close
    return found


def test_the_services_trouble_is_logged_without_who_it_was_about(
    runtime: Runtime, everything_logged: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = ask(runtime)
    assert {answer.status_code for answer in answers} >= {200, 400, 422, 503}
    out, err = capfd.readouterr()
    assert_unmarked(everything_logged.text + out + err)


def test_a_defect_is_logged_with_its_place_and_without_its_words(
    runtime: Runtime,
    everything_logged: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*given: Any, **more: Any) -> Any:
        try:
            raise ValueError(f"Key (email)=({MAIL}) already exists")
        except ValueError as error:
            raise MarkedError(f"[parameters: ('{NAME}', '{PHONE}')]") from error

    monkeypatch.setattr("features.log.sql_log.SqlEventLog.resolve", broken)
    monkeypatch.setattr("features.log.sql_log.SqlEventLog.append", broken)
    monkeypatch.setattr("features.log.sql_log.SqlEventLog.append_many", broken)
    monkeypatch.setattr("serving.erasure.begin_erasure", broken)
    answers = ask(runtime)
    assert 500 in {answer.status_code for answer in answers}
    assert "DELETE /v1/customers/{customer_id} failed" in everything_logged.text
    assert "MarkedError" in everything_logged.text  # the kind of error, and where it came from, stay
    assert "in broken" in everything_logged.text
    out, err = capfd.readouterr()
    assert_unmarked(everything_logged.text + out + err)
    for answer in answers:
        if answer.status_code == 500:
            assert_unmarked(answer.text)


@pytest.mark.parametrize(
    "words",
    [
        "ingest {file}",
        "ingest {file} --table products",
        "identity report",
        "features build",
        "features check",
        "features parity",
        "report",
        "doctor",
        "erase nobody@example.org",
        "train churn",
    ],
)
def test_commands_tell_of_trouble_without_who_it_was_about(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything_logged: pytest.LogCaptureFixture
) -> None:
    settings = settings_in(tmp_path / "home")
    with closing(open_log(settings)) as log:
        log.append(parse_table([event("a", identifiers=WHO)], datetime.now(UTC))[0])
    file = tmp_path / "rows.csv"
    file.write_text(
        f"event_id,occurred_at,kind,channel,customer_id\nx,{MAIL},visit,web,{NAME}\n"
        f"y,2024-01-01T00:00:00Z,buy,web,{PHONE}\n"
    )
    monkeypatch.setenv("OMNI_HOME", str(settings.home))
    result = CliRunner().invoke(omni.app, words.format(file=file).split())
    assert isinstance(result.exception, SystemExit | None)
    assert "Traceback" not in result.stderr
    assert_unmarked(result.stderr + result.stdout + everything_logged.text)


def test_a_locked_store_is_told_without_who_was_to_be_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything_logged: pytest.LogCaptureFixture
) -> None:
    settings = settings_in(tmp_path / "home")
    open_log(settings).close()
    monkeypatch.setenv("OMNI_HOME", str(settings.home))
    monkeypatch.setattr(omni, "COMMAND_WAIT_S", 0.1)
    with closing(sqlite3.connect(settings.home / "events.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = CliRunner().invoke(omni.app, ["erase", f"email:{MAIL}"])
    assert result.exit_code == 2
    assert_unmarked(result.stderr + result.stdout + everything_logged.text)
