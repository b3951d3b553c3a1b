"""The page on backups: its commands do what it says, one after the other, on a small home."""

import json
from contextlib import closing

import pytest
from made_visits import table
from pages import fences, read
from typer.testing import CliRunner

import omni
from features.log.engines import open_log
from features.settings import Settings


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs one line of the page; `/backups/…` is a folder of this test."""
    monkeypatch.setenv("OMNI_HOME", str(tmp_path / "home"))
    for name in ("OMNI_EVENT_LOG", "OMNI_ONLINE_STORE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "backups").mkdir()

    def line(text: str) -> dict:
        words = text.split("#")[0].replace("/backups/", f"{tmp_path}/backups/").split()
        assert words[0] == "omni"
        result = CliRunner().invoke(omni.app, [*words[1:], "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout.splitlines()[-1])

    return line


def test_the_commands_of_the_page(run, tmp_path):
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    with closing(open_log(settings)) as log:
        log.append(table(*({"event_id": f"e{n}", "customer_id": f"c{n % 3}", "at": n} for n in range(9))))
    backup, restore, build = "".join(fences(read("docs/backup.md"), "sh")).strip().splitlines()

    run("omni features build")
    assert run(backup)["events"] == 9
    with closing(open_log(settings)) as log:
        log.append(table({"event_id": "later", "customer_id": "c9"}))
    run("omni features build")
    run("omni erase c1")
    report = run(restore)
    assert (report["events"], report["erased_again"]) == (6, 1)
    assert CliRunner().invoke(omni.app, ["features", "check", "--json"]).exit_code == 1
    assert run(build)["events"] == 6
    with closing(open_log(settings)) as log:
        assert {row for batch in log.read() for row in batch["customer_id"].to_pylist()} == {"c0", "c2"}


def test_a_refusal_is_one_line_and_status_2(run, tmp_path):
    for words in (["backup", str(tmp_path / "backups")], ["restore", str(tmp_path / "backups")]):
        result = CliRunner().invoke(omni.app, words)
        assert result.exit_code == 2
        line = result.stderr.strip().splitlines()[-1]
        assert line.startswith("omni: ") and str(tmp_path) in line
