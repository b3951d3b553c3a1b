"""Rules with some keys changed: sections keep their other keys, and a key that cannot be so is named."""

import pytest
from pydantic import ValidationError

from features.vocabulary import Channel
from serving.decision.changed_rules import changed_rules
from serving.decision.rules import Cap, Rules

RULES = Rules(channel_caps={Channel.EMAIL: Cap(max=1, days=3), Channel.SMS: Cap(max=2, days=7)}, exploration=0.4)


def test_keys_that_are_not_named_stay() -> None:
    found = changed_rules(RULES, {"overall_cap": {"max": 3}, "temperature": 0.2})
    assert found == RULES.model_copy(update={"overall_cap": Cap(max=3, days=7), "temperature": 0.2})


def test_nothing_changed_is_the_same_version() -> None:
    assert changed_rules(RULES, {}).version == RULES.version


def test_caps_per_channel_are_given_as_a_whole() -> None:
    found = changed_rules(RULES, {"channel_caps": {"email": {"max": 4, "days": 7}}})
    assert found.channel_caps == {Channel.EMAIL: Cap(max=4, days=7)}


@pytest.mark.parametrize(
    ("changes", "place"),
    [({"overall_cap": {"max": -1}}, ("overall_cap", "max")), ({"exploraton": 0.1}, ("exploraton",))],
)
def test_a_bad_key_is_named(changes: dict[str, object], place: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        changed_rules(RULES, changes)
    assert [item["loc"] for item in caught.value.errors()] == [place]
