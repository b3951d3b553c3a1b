"""The command line as a whole: help everywhere, quick to start, one line and exit 2 for what the user can mend."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import omni
from features.console import to_plain
from features.errors import InputError
from features.vocabulary import Channel

ROOT = Path(__file__).parent.parent


def all_commands() -> dict[str, Any]:
    """Every command's words (`features build`) and its command object."""

    def walk(group: Any, words: tuple[str, ...]) -> dict[str, Any]:
        found = {}
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                found |= walk(command, (*words, name))
            else:
                found[" ".join((*words, name))] = command
        return found

    return walk(get_command(omni.app), ())


def test_the_documented_commands_exist():
    promised = {
        "demo",
        "ingest",
        "features build",
        "features parity",
        "train",
        "models",
        "promote",
        "rollback",
        "serve",
        "decide",
        "simulate",
        "benchmark next-product",
        "benchmark churn",
        "benchmark best-channel",
        "benchmark features",
        "doctor",
    }

    assert promised <= set(all_commands())


@pytest.mark.parametrize("words", sorted(all_commands()))
def test_every_command_says_what_it_does(words):
    command = all_commands()[words]

    assert command.help, "no help text"
    for parameter in command.params:
        assert parameter.name == "help" or getattr(parameter, "help", None), f"{parameter.name} has no help"

    result = CliRunner().invoke(omni.app, [*words.split(), "--help"])
    assert result.exit_code == 0


@pytest.mark.parametrize("words", sorted(set(all_commands()) - {"demo", "serve"}))
def test_every_command_that_ends_can_answer_in_json(words):
    options = {option for parameter in all_commands()[words].params for option in parameter.opts}

    assert "--json" in options


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys, omni\n"
        "try: omni.app(['--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'feast','mlflow','torch','numba','pandas','numpy','pyarrow','duckdb','lightgbm','bentoml'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )

    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "One customer, every channel, one decision" in result.stdout
    assert result.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ingets"], "No such command 'ingets'"),
        (["train", "sales"], "sales"),
        (["ingest"], "Say what to read"),
        (["ingest", "no-such-source"], "no-such-source"),
        (["ingest", "no-such-file.csv"], "no-such-file.csv"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_2(words, says, tmp_path, monkeypatch):
    monkeypatch.setenv("OMNI_HOME", str(tmp_path))

    result = CliRunner().invoke(omni.app, words)

    assert result.exit_code == 2
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("omni: ")]
    assert len(lines) == 1
    assert says in lines[0]
    assert "Traceback" not in result.stderr


def test_a_bug_is_a_traceback_and_exit_1():
    app = typer.Typer(cls=omni.FrontDoor, pretty_exceptions_enable=False)

    @app.command()
    def broken() -> None:
        raise KeyError("a bug")

    @app.command()
    def mended() -> None:
        raise InputError("The file\nis empty.", repair="Give another.")

    assert isinstance(CliRunner().invoke(app, ["broken"]).exception, KeyError)
    result = CliRunner().invoke(app, ["mended"])
    assert (result.exit_code, result.stderr) == (2, "omni: The file is empty. Give another.\n")


def test_ctrl_c_is_said_in_a_line():
    app = typer.Typer(cls=omni.FrontDoor, pretty_exceptions_enable=False)

    @app.command()
    def long() -> None:
        raise KeyboardInterrupt

    @app.command()
    def other() -> None: ...

    result = CliRunner().invoke(app, ["long"])
    assert (result.exit_code, result.stderr.strip()) == (130, "omni: stopped.")


def test_doctor_in_json_is_one_object_on_stdout(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNI_HOME", str(tmp_path))

    result = CliRunner().invoke(omni.app, ["doctor", "--json"])

    report = json.loads(result.stdout)
    statuses = {check["name"]: check["status"] for check in report["checks"]}
    assert result.exit_code == 0, report
    assert report["failed"] is False
    assert statuses["python"] == "ok"
    assert statuses["event log"] == "warn"


def test_doctor_fails_where_the_state_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OMNI_HOME", str(tmp_path / "file" / "home"))

    result = CliRunner().invoke(omni.app, ["doctor", "--json"])

    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] is True


def test_the_front_door_runs_as_a_process(tmp_path):
    """From the root, where the folder `mlflow/` lies beside `omni.py`: the library is found all the same."""
    env = {**os.environ, "OMNI_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "omni", "models", "--json"]

    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert isinstance(json.loads(result.stdout), dict)


def test_results_become_plain_json_values():
    import numpy as np

    value = {
        Channel.EMAIL: np.float32(0.5),
        "n": np.int64(3),
        "bad": float("nan"),
        "path": Path("a/b"),
        "array": np.arange(2),
    }

    assert to_plain(value) == {"email": 0.5, "n": 3, "bad": None, "path": "a/b", "array": [0, 1]}
    with pytest.raises(TypeError, match="object"):
        to_plain({"x": object()})


def test_a_damaged_file_is_named_in_one_line_whatever_read_it(tmp_path, monkeypatch):
    monkeypatch.setenv("OMNI_HOME", str(tmp_path))
    rows = tmp_path / "rows.jsonl"
    event = {
        "event_id": "e",
        "occurred_at": "2024-05-01T10:00:00Z",
        "kind": "view",
        "channel": "web",
        "customer_id": "c",
        "product_id": "p",
    }
    rows.write_text(json.dumps(event))
    run = CliRunner().invoke
    assert run(omni.app, ["ingest", str(rows)]).exit_code == 0
    assert run(omni.app, ["features", "build"]).exit_code == 0
    timeline = tmp_path / "offline" / "timeline.parquet"
    timeline.write_bytes(timeline.read_bytes()[:100])
    for command in (["features", "check"], ["report", "--from", "2024-05-01", "--to", "2024-05-02"]):
        result = run(omni.app, command)
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("omni: ")]
        assert result.exit_code == 2
        assert f"{timeline} is damaged (" in line
        assert line.endswith("Delete it and run: omni features build --force")
    assert run(omni.app, ["features", "build", "--force"]).exit_code == 0
    assert run(omni.app, ["features", "check"]).exit_code in (0, 1)


def test_a_short_flag_asks_for_help_everywhere():
    for command in ([], ["ingest"], ["features", "build"], ["decide"]):
        short, long = (CliRunner().invoke(omni.app, [*command, flag]) for flag in ("-h", "--help"))
        assert short.exit_code == 0
        assert short.stdout == long.stdout


def test_a_shell_completes_commands():
    shown = CliRunner().invoke(
        omni.app, [], env={"_OMNI_COMPLETE": "complete_bash", "COMP_WORDS": "omni dec", "COMP_CWORD": "1"}
    )
    assert "decide" in shown.stdout
