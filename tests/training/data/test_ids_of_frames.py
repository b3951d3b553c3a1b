"""Ids in the files that benchmarks read: by no way round over numbers, and strangers stay strangers."""

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.state.event_arrays import product_code
from features.state.fold import fold_customer
from training.benchmarks.contracts import read_contracts
from training.benchmarks.report import timeline_of
from training.data.decisions import as_decisions
from training.data.frames import customers_or_rows, names, names_or_rows, read_frame
from training.data.held_out import read_held_out

LONG = [str(12345678901234567890 + user) for user in range(50)]


def interactions(path: Path, users: Any, items: Any) -> Path:
    """Three interactions of each user: with item i, i + 1 and i + 2."""
    n = len(users)
    columns = {
        "user_id": [user for user in users for _ in range(3)],
        "item_id": [items[(place + step) % n] for place in range(n) for step in range(3)],
        "position": [step for _ in range(n) for step in range(3)],
    }
    if path.name.endswith(".parquet"):
        pq.write_table(pa.table(columns), path)
    elif path.name.endswith(".jsonl"):
        pd.DataFrame(columns).to_json(path, orient="records", lines=True)
    else:
        text = pd.DataFrame(columns).to_csv(index=False)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["f.csv", "f.csv.gz", "f.jsonl", "f.parquet"])
def test_fifty_users_with_twenty_digits_stay_fifty(tmp_path: Path, name: str) -> None:
    data = read_held_out(interactions(tmp_path / name, LONG, LONG), "leave-one-out")
    assert (len(data.users), data.lines.n_customers, data.lines.n_items) == (50, 50, 50)


@pytest.mark.parametrize("kind", ["uint64", "decimal128", "json numbers"])
def test_twenty_digits_as_numbers(tmp_path: Path, kind: str) -> None:
    file = tmp_path / ("f.jsonl" if kind == "json numbers" else "f.parquet")
    values: list[Any] = [Decimal(text) if kind == "decimal128" else int(text) for text in LONG]
    if kind == "json numbers":
        file.write_text(
            "\n".join(f'{{"user_id": {user}, "item_id": {user}, "position": {p}}}' for user in LONG for p in range(3))
        )
    else:
        column = pa.array(np.repeat(np.array(values, object), 3), pa.uint64() if kind == "uint64" else None)
        pq.write_table(pa.table({"user_id": column, "item_id": column, "position": [0, 1, 2] * 50}), file)
    table = read_frame(file)
    assert sorted(set(table["user_id"])) == LONG == sorted(set(table["item_id"]))
    assert len(read_held_out(file, "leave-one-out").users) == 50


def test_twenty_digits_that_were_fractions_are_refused_in_a_line(tmp_path: Path) -> None:
    column = [float(text) for text in LONG]
    file = interactions(tmp_path / "f.parquet", column, column)
    with pytest.raises(InputError, match=r"user_id: row 1 is 1\.2345678901234567e\+19, a number with too many digits"):
        read_held_out(file, "leave-one-out")


@pytest.mark.parametrize("name", ["f.csv", "f.jsonl", "f.parquet"])
def test_what_is_written_otherwise_is_another_item(tmp_path: Path, name: str) -> None:
    items = ["1.10", "1.1", "1E3", "1000", "007", "7"]
    file = interactions(tmp_path / name, [1, 2, 3, 4, 5, 6], items)
    assert sorted(set(read_frame(file)["item_id"])) == sorted(items)
    assert read_held_out(file, "leave-one-out").lines.n_items == 6


@pytest.mark.parametrize(
    "users",
    [
        pd.Series([7, 8, 10] * 3),
        pd.Series([7.0, 8.0, 10.0] * 3),
        pd.Series([7, 8, 10] * 3, dtype="Int64"),
        pd.Series([Decimal("7.0"), Decimal(8), Decimal(10)] * 3),
        pd.Series(["7", "8", "10"] * 3),
        pd.Series([7, "8", 10.0] * 3, dtype=object).astype(str).str.removesuffix(".0"),
        pd.Series([7.0, 8.0, 10.0] * 3, dtype="category"),
    ],
    ids=str,
)
def test_the_split_is_the_same_whatever_the_type_of_the_ids(tmp_path: Path, users: pd.Series) -> None:
    table = pd.DataFrame({"user_id": users, "item_id": users, "position": np.arange(9)})
    table.to_parquet(tmp_path / "f.parquet")
    data = read_held_out(tmp_path / "f.parquet", "leave-one-out")
    assert data.lines.customer.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]  # 10 comes after 8: by size, not as text
    assert data.lines.item.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_a_log_with_gaps_names_its_customers_alike_in_every_kind_of_file(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "customer_id": [12.0, np.nan, 13.0, 13.0],
            "occurred_at": ["2024-05-01T10:00:00Z"] * 4,
            "product_id": [5.0, 5.0, np.nan, 5.5],
            "event_id": [1.0, 2.0, 3.0, np.nan],
        }
    )
    table.to_parquet(tmp_path / "log.parquet")
    table.convert_dtypes().to_csv(tmp_path / "log.csv", index=False)
    table.to_json(tmp_path / "log.jsonl", orient="records", lines=True)
    for name in ("log.parquet", "log.csv", "log.jsonl"):
        rows = timeline_of(read_frame(tmp_path / name), tmp_path / name)
        assert rows["customer_id"].to_pylist() == ["12", "13", "13"], name
        assert rows["product_id"].to_pylist() == ["5" if name != "log.csv" else "5.0", None, "5.5"], name


def test_contracts_and_decisions_of_nobody_in_particular_are_not_one_customer() -> None:
    ids = pd.Series([12.0, np.nan, np.nan, 12.0])
    assert names(ids).tolist() == ["12", None, None, "12"]
    assert names_or_rows(ids).tolist() == ["12", "row 1", "row 2", "12"]
    table = pd.DataFrame({"customer_id": ids, "churn": ["yes", "no", "yes", "no"], "months": [1, 2, 3, 4]})
    assert read_contracts(table).customers.tolist() == ["12", "row 1", "row 2", "12"]
    log = pd.DataFrame({"action": list("abab"), "pscore": 0.5, "reward": 1.0, "x_a": 1.0, "customer_id": ids})
    groups = as_decisions(log).log.groups
    assert groups is not None and groups.tolist() == ["12", "row 1", "row 2", "12"]


def test_a_latin_1_file_with_ids_and_one_with_decimal_commas(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes("customer_id,name\n007,Müller\n7,Ä\n".encode("latin-1"))
    assert read_frame(tmp_path / "l.csv")["customer_id"].tolist() == ["007", "7"]
    (tmp_path / "c.csv").write_text("customer id;value\n007;12,50\n7;1,25\n")
    table = read_frame(tmp_path / "c.csv")
    assert (table["customer id"].tolist(), table["value"].tolist()) == (["007", "7"], [12.5, 1.25])


@pytest.mark.parametrize("column", ["account_id", "CLIENTNUM", "Member ID", "customer-number", "phone number"])
def test_twenty_digits_of_any_name_for_a_customer_stay_apart(tmp_path: Path, column: str) -> None:
    file = tmp_path / "contracts.csv"
    file.write_text(
        f"{column},fee,churn\n" + "".join(f"{name},1,{'yes' if name > LONG[9] else 'no'}\n" for name in LONG)
    )
    contracts = read_contracts(read_frame(file))
    assert contracts.customers.tolist() == LONG
    assert contracts.columns.columns.tolist() == ["fee"]


def test_who_is_nobody_is_no_customer_of_a_benchmark(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    who = ["null", "Guest", "undefined", "NaN", "-1", "[object Object]", "0", "ada"]
    file.write_text("customer_id,occurred_at\n" + "".join(f"{name},2024-05-01\n" for name in who))
    assert timeline_of(read_frame(file), file)["customer_id"].to_pylist() == ["0", "ada"]
    names_of_rows = [f"row {row}" for row in range(6)]
    assert customers_or_rows(pd.Series(who)).tolist() == [*names_of_rows, "0", "ada"]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_return_of_a_benchmark_takes_from_the_order_that_it_names(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"events.{ending}"
    orders = [("2024-05-01", "purchase", "A"), ("2024-05-11", "purchase", "B"), ("2024-05-12", "return", "A")]
    rows = [
        {"customer_id": "ada", "occurred_at": f"{day}T00:00:00Z", "kind": kind, "product_id": "tea", "quantity": 1}
        | {"value": 4, "properties": {"order_id": order} if ending == "jsonl" else f'{{"order_id": "{order}"}}'}
        for day, kind, order in orders
    ]
    frame = pd.DataFrame(rows)
    frame.to_csv(file, index=False) if ending == "csv" else frame.to_json(file, orient="records", lines=True)
    state = fold_customer(timeline_of(read_frame(file), file))
    assert state.scalar("n_occasions").tolist() == [1]
    assert state.scalar("last_occasion").tolist() == [pd.Timestamp("2024-05-11", tz="UTC").timestamp()]


def test_events_of_one_moment_count_as_they_come_in_the_file() -> None:
    table = pd.DataFrame({"customer_id": ["ada"] * 12, "occurred_at": ["2024-05-01"] * 12, "kind": ["view"] * 12})
    timeline = timeline_of(table.assign(product_id=[f"p{row}" for row in range(12)]), Path("f.csv"))
    codes = product_code([f"p{row}" for row in range(12)])
    assert fold_customer(timeline).seq_product.values.tolist() == codes.tolist()
