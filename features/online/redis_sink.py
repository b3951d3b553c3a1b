"""Feast's online store in Redis, written without Feast: rows of views in, the hashes of their entities out."""

from collections.abc import Sequence
from typing import Any, Final

from features.online.feast_codec import encode_varints
from features.online.redis import connect, names_of, online_key, saying_where
from features.online.writer import OnlineRow
from features.settings import Settings
from features.views import ONLINE_KEY_TTL, View

_TTL_S: Final = int(ONLINE_KEY_TTL.total_seconds())


class RedisSink:
    """One pipeline for all rows; shares a pool of connections among threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Any = connect(settings)

    def write(self, written: Sequence[tuple[View, Sequence[OnlineRow]]]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for view, rows in written:
            names = names_of(view)
            for row in rows:
                key = online_key(view.join_key, row.entity)
                seconds, rest_us = divmod(row.event_us, 1_000_000)
                moment = encode_varints({1: seconds, 2: rest_us * 1_000})
                pipeline.hset(key, mapping=dict(zip(names, [moment, *row.stored], strict=True)))
                pipeline.expire(key, _TTL_S)
        with saying_where(self._settings):
            pipeline.execute()

    def close(self) -> None:
        self._client.close()
