"""Erasure over any text that ingest may keep: broken bytes, other encodings, lines that are no JSON, files that are none."""

import hashlib
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from made_ada import COOKIE, EMAIL, NOW, erased, row, table

from features.erasure.erase import begin_erasure
from features.erasure.texts import Mentions
from features.events.schema import REJECTED_SCHEMA
from features.identity.identifiers import Identifiers
from features.ingest import ingest
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.receipt import State
from features.log.sqlite import SqliteEventLog
from features.log.tombstones import Hasher, Matcher
from features.rejects import file_name
from features.settings import Settings

ZOE = "zoë-1815"
LOVELACE = "Lovelace, Ada"


def mentions(*names: str) -> Mentions:
    hasher = Hasher(b"key")
    return Mentions(Matcher(hasher, frozenset(map(hasher.value, names)), Identifiers()))


@pytest.mark.parametrize(
    "text",
    [
        '{"who": "ada-1815"}',
        '["ada-1815", "caf\\udce9"]',  # a byte of another encoding beside the name
        '["ada-1815\\udcff", "1"]',  # and one that sticks to it
        '{"who": "ada-1815", "n": ',  # cut off
        "not JSON at all: ada-1815; 7",
        "{who: ada-1815}",
        '{"a": {"b": [{"c": "  ada-1815 "}]}}',
        '{"ada-1815": {"n": 1}}',
        '"call ada-1815 back"',
        "\ufeffada-1815,1",
        '["zo\\udceb-1815"]',  # in Latin-1
        "\\udcff\\udcfe{\x00z\x00o\x00\\udceb\x00-\x001\x008\x001\x005\x00,\x00",  # in UTF-16
        '{"x": "Lovelace, Ada", "y": ',
        "7; Lovelace, Ada; 8",
        '{"n": 4711.0}',
        '["4711"]',
        "{n: 4711",
        "[" * 5_000 + '"ada-1815"',
        '{"n": ' + "1" * 5_000 + ', "who": "ada-1815"}',
        '{"mail": "\\ud83d\\ude00", "who": "ada-1815"}',
        '["\\ud83d", "ada-1815"]',
        '"zo\\udceb-1815"\\ud800',  # a byte of Latin-1, and half a character that stands for no byte
    ],
)
def test_a_row_that_names_the_customer_is_known(text: str) -> None:
    assert mentions("ada-1815", ZOE, LOVELACE, "4711").in_row(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"who": "ada-18155"}',
        '{"who": "xada-1815"}',
        "{ada-1815-2: 1",
        '["zoe\u0308-1815"]',  # another customer: an e and two dots, in two characters
        '["at 2024-07-01T04:07:11Z"]',  # the 7 of a date is not customer 7
        '{"n": 70, "x": "7 of 9"}',
        "",
        '["\\udcff"]',
        "\\ud800",
    ],
)
def test_a_row_that_names_others_is_not(text: str) -> None:
    assert not mentions("ada-1815", ZOE, "7").in_row(text)


@pytest.mark.parametrize("text", ["ada", "zoë", "\x00", "😀", ""])
def test_digests_of_well_formed_text_are_those_of_its_utf_8(text: str) -> None:
    """Else the tombstones that logs hold would match nobody any more."""
    expected = hashlib.blake2b(text.encode(), digest_size=16, key=b"k", person=b"value").digest()
    assert Hasher(b"k").value(text) == expected


@given(st.text(st.characters(codec=None)))
def test_every_text_has_a_digest_and_forms(text: str) -> None:
    identifiers = Identifiers(key="secret", hashed=("email", "phone"))
    assert len({Hasher(b"k").value(form) for form in identifiers.forms(text)}) == len(identifiers.forms(text))


@pytest.mark.parametrize("name", ["\udcff", "ada\x00", "\ud800ada-1815"])
def test_a_name_that_is_no_text_is_nobodys(any_engine: Settings, any_log: EventLog, name: str) -> None:
    assert begin_erasure(any_engine, any_log, name) is None


NAMED = [
    b"ada-1815",
    EMAIL.encode(),
    EMAIL.upper().encode(),
    COOKIE.encode(),
    ZOE.encode("cp1252"),
    ZOE.encode("utf-8"),
    ZOE.encode("utf-16-le"),
]
OTHER = [b"ada-18155", b"bob", b"cleo", b"ada-181", "zoe\u0308-1815".encode(), EMAIL.encode() + b".org"]
PLAIN_APART = (b'"', b",", b" ", b";", b"\t", b'"\xc3"', b"\\ ")
APART = (*PLAIN_APART, b"\xff", b"\xff\xfe")
NOISE = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([b'{"a": ', b'["', b"\xef\xbb\xbf", b"\\ud800", b"\x00", b"\\", b"'", b"\xf0\x9f\x98"]),
).map(lambda noise: noise.replace(b"\r", b"").replace(b"\n", b""))


@st.composite
def rejected_lines(draw: st.DrawFn) -> tuple[str, list[tuple[bytes, bool]]]:
    """The ending of a file, its lines of bytes that no source would send, and whether each names the customer."""
    ending = draw(st.sampled_from([".jsonl", ".csv"]))
    made = []
    for _ in range(draw(st.integers(1, 12))):
        is_named = draw(st.booleans())
        name, before, after = draw(st.sampled_from(NAMED if is_named else OTHER)), draw(NOISE), draw(NOISE)
        if ending == ".csv":
            line = b",".join(b'"' + cell.replace(b'"', b'""') + b'"' for cell in (before, name, after))
        else:
            # a byte that is no character of UTF-8 is a letter in other encodings, and there a part of the name
            apart = st.sampled_from(APART if name.isascii() and b"\x00" not in name else PLAIN_APART)
            line = before + draw(apart) + name + draw(apart) + after
        made.append((line, is_named))
    return ending, made


@hypothesis_settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(file=rejected_lines())
def test_no_trace_is_left_whatever_bytes_were_kept(file: tuple[str, list[tuple[bytes, bool]]]) -> None:
    ending, made = file
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env({"OMNI_HOME": f"{folder}/home", "OMNI_CLOCK_START": NOW.isoformat()})
        log = open_log(settings)
        ada = {"identifiers": [("email", EMAIL), ("cookie", COOKIE)]}
        log.append(table([row("a1", 1, "ada-1815", **ada), row("a2", 2, ZOE), row("b1", 1, "bob")]))
        source = Path(folder, f"source{ending}")
        header = b"event_id,occurred_at,kind,channel\n" if ending == ".csv" else b""
        good = json.dumps({**row("g1", 2, "bob"), "occurred_at": "2024-01-03T00:00:00Z"}).encode()
        last = [] if ending == ".csv" else [good]
        source.write_bytes(header + b"\n".join([*(line for line, _ in made), *last]))
        rejected = settings.rejected_dir / f"{file_name(str(source))}.parquet"
        ingest(str(source), settings)
        before = pq.read_table(rejected)
        assert before["index"].to_pylist() == list(range(len(made)))

        receipts = [erased(settings, log, name) for name in ("ada-1815", ZOE)]

        assert pq.read_table(rejected).equals(before.filter(pa.array([not is_named for _, is_named in made])))
        n_named = sum(is_named for _, is_named in made)
        assert sum(receipt.removed.get(f"files: rejected/{rejected.name}", 0) for receipt in receipts) == n_named
        states = {place.state for receipt in receipts for place in receipt.places if place.left is not None}
        assert states == {State.EMPTY, State.NAMELESS}
        log.close()


def test_columns_that_are_no_utf_8_and_files_that_are_no_parquet(settings: Settings, log: SqliteEventLog) -> None:
    """Arrow takes bytes for text without a look, and a file may be half a file."""
    raw = pa.array([b"\xff", b"ada-1815", b"bob"], pa.binary()).view(pa.string())
    pairs = pa.array([None, None, [("email", EMAIL)]], REJECTED_SCHEMA.field("identifiers").type)
    settings.rejected_dir.mkdir()
    pq.write_table(pa.table({"customer_id": raw}), settings.rejected_dir / "odd.parquet")
    pq.write_table(pa.table({"customer_id": [1815, 2], "n": [1, 2]}), settings.rejected_dir / "numbers.parquet")
    pq.write_table(pa.table({"customer_id": raw, "identifiers": pairs}), settings.rejected_dir / "pairs.parquet")
    (settings.rejected_dir / "half.parquet").write_bytes(b"PAR1 and no more")
    (settings.home / "export.csv").write_text("customer_id\nada-1815\nbob\n", encoding="utf-8")

    receipt = erased(settings, log, "ada-1815")

    kept = pq.read_table(settings.rejected_dir / "odd.parquet")["customer_id"].cast(pa.binary()).to_pylist()
    assert kept == [b"\xff", b"bob"]
    assert receipt.removed["files: rejected/pairs.parquet"] == 2
    states = {place.place: (place.state, place.left) for place in receipt.places}
    assert states["files: rejected/half.parquet"] == (State.UNVERIFIED, None)
    assert states["files: export.csv"] == (State.YOURS, 1)


def test_a_rejected_event_that_names_them_anywhere_goes(settings: Settings, log: SqliteEventLog) -> None:
    """An identifier under another type, blanks around an id, properties, and the reason, which quotes what was wrong."""
    rows = [
        {"index": 0, "field": "customer_id", "reason": "is 'ada-1815 ', with spaces at an end: strip them."},
        {"index": 1, "field": "kind", "reason": "no", "customer_id": " ada-1815"},
        {"index": 2, "field": "kind", "reason": "no", "identifiers": [("mail", EMAIL)]},
        {"index": 3, "field": "kind", "reason": "no", "properties": json.dumps({"note": f"write to {EMAIL}"})},
        {"index": 4, "field": "kind", "reason": "no", "customer_id": "bob"},
    ]
    settings.rejected_dir.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=REJECTED_SCHEMA), settings.rejected_dir / "shop.parquet")

    erased(settings, log, "ada-1815")

    assert pq.read_table(settings.rejected_dir / "shop.parquet")["index"].to_pylist() == [4]
