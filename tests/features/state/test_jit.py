"""A function that several processes need at the same time is compiled by one of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import sys, time
from features.state.jit import compiled

@compiled
def doubled(x):
    return 2 * x

sys.stdin.readline()
assert doubled(21) == 42
print(sum(doubled.stats.cache_misses.values()))
"""


@pytest.mark.parametrize("n_processes", [3])
def test_one_of_several_processes_compiles(tmp_path: Path, n_processes: int) -> None:
    module = tmp_path / "doubling.py"
    module.write_text(CODE)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), env.get("PYTHONPATH")]))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, str(module)], env=env, **pipes) for _ in range(n_processes)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    n_compiled = [int(process.communicate(timeout=300)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * n_processes
    assert sum(n_compiled) == 1
