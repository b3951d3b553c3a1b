"""Files of offers: the same offers from every format, and a bad one refused with its place while the others are kept."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.errors import InputError
from features.offers.offer import Creative, CustomerCap, Offer, OfferCaps
from features.offers.reading import ReadOffers, RefusedOffer, read_offers
from features.vocabulary import Channel

SPRING = Offer(
    offer_id="spring",
    channels=(Channel.EMAIL, Channel.SMS),
    creatives=(Creative(channel=Channel.EMAIL, language="de", text="Hallo"), Creative(text="Hello")),
    starts_at=datetime(2030, 3, 1, tzinfo=UTC),
    where="value_decile >= 8",
    products=("12", "13"),
    value="margin",
    cost=0.5,
    caps=OfferCaps(per_customer=CustomerCap(max=2, days=7), total=1000),
    paused=True,
)

TOML = """
[[offers]]
offer_id = "spring"
channels = ["email", "sms"]
creatives = [{ channel = "email", language = "de", text = "Hallo" }, { text = "Hello" }]
starts_at = 2030-03-01T00:00:00Z
where = "value_decile >= 8"
products = [12, 13]
value = "margin"
cost = 0.5
caps = { per_customer = { max = 2, days = 7 }, total = 1000 }
paused = true
"""
CSV = (
    "offer_id,channels,creatives.email.de,creatives.any,starts_at,where,products,value,cost,"
    "caps.per_customer.max,caps.per_customer.days,caps.total,paused,budget\n"
    "spring,email; sms,Hallo,Hello,2030-03-01T00:00:00Z,value_decile >= 8,12;13,margin,0.5,2,7,1000,true,\n"
)


def write(folder: Path, name: str, content: str) -> Path:
    file = folder / name
    file.write_text(content, encoding="utf-8")
    return file


def test_the_same_offer_comes_from_toml_csv_jsonl_and_parquet(tmp_path: Path) -> None:
    parquet = tmp_path / "offers.parquet"
    row = {**SPRING.model_dump(exclude_defaults=True), "starts_at": SPRING.starts_at, "budget": None}
    pq.write_table(pa.Table.from_pylist([row]), parquet)
    files = [
        write(tmp_path, "offers.toml", TOML),
        write(tmp_path, "offers.csv", CSV),
        write(tmp_path, "offers.jsonl", SPRING.text + "\n"),
        parquet,
    ]
    assert [read_offers(file) for file in files] == [ReadOffers((SPRING,))] * 4


def test_sections_are_offers_by_their_ids(tmp_path: Path) -> None:
    file = write(tmp_path, "offers.toml", "[offers.spring]\ncost = 1\n[offers.club]\n")
    assert read_offers(file).offers == (Offer(offer_id="spring", cost=1), Offer(offer_id="club"))


def test_a_bad_row_is_refused_with_its_place_and_the_others_are_kept(tmp_path: Path) -> None:
    file = write(tmp_path, "offers.csv", "offer_id,cost,channels\na,1,\nb,-1,\n,2,\na,3,\nc,,pigeon\nd,,sms\n")
    read = read_offers(file)
    assert [offer.offer_id for offer in read.offers] == ["a", "d"]
    assert read.refused[:3] == (
        RefusedOffer("row 2", "cost: Input should be greater than or equal to 0"),
        RefusedOffer("row 3", "offer_id: Field required"),
        RefusedOffer("row 4", "offer_id: a came before"),
    )
    assert read.refused[3].place == "row 5"
    assert read.refused[3].reason.startswith("channels.0: Input should be 'web', 'app'")


def test_a_misspelt_field_is_answered_with_the_one_that_was_meant(tmp_path: Path) -> None:
    file = write(tmp_path, "offers.toml", '[[offers]]\noffer_id = "a"\n[offers.caps]\nper_dya = 3\n')
    assert read_offers(file).refused[0].reason.startswith("there is no field caps.per_dya. Did you mean per_day?")
    with pytest.raises(InputError, match=r"no offer has a column prodcuts\. Did you mean products\?"):
        read_offers(write(tmp_path, "offers.csv", "offer_id,prodcuts\na,1\n"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.toml", "offers = 3\n", "offers is no list"),
        ("a.toml", "[[offer]]\n", "there is no key offer"),
        ("a.toml", "", "is empty"),
        ("a.toml", "offers = [", "is not TOML"),
        ("a.csv", "offer_id,caps.per_customer.most\na,1\n", "no offer has a column caps.per_customer.most"),
    ],
)
def test_a_file_that_holds_no_offers_is_refused_whole(tmp_path: Path, name: str, content: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_offers(write(tmp_path, name, content))


def test_a_line_that_cannot_be_read_is_refused_with_its_number(tmp_path: Path) -> None:
    read = read_offers(write(tmp_path, "offers.jsonl", '{"offer_id": "a"}\n{"offer_id": \n{"offer_id": "b"}\n'))
    assert ([offer.offer_id for offer in read.offers], [row.place for row in read.refused]) == (["a", "b"], ["row 2"])


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        read_offers(tmp_path / "none.csv")
