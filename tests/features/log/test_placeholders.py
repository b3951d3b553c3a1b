"""Strangers with the same placeholder stay strangers, on both engines, with and without hashed addresses, and afterwards."""

from pathlib import Path

import pyarrow as pa
import pytest
from made_visits import START, open_url, read_all

from features.events.schema import parse_table
from features.identity.identifiers import Identifiers
from features.identity.resolution import IdentityConfig
from features.ingest import ingest
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.identity import IdentityRules
from features.settings import Settings

WORDS = ("undefined", "null", "NaN", "None", "nil", "[object Object]", "0", "-1", "anonymous", "Guest", "N/A")


def visits(*rows: dict[str, object], nobody: IdentityConfig | None = None) -> pa.Table:
    items = [
        {"event_id": f"e{place}", "occurred_at": START, "kind": "visit", "channel": "web", **row}
        for place, row in enumerate(rows)
    ]
    table, rejected = parse_table(items, START, (nobody or IdentityConfig()).nobody)
    assert rejected == []
    return table


def owners(log: EventLog) -> list[str]:
    return [row["resolved_customer_id"] for row in read_all(log)]


@pytest.mark.parametrize("id_type", ["email", "phone", "device", "cookie", "loyalty_card", "crm_id"])
def test_strangers_with_one_placeholder_are_not_joined(log: EventLog, id_type: str) -> None:
    rows = [{"customer_id": f"c{place}", "identifiers": {id_type: word}} for place, word in enumerate(WORDS)]
    rows += [{"identifiers": {id_type: word, "idfa": f"i{place}"}} for place, word in enumerate(WORDS)]
    rows += [{"customer_id": f"d{place}", "identifiers": {id_type: "null"}} for place in range(4)]
    log.append(visits(*rows))
    n = len(WORDS)
    assert owners(log) == [
        *(f"c{place}" for place in range(n)),
        *(f"anon:idfa:i{place}" for place in range(n)),
        *(f"d{place}" for place in range(4)),
    ]
    assert [dict(row["identifiers"])[id_type] for row in read_all(log)][:n] == list(WORDS)  # kept as it came
    for word in WORDS:
        assert log.resolve(None, {id_type: word}) is None
        assert log.resolve(word, {}) is None
        assert log.resolve(None, {id_type: word, "idfa": "i0"}) == "anon:idfa:i0"


def test_a_placeholder_makes_no_real_identifier_a_shared_one(log: EventLog) -> None:
    rows = [{"customer_id": "ana", "identifiers": {"device": "d", "email": "null"}}]
    rows += [{"identifiers": {"device": "d", "email": word}} for word in WORDS]
    log.append(visits(*rows))
    assert owners(log) == ["ana"] * len(rows)


def test_a_log_of_before_is_told_anew(url: str) -> None:
    before = IdentityConfig(placeholders=())
    log = open_url(url)
    object.__setattr__(log, "_rules", IdentityRules(before, Identifiers(nobody=before.nobody)))
    strangers = [{"customer_id": "undefined", "identifiers": {"cookie": f"k{place}"}} for place in range(4)]
    log.append(visits(*strangers, {"identifiers": {"cookie": "k9", "email": "null"}}, nobody=before))
    assert owners(log)[:4] == ["undefined"] * 4
    log.close()
    log = open_url(url)
    log.append(visits({"event_id": "new", "customer_id": "ana"}))
    assert owners(log) == [*(f"anon:cookie:k{place}" for place in range(4)), "anon:cookie:k9", "ana"]
    assert log.regrouped_since(0).keys() >= {"undefined", "anon:cookie:k0"}
    assert set(log.identity().history().names.values()) == {*owners(log)} - {"ana"}
    log.close()


def test_hashed_addresses_hide_no_placeholder(tmp_path: Path) -> None:
    log = open_log(Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_IDENTIFIER_KEY": "secret"}))
    log.append(
        visits(*({"customer_id": f"c{place}", "identifiers": {"email": "Null", "phone": "-1"}} for place in range(3)))
    )
    assert owners(log) == ["c0", "c1", "c2"]
    assert log.resolve(None, {"email": "null"}) is None
    log.close()


def test_files_reject_the_rows_and_identity_toml_has_the_say(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    ids = ["0", "walk-in", "guest", "c1"]
    lines = [f"e{place},2024-05-01T10:00:00Z,visit,web,{name}" for place, name in enumerate(ids)]
    file.write_text("\n".join(["event_id,occurred_at,kind,channel,customer_id", *lines]) + "\n")
    (tmp_path / "mapping.toml").write_text(
        '[columns]\noccurred_at = "occurred_at"\nkind = "kind"\nchannel = "channel"\ncustomer_id = "customer_id"\n'
        'event_id = "event_id"\n'
    )
    for name, toml, kept in (
        ("default", "# as it comes", ["walk-in", "c1"]),
        ("own", 'more_placeholders = ["Walk-In"]\nno_placeholders = ["0"]\n', ["0", "c1"]),
        ("list", 'placeholders = ["c1"]\n', ["0", "walk-in", "guest"]),
    ):
        for mapping in (None, tmp_path / "mapping.toml"):
            home = tmp_path / f"{name}-{mapping is None}"
            home.mkdir()
            (home / "identity.toml").write_text(toml)
            settings = Settings.from_env({"OMNI_HOME": str(home)})
            report = ingest(str(file), settings, mapping=mapping)
            assert (report.rows, report.appended, report.rejected_by_field) == (
                4,
                len(kept),
                {"customer_id": 4 - len(kept)},
            )
            log = open_log(settings)
            assert owners(log) == kept
            assert log.resolve("0", {}) == ("0" if "0" in kept else None)
            log.close()
