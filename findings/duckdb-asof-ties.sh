#!/usr/bin/env bash
# DuckDB 2.0.0: which of several rows with the same key and moment an ASOF join answers depends on how many rows ask.
#
# Expected before running: with ties the answer is arbitrary but the same for every asking row, or a documented order.
# Seen: with 1 to 63 asking rows it is the row that stands first in the table, from 64 on the one that stands last, the same
# for a table and for a Parquet file. A feature lookup tested with a handful of entities answers otherwise in a training set.
# Whoever joins as of a moment makes one row per key and moment first.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check duckdb==2.0.0

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import duckdb

EXPECTED = {1: 10, 2: 10, 63: 10, 64: 30, 65: 30, 5000: 30}

connection = duckdb.connect()
connection.execute(
    "CREATE TABLE prices AS SELECT * FROM (VALUES"
    " ('mug', TIMESTAMP '2026-01-01', 10), ('mug', TIMESTAMP '2026-01-01', 20), ('mug', TIMESTAMP '2026-01-01', 30)"
    ") AS t(product, moment, price)"
)
connection.execute("COPY prices TO 'prices.parquet'")
print("duckdb", duckdb.__version__)
seen = {}
for source in ("prices", "'prices.parquet'"):
    for n_asked in EXPECTED:
        answers = connection.sql(
            f"SELECT DISTINCT p.price FROM (SELECT 'mug' AS product, TIMESTAMP '2026-01-02' AS moment FROM range({n_asked})) AS a"
            f" ASOF JOIN {source} AS p ON a.product = p.product AND a.moment >= p.moment"
        ).fetchall()
        seen[source, n_asked] = [price for (price,) in answers]
        print(f"{source}: {n_asked} rows ask, answered with {seen[source, n_asked]}")
sys.exit(any(prices != [EXPECTED[n_asked]] for (_, n_asked), prices in seen.items()))
PYTHON
