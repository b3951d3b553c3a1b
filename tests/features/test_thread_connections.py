"""Connections of threads: each has its own, and none is left open when all are closed, whenever it was made."""

import threading

import pytest

from features.databases import ThreadConnections
from features.errors import StoreError


class Connection:
    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_a_connection_that_is_made_while_all_are_closed_is_closed_too() -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[Connection] = []
    errors: list[str] = []

    def connect() -> Connection:
        begun.set()
        go_on.wait(10)
        made.append(Connection())
        return made[-1]

    connections = ThreadConnections("The log", connect)

    def use() -> None:
        try:
            connections.mine()
        except StoreError as error:
            errors.append(str(error))

    thread = threading.Thread(target=use)
    thread.start()
    begun.wait(10)
    connections.close()
    go_on.set()
    thread.join(10)
    assert [connection.is_closed for connection in made] == [True]
    assert errors == ["The log is closed. Open it again."]


def test_threads_keep_their_own_and_all_are_closed_for_good() -> None:
    connections = ThreadConnections("The log", Connection)
    mine, others = connections.mine(), []
    thread = threading.Thread(target=lambda: others.append(connections.mine()))
    thread.start()
    thread.join()
    assert connections.mine() is mine and others[0] is not mine
    connections.close()
    assert mine.is_closed and others[0].is_closed
    with pytest.raises(StoreError, match="is closed"):
        connections.mine()
