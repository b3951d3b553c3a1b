#!/usr/bin/env bash
# Feast 0.67.0: `import feast` switches prometheus-client to its multiprocess mode, for the process and all its children.
#
# Expected before running: a library that is only imported leaves the process's metrics as they are; at most a feature server
# that is started asks for multiprocess mode.
# Seen: the import makes a temporary folder and puts it into the environment as PROMETHEUS_MULTIPROC_DIR. A child that never
# heard of Feast inherits it, keeps its own counters as files in that folder, and, if it serves metrics the way prometheus-client
# documents for multiprocess mode, shows the parent's figures beside its own. Without the import it does neither.
# Whoever serves metrics from a process that imports Feast, or is started by one, sets the folder or takes the variable away.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check feast==0.67.0 prometheus-client==0.24.1 pandas==2.3.3

cat > "$folder/child.py" <<'PYTHON'
import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, generate_latest, multiprocess

Counter("orders", "Orders that the child took").inc()
folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
registry = CollectorRegistry()
if folder:
    multiprocess.MultiProcessCollector(registry)
names = {line.split("{")[0].split(" ")[0] for line in generate_latest(registry).decode().splitlines() if line[:1] != "#"}
print(bool(folder and list(Path(folder).glob(f"*_{os.getpid()}.db"))), sorted(names & {"orders_total", "visits_total"}))
PYTHON
cat > "$folder/parent.py" <<'PYTHON'
import subprocess
import sys

if sys.argv[1] == "with":
    import feast  # noqa: F401
from prometheus_client import Counter

Counter("visits", "Visits that the parent counted").inc()
seen = subprocess.run([sys.executable, "child.py"], capture_output=True, text=True, check=True).stdout.strip()
print(f"{sys.argv[1]} feast imported: child wrote files, and what it serves: {seen}")
sys.exit(seen != {"with": "True ['orders_total', 'visits_total']", "without": "False []"}[sys.argv[1]])
PYTHON
cd "$folder"
unset PROMETHEUS_MULTIPROC_DIR PROMETHEUS_MULTIPROCESS_DIR prometheus_multiproc_dir
FEAST_USAGE=False venv/bin/python -W ignore parent.py without
FEAST_USAGE=False venv/bin/python -W ignore parent.py with
