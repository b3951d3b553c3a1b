"""The Bento: built from bentofile.yaml, served from what was built, asked over HTTP, with a word that no stream follows."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from features.build import build_features
from features.ingest import ingest
from features.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
MARK = "<!-- served from what was built -->"


def test_it_is_built_served_and_asked(settings: Settings, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    event = {"occurred_at": "2024-05-01T10:00:00Z", "channel": "web", "customer_id": "ada"}
    rows.write_text(json.dumps({**event, "event_id": "e1", "kind": "purchase", "product_id": "tea", "value": 3.0}))
    ingest(str(rows), settings)
    build_features(settings, lambda words: None)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMNI_", "MLFLOW_", "PYTHONPATH"))}
    env |= {"BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "True", "OMNI_HOME": str(settings.home)}
    env["NUMBA_DISABLE_JIT"] = "1"  # the Bento's sources lie in another folder, so all of them would be compiled anew
    bentoml = [sys.executable, "-m", "bentoml"]

    built = subprocess.run([*bentoml, "build", "--output", "tag"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    tag = built.stdout.strip().removeprefix("__tag__:")
    (source,) = (tmp_path / "bentoml" / "bentos" / "omni-service").glob("*/src")
    page = source / "serving" / "console" / "index.html"
    page.write_text(page.read_text() + MARK)
    assert not (source / "training").exists() and not list(source.rglob("test_*.py"))

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path / "log").open("w+")
    command = [*bentoml, "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10.0) as http:
            wait_for(lambda: http.get("/livez").status_code == 200, log.name)
            assert MARK in http.get("/").text
            seen = {**event, "event_id": "e2", "kind": "view", "product_id": "tea"}
            assert http.post("/v1/events", json={"events": [seen]}).json()["accepted"] == 1
            wait_for(lambda: http.get("/v1/customers/ada").status_code == 200, log.name)
            wait_for(lambda: "No stream follows the event log" in http.get("/readyz").text, log.name)
            assert "python -m features.stream" in Path(log.name).read_text()
    finally:
        server.terminate()
        try:
            server.wait(60)
        finally:
            server.kill()
            log.close()


def wait_for(done, log: str, timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if done():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    pytest.fail(f"It did not come about: {Path(log).read_text()[-3000:]}")
