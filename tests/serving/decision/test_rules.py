"""The rules: consent, caps, fatigue, quiet hours and what was just bought; a table each, and properties of all."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import serving
from features.errors import InputError
from features.vocabulary import DAY_S, NOTHING, Channel
from serving.decision.rules import (
    Arm,
    Cap,
    ContactFacts,
    ProductHistory,
    QuietHours,
    Rules,
    check_arm,
    is_quiet,
    load_rules,
    product_refusal,
)

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp()
EMAIL = Arm("news", Channel.EMAIL)
POST = Arm("letter", Channel.POST)
SMS = Arm("text", Channel.SMS)
YES = ContactFacts(consents={Channel.EMAIL: True, Channel.SMS: True})


def reasons(arm: Arm, facts: ContactFacts, rules: Rules | None = None, at: float = NOON) -> tuple[str, ...]:
    return check_arm(arm, facts, rules or Rules(), at).reasons


@pytest.mark.parametrize(
    ("arm", "consent", "expected"),
    [
        (EMAIL, {}, ("no consent for email is on record",)),
        (EMAIL, {Channel.EMAIL: True}, ()),
        (EMAIL, {Channel.EMAIL: False}, ("the customer refused email",)),
        (EMAIL, {Channel.SMS: True}, ("no consent for email is on record",)),
        (POST, {}, ()),
        (POST, {Channel.POST: False}, ("the customer refused post",)),
    ],
)
def test_consent(arm: Arm, consent: dict[Channel, bool], expected: tuple[str, ...]) -> None:
    assert reasons(arm, ContactFacts(consents=consent)) == expected


def test_a_channels_cap_counts_only_its_own_contacts_within_its_days() -> None:
    rules = Rules(channel_caps={Channel.POST: Cap(max=2, days=7)})
    recent = ((Channel.POST, NOON - DAY_S), (Channel.EMAIL, NOON - DAY_S))
    assert reasons(POST, ContactFacts(contacts=recent), rules) == ()
    old = (*recent, (Channel.POST, NOON - 7 * DAY_S))
    assert reasons(POST, ContactFacts(contacts=old), rules) == ()
    third = (*recent, (Channel.POST, NOON - 6.9 * DAY_S))
    assert reasons(POST, ContactFacts(contacts=third), rules) == ("2 contacts on post in 7 days is the cap",)


def test_the_overall_cap_counts_every_channel() -> None:
    contacts = tuple((channel, NOON - DAY_S) for channel in (Channel.EMAIL, Channel.SMS, Channel.STORE))
    rules = Rules(overall_cap=Cap(max=3, days=7))
    assert reasons(POST, ContactFacts(contacts=contacts), rules) == (
        "3 contacts over all channels in 7 days is the cap",
    )


def test_a_channel_rests_after_too_many_unanswered_messages() -> None:
    rules = Rules(max_unanswered=3, rest_days=30)
    facts = ContactFacts(contacts=((Channel.POST, NOON - 10 * DAY_S),), unanswered={Channel.POST: 3})
    assert reasons(POST, facts, rules) == ("the last 3 messages on post were not answered",)
    assert reasons(POST, facts, rules, NOON + 20 * DAY_S) == ()


@pytest.mark.parametrize(
    ("hour", "quiet"), [(20, False), (21, True), (23, True), (0, True), (7, True), (8, False), (12, False)]
)
def test_quiet_hours_run_over_midnight(hour: int, quiet: bool) -> None:
    at = datetime(2024, 3, 1, hour, tzinfo=UTC).timestamp()
    assert is_quiet(Channel.SMS, Rules(), Rules().local(at)) is quiet
    assert not is_quiet(Channel.EMAIL, Rules(), Rules().local(at))


def test_quiet_hours_are_local() -> None:
    at = datetime(2024, 7, 1, 1, tzinfo=UTC).timestamp()  # 21:00 the evening before in New York
    rules = Rules(time_zone="America/New_York")
    assert is_quiet(Channel.SMS, rules, rules.local(at))
    assert not is_quiet(Channel.SMS, rules, rules.local(at - 1))


def test_what_will_be_sent_later_is_judged_by_that_hour() -> None:
    night, morning = datetime(2024, 3, 1, 23, tzinfo=UTC).timestamp(), datetime(2024, 3, 2, 9, tzinfo=UTC).timestamp()
    assert not check_arm(SMS, YES, Rules(), night).eligible
    assert check_arm(SMS, YES, Rules(), night, send_at_s=morning).eligible


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (None, None),
        (ProductHistory(1, None, 2.0), "bought 2 days ago"),
        (ProductHistory(1, None, 7.0), None),
        (ProductHistory(5, 3.0, 2.0), "bought 2 days ago"),  # bought every 3 days: due after 2.4
        (ProductHistory(5, 2.5, 2.0), None),  # due after 2.0
        (ProductHistory(3, 2.5, 2.0), None),
        (ProductHistory(2, 2.5, 2.0), "bought 2 days ago"),  # one gap is no habit
    ],
)
def test_just_bought_is_not_offered_unless_it_is_due(history: ProductHistory | None, expected: str | None) -> None:
    assert product_refusal(history, Rules()) == expected


def test_out_of_stock_is_not_offered() -> None:
    assert product_refusal(None, Rules(), units_in_stock=0) == "out of stock"
    assert product_refusal(None, Rules(), units_in_stock=2) is None


FACTS = st.builds(
    ContactFacts,
    consents=st.dictionaries(st.sampled_from(Channel), st.booleans()),
    contacts=st.lists(st.tuples(st.sampled_from(Channel), st.floats(NOON - 60 * DAY_S, NOON)), max_size=16).map(tuple),
    unanswered=st.dictionaries(st.sampled_from(Channel), st.integers(0, 20)),
)


@given(FACTS, st.sampled_from(Channel))
def test_a_refusal_always_wins_and_every_refusal_has_a_reason(facts: ContactFacts, channel: Channel) -> None:
    found = check_arm(Arm("any", channel), facts, Rules(), NOON)
    assert found.eligible == (not found.reasons)
    if facts.consents.get(channel) is False:
        assert not found.eligible


@given(FACTS, st.sampled_from(Channel))
def test_one_more_contact_never_makes_an_arm_eligible(facts: ContactFacts, channel: Channel) -> None:
    arm = Arm("any", channel)
    more = ContactFacts(facts.consents, (*facts.contacts, (channel, NOON)), facts.unanswered)
    if check_arm(arm, more, Rules(), NOON).eligible:
        assert check_arm(arm, facts, Rules(), NOON).eligible


@given(FACTS)
def test_nothing_is_always_allowed(facts: ContactFacts) -> None:
    assert check_arm(Arm(NOTHING, None), facts, Rules(), NOON).eligible


def test_the_rules_that_come_along_can_be_read() -> None:
    rules = load_rules(Path(serving.__file__).parent / "decision" / "rules.toml")
    assert rules.channel_caps[Channel.SMS] == Cap(max=2, days=7)
    assert rules.quiet_hours == QuietHours()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_unanswerd = 3", "there is no key max_unanswerd. Did you mean max_unanswered?"),
        ("overall_cap = { max = 99, days = 7 }", "overall_cap.max: Input should be less than or equal to 16"),
        ('time_zone = "Mars"', "time_zone: 'Mars' is no IANA time zone"),
        ("= 3", "is not TOML"),
    ],
)
def test_a_bad_rules_file_says_which_key(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"rules\.toml") as caught:
        load_rules(path)
    assert told in str(caught.value)
