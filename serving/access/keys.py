"""API keys: names and scopes in, a key that is shown once out; kept are hashes only, in OMNI_HOME/keys.json.

A key is `omni_<id>_<secret>`: by the id its record is found, and the secret is 256 random bits, so that a plain SHA-256 of
the key is as good as any slow hash. The ids of keys for pages in browsers begin with `pk`: they are no secrets.
"""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from features.atomic import locked, replacing
from features.errors import InputError, StoreError

KEYS_FILE: Final = "keys.json"
PREFIX: Final = "omni_"
_PUBLIC: Final = "pk"
_MOST_NAME: Final = 64


class Scope(StrEnum):
    """What a key may be used for; `admin` is all of it."""

    INGEST = "ingest"
    """Send events."""
    ASK = "ask"
    """Ask for products, churn and channels, and see a customer's profile."""
    DECIDE = "decide"
    """Ask for decisions, which are logged."""
    ERASE = "erase"
    """Erase customers."""
    OFFERS = "offers"
    """Keep up offers, the suppression list, products and stock."""
    METRICS = "metrics"
    """Read what monitoring reads, and nothing of any customer."""
    BOOKKEEPING = "bookkeeping"
    """With `ingest`: bring decisions, and outcomes of other systems' decisions."""
    BROWSER = "browser"
    """What a page may do in a visitor's browser, where everybody can read the key."""
    ADMIN = "admin"


class ApiKey(BaseModel):
    """A key as it is kept: all of it but the key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    key_id: str
    sha256: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None = None
    rate: float | None = None
    """Requests per second; None: what the settings say."""

    @property
    def is_public(self) -> bool:
        """Whether it is for pages, where everybody can read it."""
        return self.scopes == (Scope.BROWSER,)

    def is_of(self, key: str) -> bool:
        """Whether `key` is this one; takes as long for one that is nearly it."""
        return hmac.compare_digest(digest(key), self.sha256)

    def has_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= now


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: list[ApiKey] = Field(default_factory=list)


@dataclass(frozen=True)
class NewKey:
    """A key that was just made, and its record; the key itself is kept nowhere."""

    key: str
    record: ApiKey


def create_key(
    home: Path, name: str, scopes: tuple[Scope, ...], days: float | None = None, rate: float | None = None
) -> NewKey:
    """Make a key, which counts at once in every service of this home. Raises InputError for what no key can be."""
    chosen = tuple(scope for scope in Scope if scope in scopes)
    if not chosen:
        raise InputError("A key without a scope opens nothing.", repair=f"Pass --scope: {', '.join(Scope)}.")
    if Scope.BROWSER in chosen and len(chosen) > 1:
        raise InputError(
            "A key of the scope browser is read by everybody, so it has no other scope.", repair="Make two keys."
        )
    if not name.isprintable() or not 0 < len(name.strip()) == len(name) <= _MOST_NAME:
        raise InputError(f"{name!r} is no name of a key.", repair=f"Take 1 to {_MOST_NAME} letters, such as web-shop.")
    now = datetime.now(UTC)
    with locked(home / KEYS_FILE):
        keys = read_keys(home)
        if any(known.name == name for known in keys):
            raise InputError(
                f"There is a key named {name}.", repair=f"Revoke it (omni key revoke {name}), or take another."
            )
        key_id = secrets.token_hex(4) if chosen != (Scope.BROWSER,) else _PUBLIC + secrets.token_hex(4)
        key = f"{PREFIX}{key_id}_{secrets.token_urlsafe(32)}"
        expires_at = None if days is None else now + timedelta(days=days)
        record = ApiKey(
            name=name,
            key_id=key_id,
            sha256=digest(key),
            scopes=chosen,
            created_at=now,
            expires_at=expires_at,
            rate=rate,
        )
        _write(home, [*keys, record])
    return NewKey(key, record)


def revoke_key(home: Path, name: str) -> ApiKey:
    """Take a key out of use, at once and in every service of this home. Raises InputError where there is none."""
    with locked(home / KEYS_FILE):
        keys = read_keys(home)
        gone = next((key for key in keys if key.name == name), None)
        if gone is None:
            raise InputError(f"There is no key named {name}.", repair="See omni key list.")
        _write(home, [key for key in keys if key.name != name])
    return gone


def read_keys(home: Path) -> list[ApiKey]:
    """The keys of a home; none where there is no file. Raises StoreError where it cannot be used."""
    file = home / KEYS_FILE
    try:
        return _File.model_validate_json(file.read_bytes()).keys
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is damaged"
        raise StoreError(
            f"{file} cannot be read: {why}.",
            repair="Restore it, or delete it and make the keys anew with omni key create.",
        ) from error


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def _write(home: Path, keys: list[ApiKey]) -> None:
    with replacing(home / KEYS_FILE) as part:
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
        part.write_text(_File(keys=keys).model_dump_json(indent=1) + "\n", encoding="utf-8")
