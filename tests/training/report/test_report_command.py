"""The command: one JSON object, tables and one page that needs nothing from outside, and one line for bad input."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_log import START
from typer.testing import CliRunner

import omni
from features.events.schema import events_to_table, parse_events
from features.log.engines import open_log
from features.offline.build_note import BuildNote, places, write_note
from features.settings import Settings
from training.report.tables import number


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[..., Any], write: Callable[..., Path]) -> Path:
    found = tmp_path / "home"
    (found / "offline").mkdir(parents=True)
    write(made(5, n=120)).replace(found / "offline" / "timeline.parquet")
    monkeypatch.setenv("OMNI_HOME", str(found))
    (found / "report.toml").write_text("[costs]\nemail = 0.5\n", encoding="utf-8")
    return found


def run(*words: str) -> Any:
    return CliRunner().invoke(omni.app, ["report", *words])


def test_json_is_one_object_with_all_three_parts(home: Path) -> None:
    result = run("--json", "--from", "2024-03-01", "--to", "2024-03-29")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert set(found) == {"journeys", "success", "holdout", "definitions", "notes"}
    assert found["success"]["period"] == {"start": "2024-03-01T00:00:00+00:00", "end": "2024-03-29T00:00:00+00:00"}
    assert found["journeys"]["paths"][0]["path"] == "store"
    measures = {row["name"]: row for row in found["success"]["measures"]}
    assert set(measures["orders_per_active"]["now"]) == {"value", "low", "high"}
    assert found["holdout"]["name"] == "made-5"
    assert found["holdout"]["return_on_spend"]["low"] < found["holdout"]["return_on_spend"]["high"]


def test_a_person_reads_tables_words_and_what_they_cannot_tell(home: Path) -> None:
    text = run().stdout
    for part in ("Measured success", "Against the hold-out 'made-5'", "Paths of", "Where journeys end", "journey: a "):
        assert part in text
    assert "says nothing about what another channel would do" in " ".join(text.split())
    assert "before the period does" not in text
    assert "The log ends on 2024-03-28, before the period does" in run("--to", "2024-04-05").stdout


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.25, "0.2500"), (-7.126, "-7.13"), (9_999.5, "9,999.50"), (12_345.6, "12,346"), (float("nan"), "–")],
)
def test_figures_are_as_long_as_it_takes(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_and_the_page_are_written(home: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    assert run("--out", str(out), "--tables", kind, "--from", "2024-03-01", "--to", "2024-03-29").exit_code == 0
    names = {"success", "paths", "handovers", "drop_off", "funnel", "customer_value", "holdout"}
    assert {path.name for path in out.iterdir()} == {f"{name}.{kind}" for name in names} | {"report.html"}
    read = pd.read_csv if kind == "csv" else pd.read_parquet
    table = read(out / f"holdout.{kind}").set_index("measure")
    assert table.loc["contacts_per_customer", "contacted"] == 4.0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 3
    assert not re.findall(r'(?:src|href)="(?!data:)|https?://|@import|url\(', page)
    assert "Against the hold-out &#x27;made-5&#x27;" in page


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--from", "yesterday"], "'yesterday' is not a date"),
        (["--from", "2024-03-10", "--to", "2024-03-01"], "--from that is before --to"),
        (["--from", "2030-01-01", "--to", "2030-02-01"], "the log reaches from"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_bad_input_is_one_line(home: Path, words: list[str], says: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("omni: ")]
    assert len(lines) == 1
    assert says in lines[0]


def test_a_folder_that_cannot_be_made_is_one_line(home: Path) -> None:
    result = run("--out", str(home / "report.toml" / "out"))
    assert result.exit_code == 2
    assert "Not a directory. Choose another --out." in result.stderr


def test_a_bad_key_and_a_missing_timeline_are_one_line(home: Path) -> None:
    (home / "report.toml").write_text("silence = 3\n", encoding="utf-8")
    assert "Known keys: period_days" in run().stderr
    (home / "report.toml").unlink()
    (home / "offline" / "timeline.parquet").unlink()
    result = run()
    assert result.exit_code == 2
    assert "Run: omni features build" in result.stderr


def test_events_that_came_after_the_last_build_are_missed_aloud(home: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(home)})
    log = open_log(settings)
    write_note(settings, BuildNote("", "", 0, 0, 0, 0, "", places(settings), str(log.anchor())))
    assert not any("Not in this report" in note for note in json.loads(run("--json").stdout)["notes"])
    events, _ = parse_events(
        [
            {
                "event_id": "late",
                "occurred_at": "2024-02-01T00:00:00Z",
                "kind": "visit",
                "channel": "web",
                "customer_id": "a",
            }
        ],
        START,
    )
    log.append(events_to_table(events))
    log.close()
    assert json.loads(run("--json").stdout)["notes"][0].startswith(
        "Not in this report: what came after the last build, 1 "
    )


def test_without_a_hold_out_it_says_how_to_get_one(
    home: Path, write: Callable[..., Path], made: Callable[..., Any]
) -> None:
    rows = [row for row in made(5, n=60) if row["kind"] != "decision"]
    write(rows).replace(home / "offline" / "timeline.parquet")
    result = run("--json")
    found = json.loads(result.stdout)
    assert found["holdout"] is None
    assert "Set holdout_share" in found["notes"][-1]
