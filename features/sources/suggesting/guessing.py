"""The columns of a file come in; what a first mapping of it says goes out. Each guess has its reason beside it."""

import re
from collections.abc import Sequence
from typing import Any

from features.sources.mapping_config import MISSING
from features.sources.mapping_config import NO as USUAL_NO
from features.sources.mapping_config import YES as USUAL_YES
from features.sources.providers.contacts import NO, PROFILING, YES, plan_of
from features.sources.suggesting.columns import Column, Table
from features.sources.suggesting.continued import filled, note_carried
from features.sources.suggesting.draft import Draft
from features.sources.suggesting.guests import guest_id
from features.sources.suggesting.names import (
    CENTS,
    COLUMNS,
    IDENTIFIERS,
    ORDERS,
    PRODUCTS,
    QUERIES,
    RATINGS,
    SYMBOLS,
)
from features.sources.suggesting.values import LOOKED_AT, numbers_of, style_of, writing_of
from features.sources.suggesting.words import MOST_WORDS, guess_channel, guess_kind, plain_word
from features.vocabulary import EventKind

_code = re.compile(r"[A-Z]{3}")
_MONEY = ("value", "unit_price", "discount", "order_discount")


def guess(table: Table) -> Draft:
    """A first mapping of the columns of a file."""
    draft = Draft()
    table, within, carried = filled(table)
    if table.explode is not None:
        draft.top["explode"] = (table.explode, "each of its elements is an event of its own")
    _when(table, draft)
    _who(table, draft)
    _what(table, draft)
    _money(table, draft)
    guest = guest_id(table, draft)
    if guest is not None:
        draft.top["missing"] = ([*MISSING, guest], f"CHECK: customers who are {guest!r} are guests, and many")
    _which(table, draft)
    guess_kind(table, draft)
    guess_channel(table, draft)
    _event_id(table, draft)
    note_carried(draft, within, carried)
    left = [column.path for column in table.columns if column.path not in draft.used() | _named(draft) and column.given]
    if left:
        draft.notes.append(f"these columns say nothing to the mapping: {', '.join(left[:30])}")
    return draft


def _named(draft: Draft) -> set[str]:
    top = [draft.top[name][0] for name in ("event_id_from", "within", "line_of", "kind_from") if name in draft.top]
    return {name for value in top for name in ([value] if isinstance(value, str) else value)}


def _when(table: Table, draft: Draft) -> None:
    named = list(table.find(COLUMNS["occurred_at"]))
    others = [
        column for column in table.columns if column not in named and re.search(r"(date|time|_at)$", column.plain)
    ]
    rest = [column for column in table.columns if column not in named and column not in others and column.given]
    for column in [*named, *others, *rest]:
        writing = writing_of(column)
        is_number = writing is not None and (writing.time_format or "").startswith("epoch")
        if writing is None or column.share < 0.5 or (is_number and column in rest):
            continue
        draft.columns["occurred_at"] = (column.path, f"when: {writing.first} to {writing.last}")
        if writing.time_format is not None:
            draft.top["time_format"] = (writing.time_format, f"as in {column.texts[0]!r}")
        if not writing.is_sure:
            draft.notes.append(f"time_format: days and months of {column.path} could as well be the other way round")
        if not writing.has_offset:
            draft.top["time_zone"] = ("UTC", "CHECK: the zone of times without an offset, like Europe/Berlin")
        return


def _who(table: Table, draft: Draft) -> None:
    customer = next(table.find(COLUMNS["customer_id"]), None)
    if customer is not None and not _is_address(customer):
        draft.columns["customer_id"] = (
            customer.path,
            f"who: {len(customer.counts):,} different in {table.n_rows:,} rows",
        )
    for id_type, names in IDENTIFIERS.items():
        column = next(table.find(names), None)
        if column is None and id_type == "email" and customer is not None and _is_address(customer):
            column = customer
        if column is not None and column.path not in draft.used():
            draft.identifiers[id_type] = (column.path, f"in {column.share:.0%} of the rows")
    nobody = sum(1 for values in _people(table, draft) if not any(values))
    if nobody:
        draft.notes.append(f"{nobody:,} of {table.n_rows:,} rows name nobody; they are rejected")
    if "customer_id" not in draft.columns and not draft.identifiers:
        for column in table.find(COLUMNS["session_id"]):
            draft.identifiers["session"] = (column.path, "CHECK: nothing else says who; each of these is somebody")
            return


def _people(table: Table, draft: Draft) -> list[tuple[object, ...]]:
    """What each row (n,) says of who it is; nothing where no column does."""
    paths = {path for section in (draft.columns, draft.identifiers) for path, _ in section.values()}
    paths -= {draft.columns["occurred_at"][0]} if "occurred_at" in draft.columns else set()
    return list(zip(*(column.values for column in table.columns if column.path in paths), strict=True))


def _is_address(column: Column) -> bool:
    return bool(column.texts) and sum("@" in text for text in column.texts) > 0.9 * len(column.texts)


def _what(table: Table, draft: Draft) -> None:
    product = next((column for column in table.find(COLUMNS["product_id"]) if column.path not in draft.used()), None)
    if product is not None:
        draft.columns["product_id"] = (product.path, f"{len(product.counts):,} different")
    for ours, names in PRODUCTS.items():
        column = next((column for column in table.find(names) if column.path not in draft.used()), None)
        if product is not None and column is not None:
            draft.products[ours] = (column.path, f"such as {column.texts[0][:40]!r}")
    session = next((column for column in table.find(COLUMNS["session_id"]) if column.path not in _ids(draft)), None)
    if session is None and table.explode is not None:  # what holds the lines is the order
        session = next((column for column in table.columns if column.path in ("id", "name", "number")), None)
    if session is not None:
        is_basket = _is_order(session) or table.explode is not None
        what = "lines of one are one basket" if is_basket else "a visit"
        draft.columns["session_id"] = (session.path, f"{len(session.counts):,} different: {what}")
    for ours in ("campaign_id", "store_id"):
        column = next((column for column in table.find(COLUMNS[ours]) if column.path not in draft.used()), None)
        if column is not None:
            draft.columns[ours] = (column.path, f"in {column.share:.0%} of the rows")


def _ids(draft: Draft) -> set[str]:
    return {
        path for ours in ("customer_id", "product_id") if ours in draft.columns for path in [draft.columns[ours][0]]
    }


def _is_order(column: Column) -> bool:
    return column.plain in ORDERS or column.leaf in ORDERS


def _money(table: Table, draft: Draft) -> None:
    units = _number(table, "quantity", draft)
    if units is not None:
        draft.columns["quantity"] = (units.path, "units")
    price, value = _number(table, "unit_price", draft), _number(table, "value", draft)
    if value is not None and _is_of_order(value, table, draft):
        draft.notes.append(f"{value.path} is the same in all lines of an order: it is the order's, and left out")
        value = None
    if value is not None and not (price is not None and units is not None and _is_price(value, price)):
        draft.columns["value"] = (value.path, "money of the whole line")
    elif price is not None:
        why = "times the quantity makes the value" if units is not None else "money of one"
        draft.columns["unit_price"] = (price.path, why)
        head = "" if table.explode is None else f"{table.explode}."
        off = _number(table, "discount", draft, head)
        if off is not None and max(numbers_of(off) or [0.0]) > 1.0:
            draft.columns["discount"] = (off.path, "CHECK: money off the whole line, not a share and not off one unit")
        of_order = _number(table, "order_discount", draft) if table.explode is not None else None
        if of_order is not None and not of_order.path.startswith(head):
            draft.columns["order_discount"] = (of_order.path, "money off the whole order, shared by its lines")
    taken = [draft.columns[name][0] for name in ("quantity", *_MONEY) if name in draft.columns]
    columns = [column for column in table.columns if column.path in taken]
    _scale([column for column in columns if column is not units], draft)
    style = style_of(columns) if columns else None
    if style is not None and style != (".", ""):
        example = next(
            (text for column in columns for text in column.texts if style[0] in text or style[1] in text), ""
        )
        draft.top["decimal"] = (style[0], f"as in {example!r}")
        if style[1]:
            draft.top["thousands"] = (style[1], "")
    if price is not None and draft.products and all(number >= 0 for number in numbers_of(price) or [-1.0]):
        draft.products["price"] = (price.path, "what one costs")
    _currency(table, draft)


def _currency(table: Table, draft: Draft) -> None:
    column = next((column for column in table.find(COLUMNS["currency"])), None)
    if column is not None and all(_code.fullmatch(text) for text in column.counts):
        draft.columns["currency"] = (column.path, ", ".join(text for text, _ in column.counts.most_common(3)))
        return
    money = [draft.columns[name][0] for name in ("value", "unit_price") if name in draft.columns]
    texts = [text for column in table.columns if column.path in money for text in column.texts[:LOOKED_AT]]
    marks = {mark for mark in SYMBOLS if any(mark in text for text in texts)}
    if len(marks) == 1:
        mark = marks.pop()
        draft.constants["currency"] = (SYMBOLS[mark], f"CHECK: amounts are marked {mark}")
    elif money and not any(_code.search(text) for text in texts):
        draft.notes.append('no column names a currency: say it under [constants], like currency = "EUR"')


def _number(table: Table, ours: str, draft: Draft, head: str = "") -> Column | None:
    """A column of numbers that is called so, and whose path begins with `head`."""
    names = COLUMNS[ours]
    if ours != "quantity":
        names = (*names, *(f"{name}_{cents}" for name in names for cents in CENTS))
    for column in table.find(names):
        if column.path.startswith(head) and column.path not in draft.used() and numbers_of(column) is not None:
            return column
    return None


def _scale(columns: Sequence[Column], draft: Draft) -> None:
    """Say so where money is counted in hundredths."""
    in_cents = [column.path for column in columns if column.plain.split("_")[-1] in CENTS]
    if in_cents and len(in_cents) == len(columns):
        draft.top["scale"] = (0.01, "amounts are in hundredths")
    elif in_cents:
        draft.notes.append(f"{', '.join(in_cents)} seem to be in hundredths and other amounts not: one scale is of all")


def _is_price(value: Column, price: Column) -> bool:
    """Whether what is called a value is what one unit costs."""
    return value.values == price.values


def _is_of_order(value: Column, table: Table, draft: Draft) -> bool:
    """Whether all lines of an order have the same value, though they are of different products."""
    order = _column(table, draft, "session_id")
    product = _column(table, draft, "product_id")
    if order is None or product is None or not _is_order(order):
        return False
    lines: dict[str, tuple[set[object], set[object]]] = {}
    for name, amount, what in zip(order.values, value.values, product.values, strict=True):
        amounts, products = lines.setdefault(str(name), (set(), set()))
        amounts.add(amount)
        products.add(what)
    several = [amounts for amounts, products in lines.values() if len(products) > 2]
    return bool(several) and all(len(amounts) == 1 for amounts in several)


def _column(table: Table, draft: Draft, ours: str) -> Column | None:
    path = draft.columns[ours][0] if ours in draft.columns else None
    return next((column for column in table.columns if column.path == path), None)


def _which(table: Table, draft: Draft) -> None:
    """What rows say beside events: ratings, searches, consents."""
    for ours, names in (("rating", RATINGS), ("query", QUERIES)):
        column = next((column for column in table.find(names) if column.path not in draft.used()), None)
        if column is None or (ours == "rating" and numbers_of(column) is None):
            continue
        value = {"column": column.path, "type": "number"} if ours == "rating" else column.path
        draft.properties[ours] = (value, f"such as {column.texts[0][:40]!r}")
    for consent in plan_of([column.path for column in table.columns if column.path not in draft.used()]).consents:
        column = next(column for column in table.columns if column.path == consent.column)
        words = [text for text, _ in column.counts.most_common(MOST_WORDS)]
        yes = [word for word in words if plain_word(word) in YES]
        no = [word for word in words if plain_word(word) in NO]
        if not words or len(yes) + len(no) < len(words) or consent.to in draft.consent:
            continue
        if consent.refuses:
            draft.notes.append(
                f"{column.path} takes consent back, which a mapping cannot say: omni ingest contacts can"
            )
            continue
        what = "may be scored" if consent.to == PROFILING else f"agreed to {consent.to}"
        is_usual = set(words) <= {*USUAL_YES, *USUAL_NO}
        spec = {"column": column.path, "yes": yes or list(USUAL_YES), "no": no or list(USUAL_NO)}
        meant: Any = column.path if is_usual else spec
        draft.consent[consent.to] = (meant, what)


def _event_id(table: Table, draft: Draft) -> None:
    """What names a row: an id that is its own, or the order and the number of the line in it."""
    own = next((column for column in table.find(COLUMNS["event_id"]) if column.path not in draft.used()), None)
    order = _column(table, draft, "session_id")
    is_order = order is not None and _is_order(order) and order.share == 1.0
    if table.explode is not None:
        named = own if order is None else order
        if named is not None:
            draft.top["event_id_from"] = (
                [named.path],
                "with the number of the element; it counts once however often it comes",
            )
        return
    if own is not None and _is_unique([own]):
        draft.columns["event_id"] = (own.path, "every row has its own")
        return
    line = next((column for column in table.find(COLUMNS["line"]) if column.path not in draft.used()), None)
    if order is not None and is_order:
        if _is_unique([order]):
            draft.top["event_id_from"] = ([order.path], "names a row, so that it counts once however often it comes")
        elif line is not None and _is_unique([order, line]):
            draft.top["event_id_from"] = (
                [order.path, line.path],
                "names a row, so that it counts once however often it comes",
            )
        else:
            draft.top["event_id_from"] = ([order.path], "the order, and the number of the line in it")
            draft.top["line_of"] = (order.path, "")
        return
    _from_whole_row(table, draft)


def _from_whole_row(table: Table, draft: Draft) -> None:
    rows = list(zip(*(column.values for column in table.columns), strict=True))
    repeated = len(rows) - len(set(map(repr, rows)))
    if repeated and draft.constants.get("kind", ("", ""))[0] == EventKind.PURCHASE:
        draft.top["duplicates"] = (
            "keep",
            f"CHECK: {repeated:,} of {len(rows):,} rows equal another one; each is counted",
        )


def _is_unique(columns: Sequence[Column]) -> bool:
    rows = list(zip(*(column.values for column in columns), strict=True))
    return all(None not in row for row in rows) and len(set(rows)) == len(rows)


def missing_words(table: Table) -> list[str]:
    """What stands for nothing in a file beside what everybody writes."""
    words = ("-", "--", "?", "unknown", "Unknown")
    return [word for word in words if any(word in column.counts for column in table.columns) and word not in MISSING]
