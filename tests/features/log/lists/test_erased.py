"""Whoever is erased is on no list any more, and the receipt says that they were."""

from datetime import UTC, datetime

from features.events.schema import Event
from features.log.event_log import EventLog

NOW = datetime(2024, 2, 1, tzinfo=UTC)


def test_an_erasure_takes_every_name_of_the_customer_off_the_suppression_list(log: EventLog) -> None:
    visit = Event(
        event_id="e1",
        occurred_at="2024-01-01T00:00:00Z",
        kind="visit",
        channel="web",
        customer_id="ada",
        identifiers={"email": "ada@example.org"},
    )
    log.append_events([visit])
    log.suppressions().add(["ada", "email:ada@example.org", "bob"], "staff")
    begun = log.erasures().begin("ada", NOW)
    assert begun is not None
    assert begun.receipt.removed["log: suppressions"] == 2
    assert [entry.name for entry in log.suppressions().all()] == ["bob"]
