"""The suppression list: names in, customers out, whenever and however they came to be known."""

import pytest
from made_visits import open_url

from features.errors import InputError
from features.events.schema import Event
from features.log.event_log import EventLog


def visit(customer_id: str | None = None, **identifiers: str) -> Event:
    said = (customer_id, *sorted(identifiers.items()))
    return Event(
        event_id=f"e{said}",
        occurred_at="2024-01-01T00:00:00Z",
        kind="visit",
        channel="web",
        customer_id=customer_id,
        identifiers=identifiers,
    )


def test_a_customer_on_the_list_is_suppressed_with_the_reason(log: EventLog) -> None:
    table = log.suppressions()
    assert table.add(["42"], "staff") == 1
    assert (table.reason("42"), table.reason("43")) == ("staff", None)
    assert table.customers() == {"42": "staff"}
    assert [(entry.name, entry.reason) for entry in table.all()] == [("42", "staff")]


def test_an_address_counts_for_whoever_is_seen_with_it_also_later(log: EventLog) -> None:
    table = log.suppressions()
    table.add(["email:Ada@Example.org"], "asked for it")
    assert table.customers() == {}
    log.append_events([visit("ada", email="ada@example.org"), visit("bob", email="bob@example.org")])
    assert table.customers() == {"ada": "asked for it"}
    assert (table.reason("ada"), table.reason("bob")) == ("asked for it", None)


def test_a_customer_who_is_joined_with_a_suppressed_one_is_suppressed(log: EventLog) -> None:
    table = log.suppressions()
    log.append_events([visit(cookie="c1"), visit("ada")])
    table.add(["cookie:c1"], "test account")
    assert table.reason("anon:cookie:c1") == "test account"
    log.append_events([visit("ada", cookie="c1")])
    assert (table.reason("ada"), table.customers()) == ("test account", {"ada": "test account"})


def test_a_new_reason_takes_the_place_of_the_old_one_and_removing_ends_it(log: EventLog) -> None:
    table = log.suppressions()
    table.add(["42"], "staff")
    assert (table.version(), table.add(["42"], "left"), table.reason("42")) == (1, 0, "left")
    assert (table.remove(["42", "43"]), table.reason("42"), table.version()) == (1, None, 3)
    assert table.get("42") is None


@pytest.mark.parametrize("name", ["", "email:", "email: ", "undefined", "a\x00b"])
def test_who_is_nobody_is_not_suppressed(log: EventLog, name: str) -> None:
    with pytest.raises(InputError, match="names nobody"):
        log.suppressions().add([name], "staff")


def test_a_suppression_says_why(log: EventLog) -> None:
    with pytest.raises(InputError, match="needs a reason"):
        log.suppressions().add(["42"], " ")


def test_the_list_is_there_when_the_log_is_opened_again(url: str) -> None:
    log = open_url(url)
    log.suppressions().add(["customer_id:email:x"], "staff")
    log.close()
    again = open_url(url)
    assert again.suppressions().customers() == {"email:x": "staff"}
    again.close()
