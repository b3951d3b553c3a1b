"""Counters of several workers: each has its room on the disk, and a worker that died does not tell which models answer."""

import os
import subprocess
import sys
from pathlib import Path

WORKER = """
import os, sys
from serving.metrics import Metrics
from serving.schemas import ModelInfo
metrics = Metrics()
metrics.note_models([ModelInfo(task="churn", ready=True, version=sys.argv[1])])
metrics.requests.labels("/v1/churn", "POST", "200").inc()
print(metrics.render().decode())
os._exit(0)  # as when it is killed: nothing is tidied up
"""


def work(folder: Path, version: str) -> list[str]:
    """The lines of `/metrics` in a worker of its own."""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", WORKER, version], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_worker_that_died_no_longer_tells_its_models_and_its_counts_stay(tmp_path: Path) -> None:
    assert 'omni_model_version{task="churn"} 2.0' in work(tmp_path, "2")
    after = work(tmp_path, "3")
    assert 'omni_model_version{task="churn"} 3.0' in after
    assert 'omni_requests_total{method="POST",route="/v1/churn",status="200"} 2.0' in after


def test_counters_have_their_room_before_they_count(tmp_path: Path) -> None:
    work(tmp_path, "1")
    files = list(tmp_path.glob("*.db"))
    assert {file.name.rpartition("_")[0] for file in files} == {
        "counter",
        "histogram",
        "gauge_livemin",
        "gauge_livemax",
    }
    for file in files:  # none is a sparse file, whose pages a full disk could refuse
        assert file.stat().st_blocks * 512 >= file.stat().st_size > 0
