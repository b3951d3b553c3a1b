"""Who holds how much: things of many peers in, and out comes whose turn it is to let go when there is too much of them."""

import ipaddress
from functools import lru_cache
from typing import Final, Generic, TypeVar

_NETWORK_BITS: Final = 64
"""What one site has of an IPv6 address: whoever holds one holds all of its addresses."""
T = TypeVar("T")


@lru_cache(maxsize=4_096)
def peer_of(host: str | None) -> str:
    """The name under which an address counts: itself, or its network where it is an IPv6 one."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or ""
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))


class Shares(Generic[T]):
    """Things that peers hold, each with a size, within limits of number and size per peer and over all peers."""

    def __init__(self, *, per_peer: int, overall: int, size_per_peer: int = 0, size_overall: int = 0) -> None:
        """Sizes of 0: they do not count."""
        self._per_peer, self._overall = per_peer, overall
        self._size_per_peer, self._size_overall = size_per_peer, size_overall
        self._held: dict[str, dict[T, int]] = {}
        self._sizes: dict[str, int] = {}
        self._n = 0
        self._size = 0

    def __len__(self) -> int:
        return self._n

    def put(self, peer: str, thing: T, size: int = 0) -> list[T]:
        """Count a thing, or its new size; returns what has to go for it, the oldest things of who holds most first."""
        things = self._held.setdefault(peer, {})
        grown = size - things.get(thing, 0)
        self._n += thing not in things
        self._size += grown
        self._sizes[peer] = self._sizes.get(peer, 0) + grown
        things[thing] = size
        gone: list[T] = []
        while len(things) > self._per_peer or 0 < self._size_per_peer < self._sizes.get(peer, 0):
            gone.append(self._drop_oldest(peer))
        while self._n > self._overall or 0 < self._size_overall < self._size:
            gone.append(self._drop_oldest(self._heaviest()))
        return gone

    def remove(self, peer: str, thing: T) -> None:
        """Count a thing no more; one that is gone already is passed over."""
        things = self._held.get(peer, {})
        if thing not in things:
            return
        size = things.pop(thing)
        self._n -= 1
        self._size -= size
        self._sizes[peer] -= size
        if not things:
            del self._held[peer], self._sizes[peer]

    def _drop_oldest(self, peer: str) -> T:
        oldest = next(iter(self._held[peer]))
        self.remove(peer, oldest)
        return oldest

    def _heaviest(self) -> str:
        if self._n > self._overall:
            return max(self._held, key=lambda peer: len(self._held[peer]))
        return max(self._sizes, key=lambda peer: self._sizes[peer])
