"""There and then, or the best hour within the offer's time: never past, never quiet, else nothing with a reason."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.clock import Clock
from features.events.schema import Event
from features.log.sqlite import SqliteEventLog
from features.state.batch import StateBatch
from features.state.fold import fold_customer
from features.vocabulary import CHANNELS, NOTHING, Channel, EventKind
from serving.decision.contacts import check_arms
from serving.decision.rules import Arm, ContactFacts, QuietHours, Rules, is_quiet
from serving.decision.send_time import earliest_moment, step_start, uniform_hours
from serving.decision.send_window import presence, send_window
from serving.runtime import Runtime
from serving.schemas import DecideRequest, DecisionAnswer

NOW = datetime(2024, 3, 1, 14, 3, tzinfo=UTC)
START = datetime(2024, 1, 1, tzinfo=UTC)
YES = ContactFacts(consents=dict.fromkeys(CHANNELS, True))
Ask = Callable[..., DecisionAnswer]


class At(Clock):
    def __init__(self, moment: datetime) -> None:
        object.__setattr__(self, "start", moment)

    def now(self) -> datetime:
        assert self.start is not None
        return self.start


@pytest.fixture
def ask(runtime: Runtime) -> Ask:
    runtime.rules = runtime.rules.model_copy(update={"exploration": 1.0})

    def decide(at: datetime = NOW, **fields: Any) -> DecisionAnswer:
        asked = replace(runtime.answers, clock=At(at))
        return asked.decide(DecideRequest(customer_id="ada", **fields)).answer

    return decide


def happens(log: SqliteEventLog, kind: str, at: datetime, channel: str, **fields: Any) -> None:
    from features.events.schema import events_to_table

    row = {"event_id": f"{kind}-{channel}-{at}", "occurred_at": at, "kind": kind, "channel": channel}
    log.append(events_to_table([Event.model_validate({**row, "customer_id": "ada", **fields})]))


def sends(ask: Ask, at: datetime = NOW, n: int = 40, **fields: Any) -> list[DecisionAnswer]:
    """The answers that send something, of `n` questions that differ in a product that is left out."""
    answers = [ask(at, exclude=[f"p{i}"], **fields) for i in range(n)]
    return [answer for answer in answers if answer.action == "send"]


@pytest.mark.parametrize(
    ("kind", "channel", "fields"),
    [
        ("visit", "store", {}),
        ("view", "web", {"product_id": "tea"}),
        ("add_to_cart", "app", {"product_id": "tea", "quantity": 1}),
        ("chat", "chat", {}),
    ],
)
def test_who_is_there_is_answered_there_and_then(
    ask: Ask, log: SqliteEventLog, kind: str, channel: str, fields: dict[str, Any]
) -> None:
    happens(log, kind, NOW - timedelta(minutes=3), channel, **fields)
    answers = sends(ask)
    assert answers
    assert {(answer.when, answer.send_at) for answer in answers} == {("now", NOW)}
    doing = kind.replace("_", " ")
    assert f"to be sent at once: the newest event is a {doing} on {channel} of 14:00" in answers[0].reasons


@pytest.mark.parametrize(
    ("kind", "channel", "minutes", "fields"),
    [
        ("visit", "store", 40, {}),  # long gone
        ("open", "email", 3, {}),  # no sign of being there
        ("purchase", "store", 3, {"product_id": "tea", "value": 4.0}),  # done
        ("visit", "email", 3, {}),  # nobody can be there
    ],
)
def test_who_is_not_there_gets_the_best_hour(
    ask: Ask, log: SqliteEventLog, kind: str, channel: str, minutes: int, fields: dict[str, Any]
) -> None:
    happens(log, kind, NOW - timedelta(minutes=minutes), channel, **fields)
    answers = sends(ask)
    assert answers
    assert {answer.when for answer in answers} == {"best"}
    assert all(answer.send_at and answer.send_at > NOW for answer in answers)


def test_what_is_asked_for_goes_before_what_the_customer_does(ask: Ask, log: SqliteEventLog) -> None:
    assert {(one.when, one.send_at) for one in sends(ask, when="now")} == {("now", NOW)}
    happens(log, "visit", NOW, "store")
    assert {one.when for one in sends(ask, when="best")} == {"best"}


def test_channels_that_ask_in_the_same_minutes_get_the_same_answer_to_be_sent_as_they_ask(
    ask: Ask, log: SqliteEventLog
) -> None:
    happens(log, "visit", NOW - timedelta(minutes=12), "store")
    first, second = ask(NOW, asked_by="web"), ask(NOW + timedelta(minutes=6), asked_by="app")
    assert first.when == second.when == "now"
    assert first.model_copy(update={"send_at": None}) == second.model_copy(update={"send_at": None})


@pytest.mark.parametrize("hour", [22, 3])
def test_in_quiet_hours_now_is_another_way_or_nothing_and_never_tomorrow(ask: Ask, runtime: Runtime, hour: int) -> None:
    at = NOW.replace(hour=hour)
    runtime.rules = Rules(exploration=1.0, quiet_hours=QuietHours(channels=(Channel.EMAIL,)))
    answers = [ask(at, exclude=[f"p{i}"], when="now") for i in range(40)]
    assert {answer.arm for answer in answers} == {"post_a", NOTHING}
    assert {answer.send_at for answer in answers} == {at, None}
    assert any("not email_news: quiet hours on email from 21:00 to 08:00 (UTC)" in one.reasons for one in answers)
    runtime.rules = Rules(quiet_hours=QuietHours(channels=(Channel.EMAIL, Channel.POST)))
    silent = ask(at, when="now")
    assert (silent.action, silent.pscore, silent.send_at) == ("nothing", 1.0, None)


def test_an_offer_that_is_over_or_has_not_begun_is_not_sent(ask: Ask) -> None:
    hour = timedelta(hours=1)
    over = ask(not_after=NOW - hour)
    early = ask(not_before=NOW + hour, when="now")
    far = ask(not_before=NOW + timedelta(days=40))
    assert [one.action for one in (over, early, far)] == ["nothing"] * 3
    assert "not post_a: the offer ended on 2024-03-01 13:03 (UTC)" in over.reasons
    assert "not post_a: the offer begins on 2024-03-01 15:03 (UTC), not now" in early.reasons
    assert "not post_a: the offer begins on 2024-04-10 14:03 (UTC), more than 31 days ahead" in far.reasons


def test_the_best_hour_is_looked_for_within_the_offer(ask: Ask) -> None:
    window = {"not_before": NOW + timedelta(days=3), "not_after": NOW + timedelta(days=3, minutes=7)}
    for answer in sends(ask, **window):
        assert answer.send_at is not None
        assert window["not_before"] <= answer.send_at < window["not_after"]
    soon = NOW + timedelta(minutes=2)  # before the others who ask in these minutes could send
    assert {answer.send_at for answer in sends(ask, not_after=soon)} == {NOW}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"when": "later"}, "'now' or 'best'"),
        ({"not_before": "2024-03-01T10:00:00"}, "timezone"),
        ({"not_before": "2024-03-01T10:00:00Z", "not_after": "2024-03-01T10:00:00Z"}, "must be later than not_before"),
        ({"not_after": "0001-01-01T00:00:00Z"}, "between 1970 and 2999"),
        ({"not_after": "9999-12-31T23:59:59Z"}, "between 1970 and 2999"),
    ],
)
def test_bad_times_are_refused_by_name(fields: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DecideRequest.model_validate_json(json.dumps({"customer_id": "ada", **fields}))


def test_nobody_is_there_of_whom_nothing_is_known() -> None:
    assert presence(StateBatch.empty(1)) is None


def test_the_newest_event_counts_and_not_what_was_done_to_the_customer(log: SqliteEventLog) -> None:
    happens(log, "visit", NOW - timedelta(minutes=5), "web")
    happens(log, "send", NOW - timedelta(minutes=1), "email")
    seen = presence(fold_customer(log.customer_events("ada")))
    assert seen is not None
    assert (seen.kind, seen.channel) == (EventKind.VISIT, Channel.WEB)
    assert seen.at_s == (NOW - timedelta(minutes=5)).timestamp()


@given(
    now=st.integers(0, 730 * 86_400).map(lambda seconds: START + timedelta(seconds=seconds)),
    zone=st.sampled_from(["UTC", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"]),
    bucket_minutes=st.sampled_from([1, 10, 15, 60, 1440]),
    when=st.sampled_from(["now", "best", None]),
    opens=st.one_of(st.none(), st.floats(-50, 900)),
    length=st.one_of(st.none(), st.floats(0.001, 80)),
    quiet=st.tuples(st.times(), st.times()),
    arm_hours=st.one_of(st.none(), st.tuples(st.integers(0, 22), st.integers(1, 2)).map(lambda p: (p[0], p[0] + p[1]))),
    seen_minutes=st.one_of(st.none(), st.floats(0, 60)),
)
def test_a_message_is_sent_within_the_window_or_not_at_all_with_a_reason(
    now: datetime,
    zone: str,
    bucket_minutes: int,
    when: Any,
    opens: float | None,
    length: float | None,
    quiet: tuple[Any, Any],
    arm_hours: tuple[int, int] | None,
    seen_minutes: float | None,
) -> None:
    rules = Rules(
        time_zone=zone,
        bucket_minutes=bucket_minutes,
        quiet_hours=QuietHours(start=quiet[0], end=quiet[1], channels=(Channel.SMS,)),
    )
    not_before = None if opens is None else now + timedelta(hours=opens)
    not_after = None if length is None else (not_before or now - timedelta(hours=1)) + timedelta(hours=length)
    now_s, bucket_s = now.timestamp(), bucket_minutes * 60.0
    window = send_window(
        when, not_before, not_after, _visitor(now, seen_minutes), rules,
        now_s=now_s, step_s=step_start(now_s, bucket_s), earliest_s=earliest_moment(now_s, bucket_s),
    )  # fmt: skip
    arms = (Arm("sms", Channel.SMS, hours=arm_hours), Arm("email", Channel.EMAIL, hours=arm_hours))
    as_of_s = now_s // bucket_s * bucket_s
    checked, moments = check_arms(
        arms, YES, uniform_hours(), rules, as_of_s, not_before_s=earliest_moment(now_s, bucket_s), window=window
    )
    for item, at_s in zip(checked, moments, strict=True):
        if at_s is None:
            assert not item.eligible and item.reasons
            continue
        at, local = datetime.fromtimestamp(at_s, UTC), datetime.fromtimestamp(at_s, ZoneInfo(zone))
        assert at >= now
        assert not_before is None or at >= not_before
        assert not_after is None or at < not_after
        assert when != "now" or at == now
        assert item.arm.channel is Channel.EMAIL or not is_quiet(Channel.SMS, rules, local)
        assert arm_hours is None or arm_hours[0] <= local.hour < arm_hours[1]


def _visitor(now: datetime, minutes: float | None) -> StateBatch:
    from features.events.schema import events_to_table

    if minutes is None:
        return StateBatch.empty(1)
    at = now - timedelta(minutes=minutes)
    row = {"event_id": "v", "occurred_at": at, "kind": "visit", "channel": "store", "customer_id": "ada"}
    return fold_customer(events_to_table([Event.model_validate(row)]))
