"""The rows of one order of Shopify's export come in; what each row means goes out: purchases, and returns of what went back.

Pure. An order's columns stand on its first row only; the rows after it are its further lines. A line is named by its order and
its number in it ("#5001:2"), because a SKU may stand twice in an order; it is worth its price times its quantity less its
own discount and its share of the order's, so that the lines add up to the order's subtotal. Orders that were voided or
cancelled are skipped and counted, unless they had come in before: then their lines go back. A full refund gives back each
line, a partial one an amount without a product; no column says when, so it counts at the newest moment of the export.

https://help.shopify.com/en/manual/fulfillment/managing-orders/exporting-orders
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from features.formats.money import net_values, order_discount
from features.formats.reading import Fields, UnreadableError, moment, number, said, text
from features.vocabulary import Channel, EventKind, IdType

NAME: Final = "Name"
TIMES: Final = ("Created at", "Paid at", "Fulfilled at", "Cancelled at")
NEEDED: Final = (NAME, "Created at", "Lineitem quantity", "Lineitem name", "Lineitem price")
CHANNELS: Final[Mapping[str, Channel]] = {"pos": Channel.STORE}
"""What the column `Source` means; everything else is the web."""
NOT_SOLD: Final = ("voided", "expired")
"""Words of `Financial Status` of orders that came to nothing."""
CANCELLED: Final = "cancelled"
_MOST_OFF: Final = 0.01
"""By how much an order's lines may miss its subtotal for each line, in its currency."""

Row = Mapping[str, str]
Landed = Callable[[str], Mapping[str, float | None]]
"""Of the beginning of an id: the ids of the log that begin so, and their values."""


def nothing_landed(beginning: str) -> Mapping[str, float | None]:
    """What a log holds that is empty."""
    return {}


@dataclass(frozen=True)
class OrderMeaning:
    """What an order means: events of each of its rows, or the word under which all of them are counted."""

    rows: tuple[tuple[Fields, ...], ...] = ()
    skipped: str | None = None
    adds_up: bool = True


def read_order(rows: Sequence[Row], seen_until: datetime, landed: Landed) -> OrderMeaning:
    """What the rows of one order mean. Raises UnreadableError where one of them cannot be read: half an order is none."""
    order = {name: next((row[name] for row in rows if row.get(name)), "") for name in rows[0]}
    name = order[NAME]
    status = order.get("Financial Status", "").strip().lower()
    cancelled_at = order.get("Cancelled at", "")
    is_off = status in NOT_SOLD or bool(cancelled_at)
    was_here = dict(landed(f"{name}:")) if is_off or "refunded" in status else {}
    if is_off and f"{name}:1" not in was_here:
        return OrderMeaning(skipped=status if status in NOT_SOLD else CANCELLED)
    values, adds_up = _values(rows, order)
    shared = _shared(order)
    bought = [_line(place, row, value, shared) for place, (row, value) in enumerate(zip(rows, values, strict=True), 1)]
    moment_back = moment(cancelled_at, "Cancelled at") if cancelled_at else seen_until
    if is_off or status == "refunded":
        back = _all_back(bought, moment_back, was_here)
    elif status == "partially_refunded":
        back = [_part_back(order, shared, moment_back, was_here), *[()] * (len(rows) - 1)]
    else:
        back = [()] * len(rows)
    return OrderMeaning(tuple((line, *more) for line, more in zip(bought, back, strict=True)), adds_up=adds_up)


def _values(rows: Sequence[Row], order: Row) -> tuple[list[float], bool]:
    """What each line is worth after every discount, and whether the lines make the order's subtotal."""
    nets = []
    for row in rows:
        price, units = number(row.get("Lineitem price"), "Lineitem price"), _units(row)
        off = number(row.get("Lineitem discount"), "Lineitem discount") or 0.0
        nets.append(max((price or 0.0) * units - off, 0.0))
    subtotal = number(order.get("Subtotal"), "Subtotal")
    stated = number(order.get("Discount Amount"), "Discount Amount") or 0.0
    values = net_values(nets, order_discount(nets, stated, subtotal))
    return values, subtotal is None or abs(sum(values) - subtotal) < _MOST_OFF * len(rows) + 1e-9


def _units(row: Row) -> float:
    units = number(row.get("Lineitem quantity"), "Lineitem quantity")
    if units is None:
        raise UnreadableError("Lineitem quantity", "is blank: a line says how many it is of.")
    return units


def _shared(order: Row) -> Fields:
    """What all lines of an order say."""
    channel = CHANNELS.get(order.get("Source", "").strip().lower(), Channel.WEB)
    identifiers = said(
        **{
            IdType.EMAIL.value: text(order.get("Email"), "Email"),
            # a spreadsheet would take a phone number for a sum, so that some are written with an apostrophe
            IdType.PHONE.value: text(order.get("Phone", "").lstrip("'"), "Phone"),
        }
    )
    return said(
        occurred_at=moment(order.get("Created at") or None, "Created at"),
        channel=channel.value,
        # who bought at the till without a name is known by this order alone
        identifiers=identifiers or {"order": order[NAME]},
        currency=text(order.get("Currency"), "Currency"),
        session_id=order[NAME],
        store_id=text(order.get("Location"), "Location") if channel == Channel.STORE else None,
        properties={"order_id": order[NAME]},
    )


def _line(place: int, row: Row, value: float, shared: Fields) -> Fields:
    product = text(row.get("Lineitem sku"), "Lineitem sku") or text(row.get("Lineitem name"), "Lineitem name")
    return shared | said(
        event_id=f"{shared['session_id']}:{place}",
        kind=EventKind.PURCHASE.value,
        product_id=product,
        quantity=_units(row),
        value=value,
    )


def _all_back(bought: Sequence[Fields], when: datetime, was_here: Mapping[str, Any]) -> list[tuple[Fields, ...]]:
    """A return of each line, less what had been paid back before, but for those of which the log has one."""
    paid_back = sum(value or 0.0 for event_id, value in was_here.items() if ":refund:" in event_id)
    values = net_values([line["value"] for line in bought], paid_back)
    back: list[tuple[Fields, ...]] = []
    for line, value in zip(bought, values, strict=True):
        event_id = f"{line['event_id']}:return"
        gone = line | {"event_id": event_id, "kind": EventKind.RETURN.value, "occurred_at": when, "value": value}
        back.append(() if event_id in was_here else (gone,))
    return back


def _part_back(order: Row, shared: Fields, when: datetime, was_here: Mapping[str, Any]) -> tuple[Fields, ...]:
    """A return without a product of what was paid back since the log heard of it last."""
    refunded = number(order.get("Refunded Amount"), "Refunded Amount") or 0.0
    before = sum(value or 0.0 for event_id, value in was_here.items() if ":refund:" in event_id)
    more = round(refunded - before, 2)
    if more <= 0.0:
        return ()
    event_id = f"{order[NAME]}:refund:{refunded:.2f}"
    return (shared | {"event_id": event_id, "kind": EventKind.RETURN.value, "occurred_at": when, "value": more},)
