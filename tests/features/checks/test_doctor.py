"""What `omni doctor` says of the services of a home."""

import subprocess
import sys
from pathlib import Path

from features.checks.doctor import check_champion, check_service
from features.processes.running import TOKEN, RunFolder
from features.settings import Settings
from features.vocabulary import Task


def test_the_doctor_tells_what_is_left_and_which_rules_are_bad(tmp_path: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    assert check_service(settings).found == "none is running."
    folder = RunFolder(tmp_path / "run" / "3000")
    folder.take()
    folder.note([])
    assert check_service(settings).found == "running on port 3000."
    (tmp_path / "run" / "rules.json").write_text('{"problem": "rules.toml is not TOML."}')
    assert (check_service(settings).status, "is not TOML" in check_service(settings).found) == ("warn", True)
    note = (folder.path / "service.json").read_text()
    folder.leave()
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={TOKEN: folder.token})
    try:
        (folder.path / "service.json").write_text(note)
        found = check_service(settings)
        assert (found.status, f"process {left.pid}" in found.found, "--port 3000" in found.repair) == (
            "warn",
            True,
            True,
        )
    finally:
        left.kill()
        left.wait()


def test_a_registry_without_a_byte_is_a_lost_one(tmp_path):
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    assert check_champion(settings, Task.CHURN).found == "no registry yet."
    database = tmp_path / "mlflow" / "mlflow.db"
    database.parent.mkdir()
    database.touch()
    check = check_champion(settings, Task.CHURN)
    assert (check.status, check.found) == ("fail", f"{database} is empty: the registry is lost.")
