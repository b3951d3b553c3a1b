"""An address's refusal on both engines: it reaches everybody who has the address, whoever gets it later, and nobody else."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import pytest
from made_visits import execute, open_url, table

from features.identity.addresses import event_id_for_others
from features.identity.identifiers import Identifiers
from features.identity.resolution import IdentityConfig
from features.log.event_log import EventLog
from features.log.identity import IdentityRules
from features.log.sqlite import SqliteEventLog
from features.state.fold import fold_customer
from features.state.layout import CONSENT, SCALARS
from features.vocabulary import CHANNEL_CODES

NO, YES, NEVER_ASKED = 0.0, 1.0, -1.0


def event(
    number: int, kind: str, customer: str | None = None, channel: str = "email", **more: object
) -> dict[str, object]:
    """One event a second, by `number`; what is left in `more` are identifiers."""
    properties = more.pop("properties", None)
    return {
        "event_id": f"e{number}",
        "at": number,
        "kind": kind,
        "channel": channel,
        "customer_id": customer,
        "identifiers": more or None,
        "properties": properties,
    }


def consents(log: EventLog, *names: str, channel: str = "email") -> list[float]:
    states = [fold_customer(log.customer_events(name)) for name in names]
    return [float(state.channels[0, CHANNEL_CODES[channel], CONSENT]) for state in states]


FAMILY = (event(1, "subscribe", "ana", email="f@x"), event(2, "subscribe", "bob", email="f@x"))


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("email", {"email": "f@x"}),
        ("sms", {"phone": "+491"}),
        ("call_center", {"phone": "+491"}),
        ("push", {"device": "d"}),
        ("post", {"loyalty_card": "L"}),
        ("email", {"cookie": "c"}),
        ("post", {"street": "Elm 1"}),
    ],
)
def test_an_address_that_two_share_speaks_for_both(log: EventLog, channel: str, address: dict[str, object]) -> None:
    said = [event(3, "subscribe", "ana", channel), event(4, "subscribe", "bob", channel)]
    log.append(table(*(event(n, "visit", name, "web", **address) for n, name in enumerate(("ana", "bob"))), *said))
    log.append(table(event(5, "subscribe", "cyd", channel)))
    log.append(table(event(6, "unsubscribe", None, channel, **address)))
    assert consents(log, "ana", "bob", "cyd", channel=channel) == [NO, NO, YES]
    log.append(table(event(7, "subscribe", None, channel, **address)))
    assert consents(log, "ana", "bob", channel=channel) == [YES, YES]
    log.append(table(event(8, "profile", None, "web", properties={"consent": {channel: False}}, **address)))
    assert consents(log, "ana", "bob", channel=channel) == [NO, NO]


def test_who_gets_a_refused_address_later_is_governed_until_they_consent(log: EventLog) -> None:
    log.append(table(event(1, "subscribe", "bob"), event(2, "unsubscribe", None, email="new@x")))
    assert consents(log, "bob") == [YES]
    log.append(table(event(3, "visit", "ana", email="new@x")))  # hers alone as yet
    assert consents(log, "ana") == [NO]
    log.append(table(event(4, "identify", "bob", "web", email="New@x")))
    assert consents(log, "ana", "bob") == [NO, NO]
    assert log.regrouped_since(3) == {"ana": 4, "bob": 4, "anon:email:new@x": 4}
    log.append(table(event(5, "subscribe", "bob", email="new@x")))
    assert consents(log, "ana", "bob") == [NO, YES]


def test_what_was_consented_to_after_the_refusal_stands(log: EventLog) -> None:
    log.append(table(*FAMILY[:1], event(3, "unsubscribe", "ana", email="f@x"), event(5, "subscribe", "bob")))
    log.append(table(event(6, "visit", "bob", "web", email="f@x")))
    assert consents(log, "ana", "bob") == [NO, YES]
    log.append(table(event(4, "subscribe", "cyd", email="f@x"), event(2, "subscribe", "dan", email="f@x")))
    assert consents(log, "cyd", "dan") == [YES, NO]


def test_who_names_themselves_refuses_for_the_channels_address_and_consents_for_nobody_else(log: EventLog) -> None:
    log.append(table(*FAMILY, event(3, "visit", "cyd", "web", device="kiosk"), event(4, "subscribe", "cyd")))
    log.append(table(event(5, "unsubscribe", "ana", email="f@x", device="kiosk")))
    assert consents(log, "ana", "bob", "cyd") == [NO, NO, YES]
    log.append(table(event(6, "subscribe", "ana", email="f@x")))
    assert consents(log, "ana", "bob") == [YES, NO]


def test_an_answer_about_one_channel_reaches_others_and_the_rest_of_the_profile_does_not(log: EventLog) -> None:
    said = {"consent": {"email": False, "sms": False}, "profiling": False, "preferred_channel": "post"}
    log.append(table(*FAMILY, event(3, "profile", "ana", "web", email="f@x", properties=said)))
    assert consents(log, "ana", "bob") == [NO, NO]
    assert consents(log, "ana", "bob", channel="sms") == [NO, NEVER_ASKED]
    bob = fold_customer(log.customer_events("bob"))
    assert dict(zip(SCALARS, bob.scalars[0].tolist(), strict=True))["profiling"] != 0.0
    (row,) = log.customer_events("bob", 2).to_pylist()
    assert (row["event_id"], row["seq"], row["resolved_customer_id"]) == (event_id_for_others("e3", 3), 3, "bob")
    assert row["properties"] == '{"consent": {"email": false}}' and row["customer_id"] is row["identifiers"] is None


def test_an_address_that_comes_twice_counts_once(log: EventLog) -> None:
    both = {"loyalty_card": "L", "phone": "+491"}
    log.append(table(event(1, "visit", "ana", "web", **both), event(2, "visit", "bob", "web", **both)))
    log.append(table(event(3, "unsubscribe", None, **both)))
    assert log.customer_events("ana")["event_id"].to_pylist() == ["e1", event_id_for_others("e3", 3)]
    assert log.append(table(event(3, "unsubscribe", None, **both))).duplicates == 1
    assert log.customer_events("bob")["event_id"].to_pylist() == ["e2", event_id_for_others("e3", 3)]


def test_a_chain_that_was_cut_still_hands_the_refusal_on(log: EventLog) -> None:
    """The address is only Ana's by way of a cookie, and was seen with one customer id, Bob's: it counts as nobody's shared."""
    log.append(
        table(event(1, "visit", "ana", "web", cookie="c"), event(2, "visit", None, "web", cookie="c", email="e"))
    )
    log.append(table(event(3, "subscribe", "bob", email="e"), event(4, "subscribe", "ana")))
    assert log.resolve(None, {"email": "e"}) == "ana"
    log.append(table(event(5, "unsubscribe", None, email="e")))
    assert consents(log, "ana", "bob") == [NO, NO]


def test_who_is_asked_about_by_a_shared_address_alone_is_governed_by_it(log: EventLog) -> None:
    """Nobody was ever seen with nothing but the address, so that there is no customer of its name."""
    log.append(table(*FAMILY))
    name = log.resolve(None, {"email": "f@x"})
    assert name == "anon:email:f@x"
    assert log.customer_events(name).num_rows == 0
    log.append(table(event(3, "unsubscribe", "ana", email="f@x"), event(4, "visit", "cyd", "web", cookie="c")))
    assert consents(log, name) == [NO]
    assert log.customer_events(name)["resolved_customer_id"].to_pylist() == [name]
    assert log.customer_events("anon:cookie:c").num_rows == log.customer_events("anon:email:other").num_rows == 0


def test_all_who_are_governed_are_noted_and_nobody_else(log: EventLog) -> None:
    log.append(table(*FAMILY, event(3, "visit", "cyd", "web", email="c@x")))
    before = log.last_seq()
    log.append(table(event(4, "unsubscribe", None, email="c@x")))
    assert log.regrouped_since(before) == {}
    log.append(table(event(5, "visit", "cyd", "web", cookie="new", email="c@x")))
    assert log.regrouped_since(before) == {}
    log.append(table(event(6, "unsubscribe", None, email="f@x")))
    assert log.regrouped_since(before) == {"ana": 6, "bob": 6}


def test_an_erased_customers_refusal_goes_with_them(log: EventLog, url: str) -> None:
    log.append(table(*FAMILY, event(3, "unsubscribe", "ana", email="f@x"), event(4, "visit", "bob", "web")))
    assert consents(log, "bob") == [NO]
    log.erasures().begin("ana", datetime(2024, 2, 1, tzinfo=UTC))
    assert consents(log, "bob") == [YES]
    assert log.regrouped_since(4) == {"bob": 5}
    assert execute(url, "SELECT count(*) FROM consents") == [(0,)]


def test_a_log_from_before_there_were_consents_by_address_gets_them(new_url: Callable[[], str]) -> None:
    url = new_url()
    with closing(open_url(url)) as log:
        log.append(table(*FAMILY, event(3, "unsubscribe", None, email="f@x"), event(4, "visit", "cyd", "web")))
    execute(url, "DROP TABLE consents")
    execute(url, "DELETE FROM meta WHERE name = 'consent_addresses'")
    execute(url, "DELETE FROM regrouped")
    with closing(open_url(url)) as log:
        assert consents(log, "ana", "bob") == [NO, NO]
        assert log.regrouped_since(4) == {"ana": 5, "bob": 5}


def test_other_addresses_in_the_configuration_hold_for_what_was_said_already(tmp_path) -> None:
    said = (event(1, "subscribe", "ana", "push", token="t"), event(2, "subscribe", "bob", "push", token="t"))
    rules = [
        IdentityRules(IdentityConfig(addresses=addresses), Identifiers()) for addresses in ({}, {"push": ("token",)})
    ]
    with closing(SqliteEventLog(tmp_path / "log.db", rules[0])) as log:
        log.append(table(*said, event(3, "unsubscribe", "ana", "push", token="t")))
        assert consents(log, "ana", "bob", channel="push") == [NO, YES]
    with closing(SqliteEventLog(tmp_path / "log.db", rules[1])) as log:
        assert consents(log, "ana", "bob", channel="push") == [NO, NO]
        assert log.regrouped_since(3) == {"bob": 4}
