"""The ledger: two who decide at once do not both reserve, counters never overflow, and what ends gives its room back."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from features.events.rows import EventRow
from features.log.reservations import Claim, Decided, FullError, Held, KeptAnswer, OvertakenError, Place
from features.log.sqlite import SqliteEventLog

MINUTE_US = 60_000_000
NOON_US = 1_709_294_400_000_000
ROOM = Place("volume:email:2024-03-01", 1.0, 2.0)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteEventLog]:
    found = SqliteEventLog(tmp_path / "events.db")
    yield found
    found.close()


def row(event_id: str, kind: str, decision_id: str | None = None, at_us: int = NOON_US, **fields: Any) -> EventRow:
    return EventRow(event_id, at_us, kind, "email", "ada", decision_id=decision_id, **fields)


def decided(decision_id: str, version: int = 0, name: str = "ada", **claimed: Any) -> Decided:
    claim = Claim(decision_id, name, "email", NOON_US, NOON_US + 60 * MINUTE_US, **claimed)
    return Decided(decision_id, name, NOON_US, version, claim)


def keep(log: SqliteEventLog, one: Decided) -> None:
    log.append([row(one.decision_id, "decision", one.decision_id)], [one])


def ids(held: Held) -> list[str]:
    return [reserved.decision_id for reserved in held.reservations]


def test_a_claim_is_held_until_it_expires(log: SqliteEventLog) -> None:
    assert log.ledger().held("ada", NOON_US) == Held()
    keep(log, decided("d-1", product_id="tea", tags=("spring",)))
    held = log.ledger().held("ada", NOON_US)
    assert (held.version, ids(held)) == (1, ["d-1"])
    assert (held.reservations[0].product_id, held.reservations[0].tags) == ("tea", ("spring",))
    assert ids(log.ledger().held("ada", NOON_US + 60 * MINUTE_US)) == []
    assert log.ledger().held_many(["ada", "bob"], NOON_US) == {"ada": held}


def test_who_decided_by_an_older_version_has_to_decide_again(log: SqliteEventLog) -> None:
    keep(log, decided("d-1"))
    with pytest.raises(OvertakenError):
        keep(log, decided("d-2"))
    keep(log, decided("d-2", version=1))
    assert ids(log.ledger().held("ada", NOON_US)) == ["d-1", "d-2"]
    assert log.count() == 2  # the event of what was refused is not there


def test_of_one_group_the_first_is_kept_and_the_others_hear_why_not(log: SqliteEventLog) -> None:
    claims = [decided("d-1"), decided("d-2"), decided("d-3", name="bob")]
    results = log.append_many([[row(one.decision_id, "decision", one.decision_id)] for one in claims], claims)
    assert [type(result).__name__ for result in results] == ["AppendResult", "OvertakenError", "AppendResult"]
    assert log.known_ids(["d-1", "d-2", "d-3"]) == {"d-1", "d-3"}


def test_a_counter_has_room_for_its_limit_and_no_more(log: SqliteEventLog) -> None:
    for number in range(2):
        keep(log, decided(f"d-{number}", name=f"c{number}", places=(ROOM,)))
    with pytest.raises(FullError) as refused:
        keep(log, decided("d-2", name="c2", places=(ROOM,)))
    assert refused.value.key == ROOM.key
    assert log.ledger().used([ROOM.key, "other"]) == {ROOM.key: 2.0, "other": 0.0}


@pytest.mark.parametrize(("kind", "left"), [("send", 1.0), ("impression", 1.0), ("ignore", 0.0), ("open", 1.0)])
def test_what_ends_a_reservation(log: SqliteEventLog, kind: str, left: float) -> None:
    keep(log, decided("d-1", places=(ROOM,)))
    log.append([row("e1", kind, "d-1")])
    held = log.ledger().held("ada", NOON_US)
    assert (held.version, ids(held)) == ((1, ["d-1"]) if kind == "open" else (2, []))
    assert log.ledger().used([ROOM.key]) == {ROOM.key: left}


def test_what_was_sent_for_an_offer_is_remembered_for_its_caps(log: SqliteEventLog) -> None:
    keep(log, decided("d-1", offer_id="spring-tea", places=(ROOM,)))
    log.append([row("e1", "send", "d-1", at_us=NOON_US + MINUTE_US)])
    (sent,) = log.ledger().held("ada", NOON_US + 61 * MINUTE_US).reservations
    assert (sent.sent, sent.send_at_us, sent.offer_id) == (True, NOON_US + MINUTE_US, "spring-tea")
    log.append([row("e2", "ignore", "d-1")])  # what is sent cannot be given back
    assert log.ledger().used([ROOM.key]) == {ROOM.key: 1.0}


def test_what_expired_gives_its_room_to_the_next_one(log: SqliteEventLog) -> None:
    full = replace(ROOM, limit=1.0)
    keep(log, decided("d-1", places=(full,)))
    later = NOON_US + 60 * MINUTE_US
    claim = Claim("d-2", "bob", "email", later, later + MINUTE_US, places=(full,))
    keep(log, Decided("d-2", "bob", later, 0, claim))
    assert log.ledger().used([ROOM.key]) == {ROOM.key: 1.0}
    log.append([row("e1", "send", "d-1")])  # too late: a contact as any other
    assert ids(log.ledger().held("ada", later)) == []


def test_an_answer_stands_while_its_question_and_the_ledger_are_the_same(log: SqliteEventLog) -> None:
    def answering(decision_id: str, question: str, version: int) -> Decided:
        answer = KeptAnswer("s:ada:q", question, NOON_US + 10 * MINUTE_US, decision_id, version)
        return Decided(decision_id, "ada", NOON_US, version, None, (answer,))

    keep(log, answering("d-1", "as it is", 0))
    with pytest.raises(OvertakenError):  # somebody else answered it meanwhile
        keep(log, answering("d-2", "as it is", 0))
    keep(log, answering("d-3", "something matters", 0))
    kept = log.ledger().answers(["s:ada:q", "none"], NOON_US)["s:ada:q"]
    assert (kept.body, kept.decision_id, kept.customer_id) == ("d-3", "d-3", "ada")
    assert log.ledger().answers(["s:ada:q"], NOON_US + 10 * MINUTE_US) == {}


def test_what_is_kept_of_somebody_follows_whose_it_is(log: SqliteEventLog) -> None:
    log.append([EventRow("v1", NOON_US, "view", "web", None, {"cookie": "c1"})])
    nobody = log.resolve(None, {"cookie": "c1"}) or ""
    log.append([row("d-1", "decision", "d-1")._replace(customer_id=nobody)], [decided("d-1", name=nobody)])
    keep(log, decided("d-2"))
    log.append([EventRow("e1", NOON_US, "identify", "web", "ada", {"cookie": "c1"})])
    held = log.ledger().held("ada", NOON_US)
    assert (set(ids(held)), held.version) == ({"d-1", "d-2"}, 2)


def test_an_erasure_takes_all_of_it_and_gives_the_room_back(log: SqliteEventLog) -> None:
    answer = KeptAnswer("r:42", "body", NOON_US + MINUTE_US, "{}")
    keep(log, replace(decided("d-1", places=(ROOM,)), answers=(answer,)))
    begun = log.erasures().begin("ada", datetime(2024, 3, 1, 12, 5, tzinfo=UTC))
    assert begun is not None
    assert (begun.receipt.removed["log: reservations"], begun.receipt.removed["log: kept answers"]) == (1, 1)
    assert log.ledger().held("ada", NOON_US) == Held()
    assert (log.ledger().answers(["r:42"], NOON_US), log.ledger().used([ROOM.key])) == ({}, {ROOM.key: 0.0})
    assert log.erasures().look_again(begun.receipt.receipt_id).rows["log: reservations"] == 0
