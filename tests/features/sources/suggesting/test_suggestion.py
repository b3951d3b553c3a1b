"""A first mapping of files as people have them: it is accepted as it is, and says what was meant."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from features.errors import InputError
from features.sources.suggesting.suggestion import Suggestion, suggest

SHOP = """order,line,when,what,where,card,mail,sku,title,units,price
1,1,2024-10-25 14:30,sale,shop,C-7,a@example.org,A,Coffee,2,12.50
1,2,2024-10-25 14:30,sale,shop,C-7,a@example.org,B,Mill,1,49.00
2,1,2024-10-26 09:15,seen,site,,a@example.org,C,Filters,,
3,1,2024-10-26 10:00,sale,shop,C-7,,B,Mill,-1,49.00
"""
RETAIL = """Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country
489434,85048,LIGHTS,12,2009-12-01 07:45:00,6.95,13085.0,United Kingdom
489434,85048,LIGHTS,12,2009-12-01 07:45:00,6.95,13085.0,United Kingdom
489435,22350,CAT BOWL,12,2009-12-01 07:46:00,2.55,,France
"""
CLICKS = """event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:00 UTC,view,44,2103807459595387724,,shiseido,35.79,5,a
2019-10-01 00:00:01 UTC,cart,39,2053013552326770905,kitchen,aqua,33.20,6,b
2019-10-01 00:00:02 UTC,purchase,39,2053013552326770905,kitchen,aqua,33.20,6,b
"""
GERMAN = """Bestellnummer;Datum;Kundennummer;E-Mail;Artikelnummer;Menge;Einzelpreis;Gesamt
1;03.01.2024;K1;a@example.org;A;2;"1.234,50";"2.469,00"
1;03.01.2024;K1;a@example.org;B;1;4,00;4,00
2;14.01.2024;K2;b@example.org;A;1;"1.234,50";"1.234,50"
"""


def made(tmp_path: Path, text: str, name: str = "file.csv") -> tuple[dict[str, Any], Suggestion]:
    file = tmp_path / name
    file.write_text(text)
    found = suggest(str(file))
    return tomllib.loads(found.text), found


def test_the_shop_of_the_readme(tmp_path: Path) -> None:
    mapping, found = made(tmp_path, SHOP)
    assert mapping["event_id_from"] == ["order", "line"]
    assert mapping["columns"] == {
        "occurred_at": "when", "product_id": "sku", "session_id": "order", "quantity": "units", "unit_price": "price",
        "kind": "what", "channel": "where",
    }  # fmt: skip
    assert mapping["identifiers"] == {"email": "mail", "loyalty_card": "card"}
    assert (mapping["kinds"], mapping["channels"]) == (
        {"sale": "purchase", "seen": "view"},
        {"shop": "store", "site": "web"},
    )
    assert mapping["time_zone"] == "UTC"
    assert "CHECK" in found.text
    assert (found.rows, found.events, found.rejected, found.problem) == (4, 4, 0, None)


def test_lines_of_invoices_that_repeat_are_told_apart(tmp_path: Path) -> None:
    mapping, found = made(tmp_path, RETAIL)
    assert (mapping["event_id_from"], mapping["line_of"], mapping["constants"]["kind"]) == (
        ["Invoice"],
        "Invoice",
        "purchase",
    )
    assert mapping["products"] == {"name": "Description", "price": "Price"}
    assert (found.events, found.rejected) == (2, 1)
    assert "1 of 3 rows name nobody" in found.text


def test_clicks_with_words_and_a_zone(tmp_path: Path) -> None:
    mapping, found = made(tmp_path, CLICKS)
    assert mapping["columns"]["occurred_at"] == "event_time"
    assert mapping["kinds"] == {"cart": "add_to_cart"}
    assert "event_id_from" not in mapping  # a session is no order
    assert (found.events, found.rejected) == (3, 0)


def test_commas_points_and_days_first(tmp_path: Path) -> None:
    mapping, found = made(tmp_path, GERMAN)
    assert (mapping["decimal"], mapping["thousands"], mapping["time_format"]) == (",", ".", "%d.%m.%Y")
    assert mapping["columns"]["value"] == "Gesamt"
    assert (found.events, found.rejected) == (3, 0)


def test_the_total_of_an_order_is_not_the_value_of_its_lines(tmp_path: Path) -> None:
    text = "Order ID,Date,Email,SKU,Qty,Item Price,Total,Status\n" + "".join(
        f"1,2024-01-02,a@example.org,{sku},1,$5.00,$15.00,{status}\n"
        for sku, status in (("a", "Paid"), ("b", "Paid"), ("c", "Void"))
    )
    mapping, found = made(tmp_path, text)
    assert (mapping["columns"]["unit_price"], mapping["constants"]["currency"]) == ("Item Price", "USD")
    assert "value" not in mapping["columns"]
    assert (mapping["kinds"], mapping["skip"]) == ({"Paid": "purchase"}, {"kind": ["Void"]})
    assert (found.events, found.skipped) == (2, 1)


def test_ratings_are_feedback(tmp_path: Path) -> None:
    mapping, found = made(tmp_path, "userId,movieId,rating,timestamp\n1,307,3.5,1256677221\n1,481,3.5,1256677456\n")
    assert (mapping["time_format"], mapping["constants"]["kind"]) == ("epoch_s", "feedback")
    assert mapping["properties"] == {"rating": {"column": "rating", "type": "number"}}
    assert found.events == 2


def test_orders_with_their_lines_inside(tmp_path: Path) -> None:
    lines = '[{"sku": "a", "quantity": 2, "price_cents": 500}, {"sku": "b", "quantity": 1, "price_cents": 250}]'
    who = '{"id": 9, "email": "a@example.org"}'
    order = f'{{"id": 1, "created_at": "2024-01-02T10:00:00Z", "customer": {who}, "line_items": {lines}}}'
    mapping, found = made(tmp_path, order, "orders.json")
    assert (mapping["explode"], mapping["scale"], mapping["event_id_from"]) == ("line_items", 0.01, ["id"])
    assert mapping["columns"]["product_id"] == "line_items.sku"
    assert (mapping["columns"]["customer_id"], mapping["identifiers"]) == ("customer.id", {"email": "customer.email"})
    assert found.events == 2


def test_members_and_what_they_agreed_to(tmp_path: Path) -> None:
    mapping, found = made(
        tmp_path, "member_id,email,accepts_email,updated_at\n1,a@example.org,yes,2024-01-01T00:00:00Z\n"
    )
    assert (mapping["consent"], mapping["constants"]["kind"]) == ({"email": "accepts_email"}, "profile")
    assert found.events == 1


def test_a_file_in_another_encoding_and_one_with_line_breaks(tmp_path: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes("order_id,date,email,item,price\n1,2024-01-01,a@example.org,Tür,5\n".encode("cp1252"))
    assert tomllib.loads(suggest(str(file)).text)["encoding"] == "cp1252"
    mapping, found = made(tmp_path, 'order_id,date,email,sku,price,note\n1,2024-01-01,a@example.org,x,5,"two\nlines"\n')
    assert mapping["multiline"] is True
    assert found.events == 1


@pytest.mark.parametrize(
    ("text", "word"), [("a,b\n1,2\n", "times"), ("date,colour\n2024-01-01,red\n", "who"), ("date,email\n", "rows")]
)
def test_what_says_too_little_is_told(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        made(tmp_path, text)
