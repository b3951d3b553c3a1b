"""Feast's online store in Redis, read and cleared without Feast: entities in, their rows out.

Feast keeps one hash per entity, which holds the rows of all its views; a field's name is a hash of `view:field`. It
notes when a row was true and not when it was written, so that is told from the expiry that every write sets anew.
Format: https://github.com/feast-dev/feast/blob/master/docs/specs/online_store_format.md
"""

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import mmh3

from features.clock import Clock
from features.errors import SettingsError, StoreError, UnavailableError
from features.online.feast_codec import (
    decode_value,
    decode_varints,
    entity_key,
    entity_key_prefix,
    entity_value,
)
from features.online.source import StoredRow
from features.settings import Settings
from features.views import ONLINE_KEY_TTL, PROJECT, View

try:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import (
        AuthenticationError,
        AuthenticationWrongNumberOfArgsError,
        NoPermissionError,
        RedisError,
    )
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.exceptions import TimeoutError as RedisTimeoutError
    from redis.retry import Retry
except ImportError as error:
    raise SettingsError(
        "OMNI_ONLINE_STORE is 'redis', and its client is not installed.",
        repair="Install it: pip install -e '.[redis]' -c constraints.txt",
    ) from error

_READ_KEYS: Final = 1_000
"""Entities that are asked for in one go."""
_PROJECT: Final = PROJECT.encode()
_PATIENCE: Final[dict[str, Any]] = {
    "socket_timeout": 2.0,
    "socket_connect_timeout": 2.0,
    "retry": Retry(NoBackoff(), 1, (RedisConnectionError,)),
}
"""A server that does not answer must be known as such before whoever asks gives up; one that was restarted is asked again."""
_TIMEOUTS: Final = ("socket_timeout", "socket_connect_timeout")


def online_key(join_key: str, value: str) -> bytes:
    """The key under which Feast keeps all that is online of one entity: delete it, and nothing is left."""
    return entity_key(join_key, value) + _PROJECT


def connect(settings: Settings, timeout_s: float | None = None) -> "Redis":
    """A client of the server at `settings.redis_url`, written as Feast reads it: `host:port,db=0,password=…`.

    It waits for an answer for `timeout_s`, or two seconds; timeouts among the options of the address win.
    """
    patience = _PATIENCE if timeout_s is None else _PATIENCE | dict.fromkeys(_TIMEOUTS, timeout_s)
    places, options = [], {}
    for part in settings.redis_url.split(","):
        name, equals, value = part.partition("=")
        if equals:
            options[name] = _parse_option(value)
        else:
            places.append(part.split(":"))
    if len(places) != 1 or len(places[0]) != 2 or not places[0][1].isdigit():
        raise SettingsError(
            f"OMNI_REDIS is {settings.redis_place!r}, which is not the address of one server.",
            repair="Write it as host:port, with options after it: host:6379,db=0,ssl=true,password=secret",
        )
    try:
        return Redis(host=places[0][0], port=int(places[0][1]), **{**patience, **options})
    except TypeError as error:
        raise SettingsError(
            f"OMNI_REDIS has an option that Redis' client does not know ({error}).",
            repair="Write it as host:port, with options after it: host:6379,db=0,ssl=true,password=secret",
        ) from error


@contextmanager
def saying_where(settings: Settings) -> Iterator[None]:
    """Turn the client's errors into ours: a server that refuses us, one that cannot be reached, one that cannot do it."""
    place = f"The online store at {settings.redis_place}"
    try:
        yield
    except (AuthenticationError, AuthenticationWrongNumberOfArgsError, NoPermissionError) as error:
        raise StoreError(
            f"{place} refuses the password or the user ({error}).",
            repair="Write them into OMNI_REDIS, for example host:6379,username=omni,password=secret.",
        ) from error
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise UnavailableError(
            f"{place} does not answer ({error}).", repair="Start Redis, or set OMNI_REDIS to where it is."
        ) from error
    except RedisError as error:
        raise StoreError(
            f"{place} cannot do it ({error}).", repair="Check the options in OMNI_REDIS, and the server's own log."
        ) from error


class RedisEntities:
    """Entities with one join key, to be taken out of Redis: a hash each, with the rows of all their views."""

    def __init__(self, settings: Settings, join_key: str) -> None:
        self._settings = settings
        self._join_key = join_key
        self._client: Any = connect(settings)

    def names(self) -> set[str]:
        with saying_where(self._settings):
            return {entity_value(key.removesuffix(_PROJECT)) for key in _scan(self._client, self._join_key)}

    def remove(self, names: Sequence[str]) -> int:
        return self._count("delete", names)

    def clear(self) -> None:
        """Delete everybody's rows."""
        with saying_where(self._settings):
            keys = sorted(_scan(self._client, self._join_key))
            for start in range(0, len(keys), _READ_KEYS):
                self._client.delete(*keys[start : start + _READ_KEYS])

    def count(self, names: Sequence[str]) -> int:
        return self._count("exists", names)

    def close(self) -> None:
        self._client.close()

    def _count(self, command: str, names: Sequence[str]) -> int:
        """How many keys a command over many of them was about."""
        keys = [online_key(self._join_key, name) for name in names]
        with saying_where(self._settings):
            return sum(
                int(getattr(self._client, command)(*keys[start : start + _READ_KEYS]))
                for start in range(0, len(keys), _READ_KEYS)
            )


class RedisSource:
    """Shares a pool of connections among threads."""

    def __init__(self, settings: Settings, clock: Clock, timeout_s: float | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._client: Any = connect(
            settings, timeout_s
        )  # its type hints take texts only, where Feast's names are bytes

    def read(self, views: Sequence[View], value: str) -> list[StoredRow | None]:
        return self.read_many(views, [value])[value]

    def read_many(self, views: Sequence[View], values: Sequence[str]) -> dict[str, list[StoredRow | None]]:
        names = [name for view in views for name in names_of(view)]
        answers = self._ask(
            # one command reads all views as they are at one moment
            lambda pipeline, value: pipeline.hmget(key := online_key(views[0].join_key, value), names).pttl(key),
            values,
        )
        now, rows = self._clock.now(), {}
        for value, stored, left_ms in zip(values, answers[::2], answers[1::2], strict=True):
            written_at = now - ONLINE_KEY_TTL + timedelta(milliseconds=left_ms) if left_ms >= 0 else None
            rows[value] = _rows(views, stored, written_at)
        return rows

    def read_field(self, view: View, field: str, values: Sequence[str]) -> dict[str, tuple[Any, datetime]]:
        names, dtype = [names_of(view)[0], _field_name(view, field)], dict(view.fields)[field]
        answers = self._ask(lambda pipeline, value: pipeline.hmget(online_key(view.join_key, value), names), values)
        return {
            value: (decode_value(stored, dtype), _from_timestamp(moment))
            for value, (moment, stored) in zip(values, answers, strict=True)
            if moment is not None and stored is not None
        }

    def read_all(self, view: View) -> Iterator[tuple[str, StoredRow]]:
        with saying_where(self._settings):
            keys = list(_scan(self._client, view.join_key))
        for start in range(0, len(keys), _READ_KEYS):
            piece = keys[start : start + _READ_KEYS]
            pipeline = self._client.pipeline(transaction=False)
            for key in piece:
                pipeline.hmget(key, names_of(view))
            with saying_where(self._settings):
                answers = pipeline.execute()
            for key, stored in zip(piece, answers, strict=True):
                row = _row(view, stored, None)
                if row is not None:
                    yield entity_value(key.removesuffix(_PROJECT)), row

    def close(self) -> None:
        self._client.connection_pool.disconnect(inuse_connections=False)  # other threads may be in the middle of a read

    def _ask(self, put: Callable[[Any, str], object], values: Sequence[str]) -> list[Any]:
        """Answers to the commands that `put` puts in a pipeline for each of `values`, in that order."""
        answers: list[Any] = []
        for start in range(0, len(values), _READ_KEYS):
            pipeline = self._client.pipeline(transaction=False)
            for value in values[start : start + _READ_KEYS]:
                put(pipeline, value)
            with saying_where(self._settings):
                answers += pipeline.execute()
        return answers


def _scan(client: Any, join_key: str) -> set[bytes]:
    """The keys of all entities with that join key; Redis may name one several times while keys move."""
    pattern = _literally(entity_key_prefix(join_key)) + b"*" + _PROJECT
    return set(client.scan_iter(pattern, count=10_000))


def _rows(views: Sequence[View], stored: Sequence[bytes | None], written_at: datetime | None) -> list[StoredRow | None]:
    """The row of each view, of the values of all their `names_of`."""
    rows, start = [], 0
    for view in views:
        end = start + len(names_of(view))
        rows.append(_row(view, stored[start:end], written_at))
        start = end
    return rows


def _row(view: View, stored: Sequence[bytes | None], written_at: datetime | None) -> StoredRow | None:
    """The row that the values of `_names` make; where it is not known when it was written, it was when it was true."""
    moment, *values = stored
    if moment is None or None in values:
        return None
    fields = {
        name: decode_value(value, dtype)
        for (name, dtype), value in zip(view.fields, values, strict=True)
        if value is not None
    }
    event_at = _from_timestamp(moment)
    return StoredRow(fields, event_at, written_at or event_at)


@cache
def names_of(view: View) -> list[bytes]:
    """Names of the hash's fields that hold the moment and the values of a view's row."""
    return [f"_ts:{view.name}".encode(), *(_field_name(view, name) for name, _ in view.fields)]


def _field_name(view: View, field: str) -> bytes:
    return struct.pack("<I", mmh3.hash(f"{view.name}:{field}", signed=False))


def _from_timestamp(message: bytes) -> datetime:
    """A `google.protobuf.Timestamp`: seconds in field 1, nanoseconds in field 2."""
    numbers = decode_varints(message)
    return datetime.fromtimestamp(numbers.get(1, 0), UTC) + timedelta(microseconds=numbers.get(2, 0) // 1_000)


def _literally(text: bytes) -> bytes:
    """`text` for a glob pattern: none of its bytes stands for anything but itself."""
    return b"".join(b"\\" + bytes([byte]) if byte in b"*?[]\\^-" else bytes([byte]) for byte in text)


def _parse_option(value: str) -> Any:
    """As Feast does: numbers and true/false are what they look like, everything else is text."""
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value
