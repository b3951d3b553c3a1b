"""One service per folder, whoever asks at the same moment; what is left of one that was killed is known, and nobody else's."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from features.errors import InputError
from features.processes.running import TOKEN, Noted, RunFolder, carriers

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
TAKE = """
import sys, time
from pathlib import Path
from features.errors import InputError
from features.processes.running import RunFolder
try:
    RunFolder(Path(sys.argv[1])).take()
except InputError:
    print("refused", flush=True)
else:
    print("taken", flush=True)
    sys.stdin.read()
"""


def test_of_several_at_the_same_moment_one_gets_the_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE, str(tmp_path / "1")]
    tries = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        said = [process.stdout.readline().strip() for process in tries if process.stdout]
        assert sorted(said) == ["refused", "refused", "refused", "taken"]
    finally:
        for process in tries:
            process.kill()
            process.communicate()
    folder = RunFolder(tmp_path / "1")
    folder.take()  # whoever had it was killed
    folder.leave()


def test_whose_environment_is_not_shown_is_known_by_the_moment_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen(SLEEP)
    noted = Noted.now("server", child.pid)

    def hidden(process: psutil.Process) -> None:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "environ", hidden)
    try:
        assert [process.pid for process in carriers("token", [noted])] == [child.pid]
        assert carriers("token", [Noted("server", child.pid, noted.started_s - 60)]) == []
        assert carriers("token") == []
    finally:
        child.kill()
        child.wait()


def test_a_process_that_has_the_id_of_one_that_was_noted_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={TOKEN: "another's"})
    try:
        folder = RunFolder(tmp_path / "1")
        folder.take()
        folder.path.joinpath("service.json").write_text(
            f'{{"token": "{folder.token}", "processes": [{{"role": "server", "pid": {stranger.pid}, "started_s": 1.0}}]}}'
        )
        assert folder.left_over() == []
        folder.leave()
        folder.take()
        folder.leave()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"token": 3}', '{"token": "x", "processes": [{}]}', "\x00"])
def test_a_note_that_is_damaged_keeps_nobody_from_starting(tmp_path: Path, note: str) -> None:
    folder = RunFolder(tmp_path / "1")
    folder.path.mkdir()
    (folder.path / "service.json").write_text(note)
    folder.take()
    assert folder.is_held() and RunFolder(tmp_path / "1").is_held()
    with pytest.raises(InputError, match="runs on port 1 already"):
        RunFolder(tmp_path / "1").take()
    folder.leave()
    assert not RunFolder(tmp_path / "1").is_held()
