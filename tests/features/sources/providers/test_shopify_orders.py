"""Shopify's export: orders over several rows, discounts that add up, what came to nothing, and what went back."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from features.errors import InputError
from features.sources.batch import SourceBatch
from features.sources.providers import shopify_orders

HEADER = (
    "Name,Email,Financial Status,Currency,Subtotal,Discount Amount,Created at,Lineitem quantity,Lineitem name,Lineitem price,"
    "Lineitem sku,Lineitem discount,Cancelled at,Refunded Amount,Source,Location,Phone,Notes"
)
NIGHT = "2025-02-03 23:30:00 +0100"


def head(name: str, line: str, **more: str) -> str:
    """The first row of an order; `line` is its quantity, name, price, SKU and discount."""
    said = {"Email": f"{name[1:]}@example.org", "Financial Status": "paid", "Currency": "EUR", "Source": "web", **more}
    return row({"Name": name, "Created at": NIGHT, **said}, line)


def more_of(name: str, line: str) -> str:
    return row({"Name": name, "Created at": NIGHT}, line)


def row(said: Mapping[str, str], line: str) -> str:
    names = ("Lineitem quantity", "Lineitem name", "Lineitem price", "Lineitem sku", "Lineitem discount")
    values = {**said, **dict(zip(names, line.split("|"), strict=True))}
    return ",".join(values.get(name, "") for name in HEADER.split(","))


def load(tmp_path: Path, *rows: str, landed: Mapping[str, float | None] | None = None) -> list[SourceBatch]:
    file = tmp_path / "orders.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    kept = landed or {}
    found = lambda beginning: {name: value for name, value in kept.items() if name.startswith(beginning)}  # noqa: E731
    return list(shopify_orders.load(str(file), None, found))


def events(batches: list[SourceBatch]) -> list[dict[str, Any]]:
    return [event for batch in batches for event in batch.events.to_pylist()]


def told(batches: list[SourceBatch]) -> list[tuple[str, str, str | None, float | None]]:
    return [(event["event_id"], event["kind"], event["product_id"], event["value"]) for event in events(batches)]


def test_lines_add_up_to_the_subtotal(tmp_path: Path) -> None:
    batches = load(
        tmp_path,
        head("#1", "1|Cup|10.00|C|2.00", Subtotal="17.00", **{"Discount Amount": "1.00"}),
        more_of("#1", "2|Tea|5.00|T|0.00"),
        more_of("#1", "1|Tea|0.00|T|0.00"),
    )
    assert told(batches) == [
        ("#1:1", "purchase", "C", pytest.approx(7.56)),
        ("#1:2", "purchase", "T", pytest.approx(9.44)),
        ("#1:3", "purchase", "T", 0.0),
    ]
    first = events(batches)[0]
    assert first["occurred_at"] == datetime(2025, 2, 3, 22, 30, tzinfo=UTC)
    assert (first["session_id"], first["currency"], dict(first["identifiers"])) == (
        "#1",
        "EUR",
        {"email": "1@example.org"},
    )
    assert batches[-1].products is not None
    assert batches[-1].products["name"].to_pylist() == ["Cup", "Tea"]


def test_what_came_to_nothing_is_counted_by_its_rows(tmp_path: Path) -> None:
    batches = load(
        tmp_path,
        head("#1", "1|Cup|10|C|0", **{"Financial Status": "voided"}),
        head("#2", "1|Cup|10|C|0", **{"Cancelled at": NIGHT}),
        more_of("#2", "1|Tea|5|T|0"),
    )
    assert events(batches) == []
    assert dict(batches[0].skipped) == {"voided": 1, "cancelled": 2}


def test_an_order_that_is_cancelled_after_it_came_in_goes_back(tmp_path: Path) -> None:
    later = "2025-02-05 09:00:00 +0000"
    rows = [head("#2", "1|Cup|10|C|0", **{"Cancelled at": later}), more_of("#2", "1|Tea|5|T|0")]
    batches = load(tmp_path, *rows, landed={"#2:1": 10.0, "#2:2": 5.0})
    assert [one for one in told(batches) if one[1] == "return"] == [
        ("#2:1:return", "return", "C", 10.0),
        ("#2:2:return", "return", "T", 5.0),
    ]
    assert events(batches)[1]["occurred_at"] == datetime(2025, 2, 5, 9, tzinfo=UTC)
    again = load(tmp_path, *rows, landed={"#2:1": 10.0, "#2:2": 5.0, "#2:1:return": 10.0, "#2:2:return": 5.0})
    assert [one[1] for one in told(again)] == ["purchase", "purchase"]


def test_a_full_refund_gives_back_each_line_when_the_export_ends(tmp_path: Path) -> None:
    batches = load(
        tmp_path,
        head("#1", "1|Cup|10|C|0", **{"Financial Status": "refunded", "Refunded Amount": "15"}),
        more_of("#1", "1|Tea|5|T|0"),
        head("#2", "1|Tea|5|T|0", **{"Created at": "2025-02-09 00:00:00 +0000"}),
    )
    back = [event for event in events(batches) if event["kind"] == "return"]
    assert [(event["product_id"], event["value"]) for event in back] == [("C", 10.0), ("T", 5.0)]
    assert {event["occurred_at"] for event in back} == {datetime(2025, 2, 9, tzinfo=UTC)}


def test_a_partial_refund_is_money_back_and_counts_once(tmp_path: Path) -> None:
    part = {"Financial Status": "partially_refunded", "Refunded Amount": "4.00"}
    landed = {"#1:1": 10.0, "#1:refund:4.00": 4.0}
    assert told(load(tmp_path, head("#1", "1|Cup|10|C|0", **part)))[1] == ("#1:refund:4.00", "return", None, 4.0)
    assert len(told(load(tmp_path, head("#1", "1|Cup|10|C|0", **part), landed=landed))) == 1
    more = told(load(tmp_path, head("#1", "1|Cup|10|C|0", **{**part, "Refunded Amount": "6.50"}), landed=landed))
    assert more[1] == ("#1:refund:6.50", "return", None, 2.5)
    whole = told(load(tmp_path, head("#1", "1|Cup|10|C|0", **{"Financial Status": "refunded"}), landed=landed))
    assert whole[1] == ("#1:1:return", "return", "C", 6.0)


def test_at_the_till_without_a_name_an_order_is_somebody(tmp_path: Path) -> None:
    (event,) = events(load(tmp_path, head("#1", "1|Cup|10|C|0", Email="", Source="pos", Location="North")))
    assert (event["channel"], event["store_id"], event["session_id"]) == ("store", "North", "#1")
    assert dict(event["identifiers"]) == {"order": "#1"}


def test_a_line_without_a_sku_is_its_name_and_notes_go_over_lines(tmp_path: Path) -> None:
    (event,) = events(load(tmp_path, head("#1", "1|Wrapping|4||0", Notes='"for Una\n\nblue"', Phone="'+49 1")))
    assert event["product_id"] == "Wrapping"
    assert dict(event["identifiers"]) == {"email": "1@example.org", "phone": "+49 1"}


def test_half_an_order_is_none(tmp_path: Path) -> None:
    batches = load(tmp_path, head("#1", "1|Cup|10|C|0"), more_of("#1", "some|Tea|5|T|0"), head("#2", "1|Tea|5|T|0"))
    assert told(batches) == [("#2:1", "purchase", "T", 5.0)]
    assert batches[0].rejected is not None
    assert batches[0].rejected["field"].to_pylist() == ["Lineitem quantity", "Lineitem quantity"]
    assert batches[0].rows_total == 3


def test_lines_that_miss_their_subtotal_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(tmp_path, head("#1", "1|Cup|10|C|0", Subtotal="12.00"))
    assert "#1" in caplog.text


def test_another_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="Name"):
        list(shopify_orders.load(str(file), None, lambda beginning: {}))
