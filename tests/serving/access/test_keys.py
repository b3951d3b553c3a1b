"""Keys: made once and shown once, kept as hashes in a file that its owner alone reads, and revoked by name."""

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

import omni
from features import __version__
from features.errors import InputError, SettingsError, StoreError
from features.settings import Settings
from serving.access.keys import KEYS_FILE, Scope, create_key, read_keys, revoke_key
from serving.access.listening import access_on, is_loopback


def test_a_key_is_kept_as_a_hash_that_its_owner_alone_reads(tmp_path: Path) -> None:
    made = create_key(tmp_path, "web-shop", (Scope.ASK, Scope.INGEST))
    file = tmp_path / KEYS_FILE
    assert made.key not in file.read_text() and made.key.rpartition("_")[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (kept,) = read_keys(tmp_path)
    assert (kept.name, kept.scopes, kept.is_public) == ("web-shop", (Scope.INGEST, Scope.ASK), False)
    assert kept.is_of(made.key) and not kept.is_of(made.key[:-1]) and not kept.is_of("")


def test_two_keys_are_two_and_a_revoked_one_is_gone(tmp_path: Path) -> None:
    first, second = (create_key(tmp_path, name, (Scope.ASK,)) for name in ("a", "b"))
    assert first.key != second.key
    assert revoke_key(tmp_path, "a").key_id == first.record.key_id
    assert [key.name for key in read_keys(tmp_path)] == ["b"]
    with pytest.raises(InputError, match="no key named a"):
        revoke_key(tmp_path, "a")


@pytest.mark.parametrize(
    ("name", "scopes", "said"),
    [
        ("a", (), "without a scope"),
        ("a", (Scope.BROWSER, Scope.ASK), "no other scope"),
        ("there", (Scope.ASK,), "There is a key named there"),
        ("", (Scope.ASK,), "no name"),
        ("two\nlines", (Scope.ASK,), "no name"),
    ],
)
def test_what_no_key_can_be(tmp_path: Path, name: str, scopes: tuple[Scope, ...], said: str) -> None:
    create_key(tmp_path, "there", (Scope.ADMIN,))
    with pytest.raises(InputError, match=said):
        create_key(tmp_path, name, scopes)
    assert len(read_keys(tmp_path)) == 1


def test_a_pages_key_can_be_told_from_a_secret(tmp_path: Path) -> None:
    page = create_key(tmp_path, "shop", (Scope.BROWSER,))
    assert page.record.is_public and page.key.startswith("omni_pk")


def test_a_key_ends_when_its_days_are_over(tmp_path: Path) -> None:
    record = create_key(tmp_path, "short", (Scope.ASK,), days=1.0).record
    now = datetime.now(UTC)
    assert not record.has_expired(now + timedelta(hours=23))
    assert record.has_expired(now + timedelta(hours=25))


def test_a_damaged_file_is_told_and_never_taken_for_none(tmp_path: Path) -> None:
    create_key(tmp_path, "a", (Scope.ASK,))
    file = tmp_path / KEYS_FILE
    file.write_text(file.read_text()[:40])
    with pytest.raises(StoreError, match=r"keys\.json cannot be read: it is damaged"):
        read_keys(tmp_path)


def test_the_commands_make_list_and_revoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNI_HOME", str(tmp_path))

    def run(*words: str) -> str:
        result = CliRunner().invoke(omni.app, ["key", *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    made = json.loads(run("create", "crm", "--scope", "ask", "--scope", "erase", "--rate", "5", "--json"))
    assert read_keys(tmp_path)[0].is_of(made["key"])
    (listed,) = json.loads(run("list", "--json"))["keys"]
    assert (listed["name"], listed["scopes"], listed["rate"], listed["sha256"]) == ("crm", ["ask", "erase"], 5.0, "…")
    assert "crm" in run("list") and made["key"] not in run("list")
    assert json.loads(run("revoke", "crm", "--json")) == {"revoked": "crm", "key_id": listed["key_id"]}
    assert read_keys(tmp_path) == []


def test_a_service_beyond_this_machine_does_not_start_without_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNI_HOME", str(tmp_path))
    result = CliRunner().invoke(omni.app, ["serve", "--host", "0.0.0.0", "--port", "0"])
    assert result.exit_code == 2
    assert "demands keys, and this home has none. Make one (omni key create NAME --scope ask)" in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(omni.app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"omni {__version__}\n")


def test_keys_are_demanded_beyond_this_machine(tmp_path: Path) -> None:
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    assert access_on(settings, "127.0.0.1") == access_on(settings, "::1") == access_on(settings, "localhost") == "open"
    for host in ("0.0.0.0", "::", "192.0.2.7"):
        with pytest.raises(InputError, match="demands keys, and this home has none"):
            access_on(settings, host)
    create_key(tmp_path, "a", (Scope.ASK,))
    assert access_on(settings, "0.0.0.0") == "keys"
    assert access_on(settings, "127.0.0.1") == "open"
    insecure = Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_ACCESS": "open"})
    assert access_on(insecure, "0.0.0.0") == "open"
    with_admin = Settings.from_env({"OMNI_HOME": str(tmp_path / "other"), "OMNI_ADMIN_KEY": "x" * 16})
    assert access_on(with_admin, "0.0.0.0") == "keys"
    assert is_loopback("::ffff:127.0.0.1") and not is_loopback("omni.example")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OMNI_ACCESS", "maybe"),
        ("OMNI_ADMIN_KEY", "short"),
        ("OMNI_RATE_LIMIT", "-1"),
        ("OMNI_RATE_LIMIT", "many"),
        ("OMNI_CORS_ORIGINS", "*"),
        ("OMNI_CORS_ORIGINS", "https://shop.example/"),
        ("OMNI_LOG_FORMAT", "xml"),
    ],
)
def test_settings_that_cannot_be_used_are_named(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        Settings.from_env({variable: value})


def test_settings_that_can_be_used() -> None:
    origins = "https://shop.example, http://localhost:8080"
    settings = Settings.from_env({"OMNI_CORS_ORIGINS": origins, "OMNI_RATE_LIMIT": "0.5"})
    assert settings.cors_origins == ("https://shop.example", "http://localhost:8080")
    assert (settings.rate_limit, settings.access, settings.log_format) == (0.5, "auto", "text")
