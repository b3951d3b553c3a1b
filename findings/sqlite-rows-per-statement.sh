#!/usr/bin/env bash
# SQLite 3.54.1 (apsw 3.54.1.0): INSERT of 64 rows a statement, ON CONFLICT DO NOTHING, writes 18 times the bytes of OR IGNORE.
#
# Expected before running: more rows a statement save CPU and change nothing of what is written, and ON CONFLICT (key) DO
# NOTHING and OR IGNORE are two spellings of one thing. Seen, for 200,000 events of 100 bytes with a unique id in one
# transaction: one row a statement writes 60 MB whichever the spelling; 64 rows a statement write 60 MB with OR IGNORE, OR FAIL
# and OR ROLLBACK, and 1,073 MB with ON CONFLICT DO NOTHING or no clause, though no row conflicts and the rows are the same.
# A statement of several rows that may have to be taken back alone keeps a copy of each page that it changes, and writes the
# copies to a temporary file; the ids are random, so nearly every row changes another page of their index.
# Whoever loads many rows at once checks what they hold and says OR IGNORE: less is written, and the CPU is less than half.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check apsw==3.54.1.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import random
import sys
from pathlib import Path

import apsw

N_ROWS, TOGETHER = 200_000, 64
EXPECTED_TIMES = {  # bytes written, as a multiple of one row a statement with ON CONFLICT DO NOTHING
    ("INSERT INTO", " ON CONFLICT (event_id) DO NOTHING", 1): (0.9, 1.1),
    ("INSERT OR IGNORE INTO", "", 1): (0.9, 1.1),
    ("INSERT OR IGNORE INTO", "", TOGETHER): (0.9, 1.1),
    ("INSERT OR FAIL INTO", "", TOGETHER): (0.9, 1.1),
    ("INSERT OR ROLLBACK INTO", "", TOGETHER): (0.9, 1.1),
    ("INSERT INTO", "", TOGETHER): (10, 30),
    ("INSERT INTO", " ON CONFLICT (event_id) DO NOTHING", TOGETHER): (10, 30),
}


def bytes_written() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("wchar")).split()[1])


def load(verb: str, clause: str, together: int) -> tuple[int, int]:
    """Bytes written by one transaction of N_ROWS rows, and how many rows there are after it."""
    path = Path(f"{verb}{clause}{together}.db".replace(" ", "-"))
    connection = apsw.Connection(str(path))
    for pragma in ("journal_mode = WAL", "synchronous = OFF", "cache_size = -131072"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, body TEXT)")
    chance = random.Random(1)
    ids = [f"{chance.getrandbits(128):032x}" for _ in range(N_ROWS)]
    statement = f"{verb} events (event_id, body) VALUES {', '.join(['(?, ?)'] * together)}{clause}"
    before = bytes_written()
    with connection:
        for first in range(0, N_ROWS, together):
            connection.execute(statement, [value for name in ids[first : first + together] for value in (name, "x" * 60)])
    written = bytes_written() - before
    ((n_rows,),) = connection.execute("SELECT count(*) FROM events").fetchall()
    return written, n_rows


print("apsw", apsw.apsw_version(), "SQLite", apsw.sqlite_lib_version())
base, failed = None, False
for (verb, clause, together), (least, most) in EXPECTED_TIMES.items():
    written, n_rows = load(verb, clause, together)
    base = base or written
    print(f"{verb} …{clause}, {together} rows a statement: {written / 1e6:,.0f} MB written, {n_rows:,} rows")
    failed |= n_rows != N_ROWS or not least <= written / base <= most
sys.exit(failed)
PYTHON
