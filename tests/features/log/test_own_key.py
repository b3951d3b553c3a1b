"""Addresses in a log with OMNI_IDENTIFIER_KEY=own: kept by a key of the log's own, found by whoever names them."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from made_visits import execute, read_all, table

from features.backup.backup import back_up
from features.backup.restore import restore
from features.errors import SettingsError
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.settings import Settings

MAIL, PHONE = "ana@example.org", "+4917012345"
WHO = {"email": MAIL}
OWN = {"OMNI_IDENTIFIER_KEY": "own"}
ASKED = ({"email": MAIL}, {"email": " Ana@Example.org "}, {"cookie": "c"})


def open_own(url: str) -> EventLog:
    return open_log(Settings.from_env({"OMNI_HOME": "unused", "OMNI_EVENT_LOG": url, **OWN}))


@pytest.fixture
def log(url: str) -> Iterator[EventLog]:
    opened = open_own(url)
    yield opened
    opened.close()


def test_nothing_in_the_log_holds_an_address_and_whoever_names_it_finds_the_customer(log: EventLog, url: str) -> None:
    log.append(table({"event_id": "1", "identifiers": {**WHO, "phone": PHONE, "cookie": "c"}}))
    log.append(table({"event_id": "2", "customer_id": f"anon:email:{MAIL}"}))  # a name of a version that had them
    (name,) = {row["resolved_customer_id"] for row in read_all(log)}
    assert name.startswith("anon:email:hash-")
    assert not any(word in str(read_all(log)) for word in (MAIL, PHONE, "ana"))
    for table_name in ("customers", "identifiers", "seen_in", "events"):
        assert MAIL not in str(execute(url, f"SELECT * FROM {table_name}"))
    with closing(open_own(url)) as again:  # as every other process
        assert {again.resolve(None, identifiers) for identifiers in ASKED} == {name}
        assert again.resolve(f"anon:email:{MAIL}", {}) == again.names_of([f"anon:email:{MAIL}"]).popitem()[1] == name
        assert again.identity().owners(f"email:{MAIL}") == again.identity().owners(MAIL) == {name}


def test_two_logs_have_two_keys(new_url: Callable[[], str]) -> None:
    names = set()
    for _ in range(2):
        with closing(open_own(new_url())) as log:
            log.append(table({"event_id": "1", "identifiers": WHO}))
            names.add(log.resolve(None, WHO))
    assert len(names) == 2


def test_erasing_by_the_address(log: EventLog) -> None:
    log.append(table({"event_id": "1", "identifiers": WHO}))
    begun = log.erasures().begin(f"email:{MAIL}", datetime.now(UTC))
    assert begun is not None and MAIL not in begun.receipt.model_dump_json() and not read_all(log)
    for name in (f"email:{MAIL}", f"anon:email:{MAIL}", MAIL):  # asked again
        again = log.erasures().begin(name, datetime.now(UTC))
        assert again is not None and again.receipt.receipt_id == begun.receipt.receipt_id
    assert log.append(table({"event_id": "1", "identifiers": WHO})).erased == 1


def test_a_log_that_was_begun_without_a_key_goes_on_so(url: str) -> None:
    with closing(open_log(Settings.from_env({"OMNI_HOME": "unused", "OMNI_EVENT_LOG": url}))) as before:
        before.append(table({"event_id": "1", "identifiers": WHO}))
    with closing(open_own(url)) as log:
        log.append(table({"event_id": "2", "identifiers": {**WHO, "cookie": "c"}}))
        assert {row["resolved_customer_id"] for row in read_all(log)} == {f"anon:email:{MAIL}"}


def test_a_key_that_comes_later_is_refused(url: str) -> None:
    with closing(open_own(url)) as log:
        log.append(table({"event_id": "1", "identifiers": WHO}))
    named = {"OMNI_HOME": "unused", "OMNI_EVENT_LOG": url, "OMNI_IDENTIFIER_KEY": "a secret of ours"}
    with pytest.raises(SettingsError, match="another OMNI_IDENTIFIER_KEY"):
        open_log(Settings.from_env(named))


def test_a_backup_brings_the_key_along(tmp_path: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home"), **OWN})
    with closing(open_log(settings)) as log:
        log.append(table({"event_id": "1", "identifiers": WHO}))
        name = log.resolve(None, WHO)
    report = back_up(settings, tmp_path / "backup", lambda _: None)
    new = Settings.from_env({"OMNI_HOME": str(tmp_path / "new"), **OWN})
    restore(new, report.place, lambda _: None)
    with closing(open_log(new)) as log:
        assert name is not None and log.resolve(None, WHO) == name
