"""When a message goes out: never before the question, never in quiet hours, over zones, stretches and changes of the clock."""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.clock import Clock
from features.errors import StoreError
from features.online.many import LiveBatch
from features.state import layout
from features.state.batch import StateBatch
from features.vocabulary import CHANNELS, DAY_S, Channel
from serving.campaigns.crowd import Crowd
from serving.decider import Decider
from serving.decision.contacts import check_arms
from serving.decision.rules import Arm, ContactFacts, QuietHours, Rules, is_quiet
from serving.decision.send_time import (
    N_HOURS,
    PRIOR_WEIGHT,
    customer_hours,
    earliest_moment,
    population_hours,
    uniform_hours,
)
from serving.runtime import Runtime
from serving.schemas import DecideRequest

ZONES = (
    *("UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"),
    *("America/St_Johns", "Pacific/Chatham", "Pacific/Apia", "Africa/Casablanca", "Australia/Eucla", "Asia/Tehran"),
)
CLOCK_CHANGES = (
    *("2024-03-31T01:00", "2024-10-27T01:00"),  # Paris
    *("2024-03-10T07:00", "2024-11-03T06:00"),  # New York
    *("2024-04-06T15:00", "2024-10-05T15:30"),  # Lord Howe, by half an hour
    *("2024-04-06T14:00", "2024-09-28T14:00"),  # Chatham, of quarters
    *("2011-12-30T10:00", "2022-09-21T19:30", "2024-03-10T05:30"),  # Apia leaves out a day; Tehran; St John's
)
MOMENTS = st.one_of(
    st.floats(datetime(2011, 1, 1, tzinfo=UTC).timestamp(), datetime(2030, 1, 1, tzinfo=UTC).timestamp()).map(
        lambda at_s: datetime.fromtimestamp(at_s, UTC)
    ),
    st.builds(
        lambda change, minutes: datetime.fromisoformat(change).replace(tzinfo=UTC) + timedelta(minutes=minutes),
        st.sampled_from(CLOCK_CHANGES),
        st.floats(-3000, 1500),
    ),
)
ARM_HOURS = st.one_of(
    st.none(), st.tuples(st.integers(0, 23), st.integers(1, 24)).filter(lambda pair: pair[0] < pair[1])
)
YES = ContactFacts(consents=dict.fromkeys(CHANNELS, True))


def rules_of(zone: str, bucket_minutes: int, start: time, end: time) -> Rules:
    quiet = QuietHours(start=start, end=end, channels=(Channel.SMS,))
    return Rules(time_zone=zone, bucket_minutes=bucket_minutes, quiet_hours=quiet)


@given(
    bins=st.lists(st.integers(0, N_HOURS - 1), unique=True, max_size=20),
    weight=st.floats(0.0, 100.0),
    days_later=st.one_of(st.none(), st.floats(0.0, 400.0)),
)
def test_the_hours_of_a_customer_are_spread_and_shrunk_to_everybodys(
    bins: list[int], weight: float, days_later: float | None
) -> None:
    state = StateBatch.empty(1)
    scalars = state.scalars.copy()
    for name, at_s in (("hours_from", 0.0), ("last_action", (days_later or 0.0) * DAY_S)):
        scalars[0, layout.SCALARS.index(name)] = math.nan if days_later is None else at_s
    offsets, weights = np.array([0, len(bins)]), weight + np.arange(len(bins), dtype=np.float64)
    state = replace(
        state,
        scalars=scalars,
        hour_bins=replace(state.hour_bins, offsets=offsets, values=np.array(bins, np.int32)),
        hour_weights=replace(state.hour_weights, offsets=offsets, values=weights),
    )
    own, everybody = state.hours()[0], np.random.default_rng(3).dirichlet(np.ones(N_HOURS))
    spread = 0.25 * np.roll(own, 1) + 0.5 * own + 0.25 * np.roll(own, -1)
    expected = (spread + PRIOR_WEIGHT * everybody) / (own.sum() + PRIOR_WEIGHT)
    np.testing.assert_array_equal(customer_hours(state, everybody), expected)


@given(
    now=MOMENTS,
    zone=st.sampled_from(ZONES),
    bucket_minutes=st.one_of(st.sampled_from([1, 10, 15, 60, 240, 1440]), st.integers(1, 1440)),
    start=st.times(),
    end=st.times(),
    arm_hours=ARM_HOURS,
    habit=st.integers(0, N_HOURS - 1),
)
def test_a_message_is_never_sent_before_the_question_nor_in_quiet_hours(
    now: datetime, zone: str, bucket_minutes: int, start: time, end: time, arm_hours: tuple[int, int] | None, habit: int
) -> None:
    rules = rules_of(zone, bucket_minutes, start, end)
    hours = uniform_hours()
    hours[habit] += 1.0
    bucket_s = bucket_minutes * 60
    as_of_s = now.timestamp() // bucket_s * bucket_s
    earliest_s = earliest_moment(now.timestamp(), bucket_s)
    assert now.timestamp() < earliest_s <= as_of_s + bucket_s
    arms = (Arm("sms", Channel.SMS, hours=arm_hours), Arm("email", Channel.EMAIL, hours=arm_hours))
    checked, moments = check_arms(arms, YES, hours, rules, as_of_s, not_before_s=earliest_s)
    same, _ = check_arms(arms, YES, hours, rules, as_of_s)
    assert checked == same  # who is allowed does not hang on the minute of the question
    for item, at_s in zip(checked, moments, strict=True):
        assert item.eligible == (at_s is not None), item
        if at_s is None:
            assert item.arm.channel is Channel.SMS
            continue
        local = datetime.fromtimestamp(at_s, UTC).astimezone(ZoneInfo(zone))
        assert now.timestamp() < at_s < now.timestamp() + 3 * 86_400
        assert item.arm.channel is Channel.EMAIL or not is_quiet(Channel.SMS, rules, local)
        assert arm_hours is None or arm_hours[0] <= local.hour < arm_hours[1]


@given(
    now=MOMENTS,
    zone=st.sampled_from(ZONES),
    start=st.times().map(lambda clock: clock.replace(microsecond=0)),
    open_minutes=st.integers(16, 1200),
)
def test_a_channel_is_refused_only_where_every_minute_of_the_day_is_quiet(
    now: datetime, zone: str, start: time, open_minutes: int
) -> None:
    end = (datetime.combine(now.date(), start) - timedelta(minutes=open_minutes)).time()  # quiet but for those minutes
    rules = rules_of(zone, 10, start, end)
    (checked,), (at_s,) = check_arms((Arm("sms", Channel.SMS),), YES, uniform_hours(), rules, now.timestamp())
    assert checked.eligible and at_s is not None


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        ("Asia/Kolkata", "2024-05-01T02:00:00", "2024-05-01T02:30:00"),  # 07:30 there: at 8, in the middle of an hour
        ("Asia/Kathmandu", "2024-05-01T01:50:00", "2024-05-01T02:15:00"),
        ("UTC", "2024-05-01T21:00:00", "2024-05-02T08:00:00"),
        (
            "Europe/Paris",
            "2024-03-30T20:30:00",
            "2024-03-31T06:00:00",
        ),  # 21:30 there; 8 is an hour earlier after the night
        ("Europe/Paris", "2024-10-26T20:30:00", "2024-10-27T07:00:00"),
    ],
)
def test_the_first_moment_after_the_quiet_hours(zone: str, now: str, expected: str) -> None:
    """Nobody is likely at any hour: the first allowed one counts."""
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    rules = Rules(time_zone=zone)
    _, (at_s,) = check_arms((Arm("sms", Channel.SMS),), YES, uniform_hours(), rules, at.timestamp())
    assert at_s is not None
    assert datetime.fromtimestamp(at_s, UTC) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "bucket_minutes", "expected"),
    [
        ("12:03", 10, "12:10"),
        ("12:00", 10, "12:10"),
        ("12:09", 7, "12:15"),
        ("22:30", 1440, "22:40"),
        ("23:55", 1440, "24:00"),
    ],
)
def test_the_earliest_moment_is_the_end_of_the_step(now: str, bucket_minutes: int, expected: str) -> None:
    def seconds(clock: str) -> float:
        hour, minute = clock.split(":")
        return int(hour) * 3600 + int(minute) * 60

    assert earliest_moment(seconds(now), bucket_minutes * 60) == seconds(expected)


@pytest.fixture
def decide(runtime: Runtime) -> Callable[..., Decider]:
    def of(rules: Rules) -> Decider:
        known = runtime.knowledge
        return Decider(known.bundle, known.catalogue, rules, known.population_hours)

    return of


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"])
@pytest.mark.parametrize("bucket_minutes", [1, 10, 60, 1440])
def test_no_decision_of_a_day_sends_into_the_past(
    runtime: Runtime, decide: Callable[..., Decider], zone: str, bucket_minutes: int
) -> None:
    quiet = QuietHours(channels=(Channel.EMAIL, Channel.POST))
    rules = Rules(time_zone=zone, bucket_minutes=bucket_minutes, quiet_hours=quiet, exploration=1.0)
    states = runtime.knowledge.states
    assert states is not None
    live = states.get("ada")
    assert live is not None
    decider, sent, plans = decide(rules), 0, {}
    for minutes, question in itertools.product(range(0, 1440, 47), range(6)):  # every question is a draw of its own
        now = datetime(2024, 3, 1, 12, tzinfo=UTC) + timedelta(minutes=minutes)
        decision = decider.decide(live, DecideRequest(customer_id="ada", exclude=[f"other-{question}"]), now)
        waits = DecideRequest(customer_id="ada", exclude=[f"other-{question}"], when="best")
        (row,) = Crowd(decider, waits, now).decide(LiveBatch.of([live])).table().to_pylist()
        assert row["send_at"] == decider.decide(live, waits, now).answer.send_at
        kept = plans.setdefault(decision.answer.decision_id, decision.answer)
        assert (kept.arm, kept.pscore, kept.product) == (
            decision.answer.arm,
            decision.answer.pscore,
            decision.answer.product,
        )
        if decision.answer.send_at is None:
            continue
        sent += 1
        assert decision.answer.send_at > now
        assert not is_quiet(Channel.EMAIL, rules, decision.answer.send_at.astimezone(ZoneInfo(zone)))
        if kept.send_at is not None and kept.send_at > now + timedelta(minutes=10):
            assert decision.answer.send_at == kept.send_at  # it moves on only once it is over
    assert sent > 10


def test_all_who_ask_in_a_stretch_get_the_same_answer(runtime: Runtime) -> None:
    """Also in the very hour in which the customer is likeliest to be active."""

    class At(Clock):
        def now(self) -> datetime:
            assert self.start is not None
            return self.start

    hours = np.full(N_HOURS, 1e-6)
    hours[4 * 24 + 12] = 1.0
    runtime.knowledge = replace(runtime.knowledge, population_hours=hours / hours.sum())
    runtime.rules = Rules(exploration=1.0, temperature=100.0)
    answers = {}
    for minute in range(20):
        clock = object.__new__(At)
        object.__setattr__(clock, "start", datetime(2024, 3, 1, 12, minute, tzinfo=UTC))
        asked = replace(runtime.answers, clock=clock)
        answer = asked.decide(DecideRequest(customer_id="ada")).answer
        assert answers.setdefault(minute // 10, answer) == answer
    sends = [answer.send_at for answer in answers.values() if answer.send_at]
    assert sends and all(at.hour == 12 and at.minute in (10, 20) for at in sends)


def test_a_timeline_that_cannot_be_read_is_named(tmp_path):
    timeline = tmp_path / "timeline.parquet"
    assert population_hours(timeline).sum() == pytest.approx(1.0)
    for content in (b"", b"PAR1", bytes(500)):
        timeline.write_bytes(content)
        with pytest.raises(StoreError, match=str(timeline)):
            population_hours(timeline)
