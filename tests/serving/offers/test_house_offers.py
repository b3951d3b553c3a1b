"""The offers of a home: the table and offers.toml followed by every worker; a broken file changes nothing, and is told."""

from pathlib import Path

import pytest

from features.errors import InputError
from features.log.sqlite import SqliteEventLog
from features.offers.offer import Offer
from features.settings import Settings
from serving.offers.house_offers import HouseOffers, kept_offers
from serving.offers.offered import nobody_suppressed


@pytest.fixture
def house(settings: Settings, log: SqliteEventLog) -> HouseOffers:
    return HouseOffers(settings, log)


def made(house: HouseOffers) -> list[str]:
    return [offer.offer_id for offer in house.shelf.offers]


def write(settings: Settings, content: str) -> Path:
    settings.home.mkdir(parents=True, exist_ok=True)
    (settings.home / "offers.toml").write_text(content, encoding="utf-8")
    return settings.home / "offers.toml"


def test_what_is_put_into_the_table_is_followed_and_a_look_without_change_keeps_the_shelf(
    house: HouseOffers, log: SqliteEventLog
) -> None:
    house.begin()
    assert made(house) == []
    log.offers().put([Offer(offer_id="a")])
    house.look()
    shelf = house.shelf
    assert (made(house), shelf.version) == (["a"], 1)
    house.look()
    assert house.shelf is shelf


def test_a_file_counts_once_it_is_the_same_in_two_looks_on_every_worker(
    house: HouseOffers, settings: Settings, log: SqliteEventLog
) -> None:
    house.begin()
    other = HouseOffers(settings, log)
    other.begin()
    write(settings, "[offers.spring]\n")
    house.look()
    assert made(house) == []
    house.look()
    other.look()
    assert (made(house), made(other)) == (["spring"], ["spring"])
    other.look()
    assert log.offers().version() == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[offers.b]\ncost = -1\n", r"offers\.toml, offers\.b: cost: Input should be greater"),
        ('[offers.b]\nwhere = "no_column > 1"\n', r"Offer b: There is no column 'no_column'"),
        ("[offers", "is not TOML"),
        ("", "is empty"),
    ],
)
def test_a_broken_file_changes_nothing_and_says_why(
    house: HouseOffers, settings: Settings, log: SqliteEventLog, content: str, words: str
) -> None:
    write(settings, "[offers.a]\n")
    house.begin()
    write(settings, content)
    house.look()
    house.look()
    assert made(house) == ["a"]
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(house.problem)
    anew = HouseOffers(settings, log)  # a worker that is started meanwhile
    anew.begin()
    assert (made(anew), anew.problem) == (["a"], house.problem)
    write(settings, "[offers.c]\n")
    house.look()
    house.look()
    assert (made(house), house.problem) == (["c"], "")


def test_the_file_takes_no_offer_that_was_imported(house: HouseOffers, settings: Settings, log: SqliteEventLog) -> None:
    log.offers().put([Offer(offer_id="a", cost=2)])
    write(settings, "[offers.a]\n[offers.b]\n")
    house.begin()
    assert made(house) == ["a"]
    assert "offer a is in offers.toml, and came by an import or over HTTP before" in house.problem


def test_a_file_that_is_taken_away_takes_its_offers_with_it_and_no_file_takes_nothing(
    house: HouseOffers, settings: Settings, log: SqliteEventLog
) -> None:
    path = write(settings, "[offers.a]\n")
    house.begin()
    assert made(house) == ["a"]
    elsewhere = HouseOffers(Settings.from_env({"OMNI_HOME": str(settings.home / "other")}), log)
    elsewhere.begin()
    assert made(elsewhere) == ["a"]
    path.unlink()
    HouseOffers(settings, log).begin()
    house.look()
    assert made(house) == []


def test_an_offer_that_cannot_be_compiled_is_told(house: HouseOffers, log: SqliteEventLog) -> None:
    log.offers().put([Offer(offer_id="a", where="no_column > 1"), Offer(offer_id="b")])
    house.begin()
    assert made(house) == ["b"]
    assert house.problem.startswith("The offer a cannot be made: There is no column 'no_column'")


def test_a_command_sees_the_file_as_it_is_now(settings: Settings, log: SqliteEventLog) -> None:
    write(settings, "[offers.a]\n")
    kept, problem = kept_offers(settings, log)
    assert ([*kept.offers], kept.of_file, problem) == (["a"], {"a"}, "")
    with pytest.raises(InputError, match=r"a is in offers\.toml"):
        log.offers().put([Offer(offer_id="a")])


def test_whether_anybody_is_suppressed_is_followed(house: HouseOffers, log: SqliteEventLog) -> None:
    house.begin()
    assert house.offered.suppressed("ada") is None
    log.suppressions().add(["ada"], "staff")
    house.look()
    assert (house.offered.suppressed("ada"), house.offered.suppressed("bob")) == ("staff", None)
    log.suppressions().remove(["ada"])
    house.look()
    assert house.offered.suppressed is nobody_suppressed
