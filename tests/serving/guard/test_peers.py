"""Shares of peers: limits hold whatever comes, the oldest of the heaviest goes, and who takes little loses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.guard.peers import Shares, peer_of


@pytest.mark.parametrize(
    ("host", "peer"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        (None, ""),
    ],
)
def test_peers_are_told_apart(host: str | None, peer: str) -> None:
    assert peer_of(host) == peer


def test_the_oldest_of_who_has_too_many_goes() -> None:
    shares: Shares[str] = Shares(per_peer=2, overall=10)
    assert shares.put("a", "a1") == shares.put("a", "a2") == shares.put("b", "b1") == []
    assert shares.put("a", "a3") == ["a1"]
    shares.remove("a", "a1")  # it hears that it has gone, and says so itself
    assert len(shares) == 3


def test_the_heaviest_peer_gives_way_for_a_new_one() -> None:
    shares: Shares[str] = Shares(per_peer=5, overall=4)
    for name in ("a1", "a2", "a3", "b1"):
        assert shares.put(name[0], name) == []
    assert shares.put("c", "c1") == ["a1"]


def test_sizes_grow_and_are_limited() -> None:
    shares: Shares[str] = Shares(per_peer=9, overall=9, size_per_peer=10, size_overall=15)
    assert shares.put("a", "a1", 4) == shares.put("a", "a2", 4) == []
    assert shares.put("a", "a2", 7) == ["a1"]
    assert shares.put("b", "b1", 8) == []
    assert shares.put("b", "b1", 9) == ["b1"]
    assert shares.put("c", "c1", 30) == ["c1"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 6), st.integers(0, 12), st.booleans()), min_size=1, max_size=60
    )
)
def test_limits_hold_whatever_comes(steps: list[tuple[str, int, int, bool]]) -> None:
    shares: Shares[tuple[str, int]] = Shares(per_peer=3, overall=6, size_per_peer=14, size_overall=24)
    held: dict[tuple[str, int], int] = {}
    for peer, number, size, goes in steps:
        thing = (peer, number)
        if goes:
            shares.remove(peer, thing)
            held.pop(thing, None)
        else:
            held[thing] = size
            for gone in shares.put(peer, thing, size):
                del held[gone]
        mine = [held_size for (owner, _), held_size in held.items() if owner == peer]
        assert len(shares) == len(held) <= 6 and sum(held.values()) <= 24
        assert len(mine) <= 3 and sum(mine) <= 14
