"""A home with one of everything that lies under OMNI_HOME: a folder comes in, every kind of file lies in it afterwards."""

import json
import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chaos.harness import CUSTOMERS, PRODUCTS, made_event, make_home

from features.backup.backup import back_up
from features.ingest import ingest, note_ingested
from features.ingest_table import ingest_table
from features.processes.running import RunFolder
from features.scoring.quarantine import Quarantine, Quarantined
from features.settings import Settings
from features.vocabulary import TableName
from serving.access.keys import Scope, create_key
from serving.erasure import erase

ERASED = CUSTOMERS[-1]
PORT = "39999"
"""Of a service that was killed and left its folder."""
FILES = {
    "settings.toml": 'currency = "EUR"\ntimeout_ms = "300"\n',
    "identity.toml": "[types.email]\nmax_customers = 2\n",
    "rules.toml": "max_unanswered = 3\n",
    "limits.toml": "[max_value]\nEUR = 5e8\n",
    "quality.toml": "# the defaults\n",
    "report.toml": "# the defaults\n",
    "rates.csv": "date,currency,rate\n2024-05-01,USD,0.93\n2024-06-01,USD,0.92\n",
}


def make_whole_home(home: Path, beside: Path) -> Settings:
    """A home of a service that was killed: tables, settings, keys, rejected rows, an erasure, a backup `beside`, champions."""
    settings = make_home(home)
    for name, text in FILES.items():
        (home / name).write_text(text)
    settings = Settings.from_env({"OMNI_HOME": str(home)})
    beside.mkdir(exist_ok=True)
    products = [{"product_id": name, "name": f"the {name}", "category": "c", "price": 2.0} for name in PRODUCTS]
    stock = [{"product_id": name, "units": 5.0 * (name != "p3"), "as_of": "2024-05-01"} for name in PRODUCTS]
    for table, rows in ((TableName.PRODUCTS, products), (TableName.STOCK, stock)):
        path = beside / f"{table.value}.csv"
        path.write_text("\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]))
        ingest_table(str(path), table, settings)
    ingest(str(_rows(beside / "more.jsonl", "more", {}, bad=True)), settings)
    note_ingested(settings, "more", None, beside / "more.jsonl")
    erase(settings, ERASED, lambda _: None)
    back_up(settings, beside / "backup", lambda _: None)
    entry = Quarantined("churn", "7", "run", "digest", "It crashed.", datetime.now(UTC).isoformat())
    Quarantine(home).add(entry)
    create_key(home, "web-shop", (Scope.INGEST, Scope.DECIDE))
    _leave_a_service(home)
    return settings


def new_rows(path: Path, clock_start: str) -> Path:
    """A file of three rows of a minute before `clock_start`, for an ingest."""
    moment = datetime.fromisoformat(clock_start) - timedelta(minutes=1)
    return _rows(path, "new", {"occurred_at": f"{moment:%Y-%m-%dT%H:%M:%SZ}"})


def clock_start(home: Path) -> str:
    """A moment just after everything in the home, the same for whoever asks."""
    return (datetime.fromtimestamp((home / "rates.csv").stat().st_mtime, UTC) + timedelta(minutes=2)).isoformat()


def _rows(path: Path, name: str, more: dict[str, str], bad: bool = False) -> Path:
    rng = random.Random(name)
    rows = [
        made_event(f"{name}-{number}", rng, 3) | more | {"customer_id": CUSTOMERS[30 + number]} for number in range(3)
    ]
    rows += [rows[0] | {"event_id": "bad", "kind": "no kind"}] * bad
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def _leave_a_service(home: Path) -> None:
    """The folder of a service as `kill -9` leaves it."""
    pid = os.fork()
    if not pid:
        folder = RunFolder(home / "run" / PORT)
        folder.take()
        folder.note([])
        os._exit(0)
    os.waitpid(pid, 0)
