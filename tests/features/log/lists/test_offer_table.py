"""The table of offers: kept once, with a version that grows when something changes; offers.toml owns its own."""

import pytest

from features.errors import InputError
from features.log.event_log import EventLog
from features.log.lists.offer_table import OfferChanges
from features.offers.offer import Offer


def test_what_is_put_comes_back_and_only_a_change_is_a_new_version(log: EventLog) -> None:
    table = log.offers()
    spring = Offer(offer_id="spring", cost=0.5, where="value_decile >= 8")
    assert (table.version(), table.all().offers) == (0, {})
    assert table.put([spring, Offer(offer_id="club")]) == OfferChanges(added=2, version=1)
    assert table.put([spring]) == OfferChanges(same=1, version=1)
    assert table.put([spring.model_copy(update={"cost": 1.0})]) == OfferChanges(changed=1, version=2)
    kept = table.all()
    assert (kept.version, [*kept.offers], kept.offers["spring"].cost) == (2, ["club", "spring"], 1.0)
    assert table.get("spring") == kept.offers["spring"]
    assert table.get("nothing of that name") is None


def test_replacing_takes_out_all_others_but_those_of_the_file(log: EventLog) -> None:
    table = log.offers()
    table.settle_file([Offer(offer_id="of_file")], "digest")
    table.put([Offer(offer_id="old")])
    assert table.put([Offer(offer_id="new")], replace=True).removed == 1
    assert [*table.all().offers] == ["new", "of_file"]
    assert table.all().of_file == {"of_file"}


def test_what_the_file_owns_is_changed_in_the_file_alone(log: EventLog) -> None:
    table = log.offers()
    table.settle_file([Offer(offer_id="spring")], "one")
    with pytest.raises(InputError, match=r"offer spring is in offers.toml, which owns"):
        table.put([Offer(offer_id="other"), Offer(offer_id="spring")])
    with pytest.raises(InputError, match=r"spring is in offers.toml"):
        table.remove(["spring"])
    assert [*table.all().offers] == ["spring"]


def test_the_file_takes_no_offer_that_came_another_way_and_then_changes_nothing(log: EventLog) -> None:
    table = log.offers()
    table.put([Offer(offer_id="club")])
    with pytest.raises(InputError, match=r"offer club is in offers.toml, and came by an import or over HTTP"):
        table.settle_file([Offer(offer_id="a"), Offer(offer_id="club")], "digest")
    assert ([*table.all().offers], table.file_digest()) == (["club"], "")


def test_the_file_as_it_is_now_is_the_whole_of_its_offers(log: EventLog) -> None:
    table = log.offers()
    table.settle_file([Offer(offer_id="a"), Offer(offer_id="b")], "one")
    assert table.settle_file([Offer(offer_id="b"), Offer(offer_id="c")], "two") == OfferChanges(1, 0, 1, 1, 2)
    assert (table.file_digest(), [*table.all().offers]) == ("two", ["b", "c"])
    assert table.settle_file([Offer(offer_id="b"), Offer(offer_id="c")], "two").version == 2


def test_removing_tells_how_many_there_were(log: EventLog) -> None:
    table = log.offers()
    table.put([Offer(offer_id="a")])
    assert table.remove(["a", "nobody"]) == 1
    assert (table.remove(["a"]), table.version()) == (0, 2)


def test_a_check_that_raises_keeps_everything_as_it_was(log: EventLog) -> None:
    table = log.offers()
    table.put([Offer(offer_id="a")])

    def refuse(before: Offer | None) -> None:
        raise ValueError(before and before.digest)

    with pytest.raises(ValueError, match=Offer(offer_id="a").digest):
        table.put([Offer(offer_id="a", cost=3)], check=refuse)
    assert table.all().offers["a"].cost == 0
