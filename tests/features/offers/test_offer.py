"""One offer: what it may say, and what is refused with which words."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from features.offers.offer import Creative, Offer
from features.vocabulary import Channel

NOON = datetime(2030, 12, 1, 12, tzinfo=UTC)


def test_an_id_alone_is_an_offer_for_everybody_everywhere() -> None:
    offer = Offer(offer_id="spring")
    assert offer.text == '{"offer_id":"spring"}'
    assert offer.is_current(NOON)
    assert not offer.names_products


def test_it_starts_with_its_start_and_is_over_at_its_end() -> None:
    offer = Offer(offer_id="a", starts_at=NOON, ends_at=NOON + timedelta(days=1))
    moments = [NOON - timedelta(microseconds=1), NOON, NOON + timedelta(days=1)]
    assert [offer.is_current(at) for at in moments] == [False, True, False]
    assert not Offer(offer_id="a", paused=True).is_current(NOON)


def test_whole_numbers_are_ids_and_each_counts_once() -> None:
    offer = Offer.model_validate({"offer_id": 7, "products": [12, "12", "x"], "group": 3})
    assert (offer.offer_id, offer.products, offer.group) == ("7", ("12", "x"), "3")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"offer_id": ""}, "at least 1 character"),
        ({"offer_id": "a", "prize": 3}, "Extra inputs are not permitted"),
        ({"offer_id": "a", "starts_at": "2030-12-01T08:00:00"}, "name its time zone"),
        ({"offer_id": "a", "starts_at": 1_900_000_000}, "a moment with its time zone"),
        ({"offer_id": "a", "starts_at": NOON, "ends_at": NOON}, "ends before it starts"),
        ({"offer_id": "a", "boost": 2}, "say why in boost_reason"),
        ({"offer_id": "a", "boost": True}, "not true or false"),
        ({"offer_id": "a", "cost": -1}, "greater than or equal to 0"),
        ({"offer_id": "a", "value": "profit"}, "Input should be 'margin' or 'price'"),
        ({"offer_id": "a", "control_share": 1}, "less than 1"),
        ({"offer_id": "a", "channels": ["pigeon"]}, "Input should be 'web'"),
        ({"offer_id": "a", "where": " "}, "leave the field out for everybody"),
        ({"offer_id": "a", "promotes": "nothing", "brands": ["b"]}, "leave out products"),
        ({"offer_id": "a", "promotes": "nothing", "value": "price"}, "say its value in money"),
        ({"offer_id": "a", "creatives": [{"text": "x"}, {"text": "y"}]}, "one creative for a channel and language"),
        ({"offer_id": "a", "caps": {"per_customer": {"max": 1, "days": 0}}}, "greater than or equal to"),
    ],
)
def test_what_no_offer_can_say_is_refused_with_the_reason(content: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Offer.model_validate(content)


def test_the_creative_of_the_channel_and_language_is_taken_before_more_general_ones() -> None:
    everywhere, sms = Creative(text="hello"), Creative(channel=Channel.SMS, text="hi")
    german = Creative(channel=Channel.SMS, language="de", text="hallo")
    offer = Offer(offer_id="a", creatives=(everywhere, sms, german))
    assert offer.creative(Channel.SMS, "de-AT") == german
    assert offer.creative(Channel.SMS, "fr") == sms
    assert offer.creative(Channel.EMAIL, "de") == everywhere
    assert Offer(offer_id="b").creative(Channel.SMS) is None


def test_the_digest_is_of_what_it_says() -> None:
    assert Offer(offer_id="a").digest == Offer(offer_id="a", cost=0).digest
    assert Offer(offer_id="a").digest != Offer(offer_id="a", cost=1).digest
    later = timedelta(hours=1)
    assert Offer(offer_id="a", ends_at=NOON).digest != Offer(offer_id="a", ends_at=NOON + later).digest
