"""Whether a stream follows a home is known from its lock, and from nothing that one left behind."""

import threading

from features.online.follower import is_followed, stream_lock
from features.settings import Settings
from features.stream import _alone


def test_a_stream_that_runs_is_seen_and_one_that_ended_is_not(settings: Settings) -> None:
    assert not is_followed(settings)

    with _alone(settings, threading.Event()):
        assert is_followed(settings)

    assert stream_lock(settings).exists()
    assert not is_followed(settings)
