"""The columns of a file and what was guessed of them come in; the customer id that guests share goes out.

Shops write 0 or -1 as the customer of an order without an account: all such orders would be one customer's.
"""

from features.ids import id_text
from features.sources.suggesting.columns import Table
from features.sources.suggesting.draft import Draft

_GUESTS = ("0", "-1")
_STRANGERS = 2
"""So many people at least share the id."""
_NUMBERS = ("quantity", "value", "unit_price", "discount", "order_discount")


def guest_id(table: Table, draft: Draft) -> str | None:
    """An id that stands for several people, by what else tells who they are; None where none does.

    What stands for nothing does so in every column of a file: an id is left out where an amount could be meant as well.
    """
    columns = {column.path: column for column in table.columns}
    customer = columns.get(draft.columns.get("customer_id", ("", ""))[0])
    others = [columns[path] for path, _ in draft.identifiers.values()]
    if customer is None or not others:
        return None
    amounts = [columns[draft.columns[name][0]] for name in _NUMBERS if name in draft.columns]
    for guest in _GUESTS:
        rows = [place for place, value in enumerate(customer.values) if id_text(value) == guest]
        people = {column.values[place] for column in others[:1] for place in rows} - {None}
        if len(people) >= _STRANGERS and not any(guest in column.counts for column in amounts):
            return guest
    return None
