"""Guesses of files whose rows belong together: continued orders, guests under one id, kinds that two columns tell."""

import tomllib
from pathlib import Path
from typing import Any

from features.sources.suggesting.suggestion import Suggestion, suggest

CONTINUED = """Name,Email,Created at,Currency,Lineitem quantity,Lineitem price,Lineitem sku
#1001,a@example.org,2024-05-01T10:00:00Z,EUR,2,10.00,A
#1001,,,,1,5.50,B
#1001,,,,1,4.50,C
#1002,b@example.org,2024-05-02T10:00:00Z,EUR,1,10.00,A
"""
GUESTS = """order_id,order_date,customer_id,email,sku,qty,price
1,2024-05-01T10:00:00Z,17,x@example.org,A,1,10.00
2,2024-05-01T11:00:00Z,0,y@example.org,B,2,3.25
3,2024-05-01T12:00:00Z,0,z@example.org,A,1,10.00
"""
TRACKED = """timestamp,user_id,action,event_name,product_id
2024-05-01T10:00:00Z,u1,page,,
2024-05-01T10:01:00Z,u1,track,Product Viewed,A
2024-05-01T10:02:00Z,u1,track,Order Completed,A
2024-05-01T10:03:00Z,u2,identify,,
"""


def made(tmp_path: Path, text: str) -> tuple[dict[str, Any], Suggestion]:
    file = tmp_path / "file.csv"
    file.write_text(text)
    found = suggest(str(file))
    return tomllib.loads(found.text), found


def test_what_only_the_first_line_of_an_order_says_is_carried_down(tmp_path: Path) -> None:
    mapping, found = made(tmp_path, CONTINUED)
    assert mapping["carry_down"] == ["Email", "Created at", "Currency"]
    assert mapping["within"] == "Name"
    assert (found.events, found.rejected, found.problem) == (4, 0, None)


def test_the_id_that_guests_share_is_nobody(tmp_path: Path) -> None:
    mapping, found = made(tmp_path, GUESTS)
    assert mapping["missing"][-1] == "0"
    assert (found.events, found.rejected) == (3, 0)


def test_zero_stays_a_number_where_an_amount_is_zero(tmp_path: Path) -> None:
    mapping, _ = made(tmp_path, GUESTS.replace("B,2,3.25", "B,2,0"))
    assert "missing" not in mapping


def test_two_columns_tell_the_kind(tmp_path: Path) -> None:
    mapping, found = made(tmp_path, TRACKED)
    assert mapping["kind_from"] == ["action", "event_name"]
    assert mapping["kinds"]["track/Product Viewed"] == "view"
    assert mapping["kinds"]["track/Order Completed"] == "purchase"
    assert (found.events, found.skipped, found.rejected) == (3, 1, 0)
