"""Consents by address: for whom an event speaks, and that batch, live and the rules agree about random stories."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features.build import build_features, fold_to_parquet
from features.checks.parity import check_parity
from features.errors import InputError
from features.events.schema import events_to_table, parse_events
from features.identity.addresses import event_id_for_others, spoken_for
from features.identity.resolution import IdentityConfig, load_identity_config, sighting_nodes
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.offline.timeline import build_timeline, count_events, read_timeline
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.settings import Settings
from features.state.batch import StateBatch
from features.state.encoding import decode
from features.state.fold import fold_customer
from features.state.layout import CONSENT
from features.vocabulary import CHANNEL_CODES

CONFIG = IdentityConfig()


def addresses(kind: str, channel: str, text: str, properties: Any = None, config: IdentityConfig = CONFIG) -> Any:
    """Whom an event by "ana email=e" speaks for, as type: answers."""
    customer, *pairs = text.split(" ")
    nodes = sighting_nodes(customer if customer != "-" else None, [pair.split("=") for pair in pairs])
    said = spoken_for(kind, channel, None, nodes, json.dumps(properties) if properties else None, config)
    return {node.id_type: answers and json.loads(answers) for node, answers in said.items()}


@pytest.mark.parametrize(
    ("kind", "channel", "who", "expected"),
    [
        ("unsubscribe", "email", "- email=e cookie=c", ["email"]),
        ("subscribe", "email", "- email=e cookie=c", ["email"]),
        ("unsubscribe", "sms", "- phone=p email=e", ["phone"]),
        ("unsubscribe", "call_center", "- phone=p", ["phone"]),
        ("unsubscribe", "push", "- device=d cookie=c", ["device"]),
        ("unsubscribe", "sms", "- email=e loyalty_card=L cookie=c", ["email", "loyalty_card"]),
        ("unsubscribe", "email", "- cookie=c device=kiosk", ["cookie"]),
        ("unsubscribe", "email", "- device=d", ["device"]),
        ("unsubscribe", "post", "- household=h", ["household"]),
        ("unsubscribe", "email", "ana email=e cookie=c device=kiosk", ["email"]),
        ("unsubscribe", "email", "ana cookie=c device=kiosk", []),
        ("subscribe", "email", "ana email=e", []),
        ("unsubscribe", "email", "ana", []),
        ("visit", "email", "- email=e", []),
    ],
)
def test_for_which_addresses_an_event_speaks(kind: str, channel: str, who: str, expected: list[str]) -> None:
    assert sorted(addresses(kind, channel, who)) == expected
    assert set(addresses(kind, channel, who).values()) <= {None}


def test_a_contract_is_nobody_elses() -> None:
    nodes = sighting_nodes(None, [("email", "e")])
    assert spoken_for("unsubscribe", "email", "plan", nodes, None, CONFIG) == {}


def test_a_profile_speaks_for_the_address_of_every_channel_that_it_answers_for() -> None:
    said = {"consent": {"email": False, "sms": True, "web": False}, "profiling": False, "preferred_channel": "sms"}
    assert addresses("profile", "web", "- email=e phone=p", said) == {
        "email": {"consent": {"email": False, "web": False}, "profiling": False},
        "phone": {"consent": {"sms": True, "web": False}, "profiling": False},
    }
    assert addresses("profile", "web", "ana email=e phone=p cookie=c", said) == {"email": {"consent": {"email": False}}}
    assert addresses("profile", "web", "- email=e", {"preferred_channel": "sms"}) == {}
    assert addresses("profile", "web", "- email=e") == {}


def test_addresses_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "identity.toml").write_text('[addresses]\npush = ["device", "push_token"]\nemail = []\n')
    config = load_identity_config(tmp_path)
    assert addresses("unsubscribe", "push", "ana push_token=t", config=config) == {"push_token": None}
    assert addresses("unsubscribe", "email", "ana email=e", config=config) == {}
    assert addresses("unsubscribe", "sms", "ana phone=p", config=config) == {"phone": None}
    (tmp_path / "identity.toml").write_text('[addresses]\nletter = ["street"]\n')
    with pytest.raises(InputError, match=r"there is no key addresses.letter.*Known keys: web, app, email"):
        load_identity_config(tmp_path)


Said = tuple[int, str | None, Mapping[str, str], str, str, Any]
"""Day, customer, identifiers, kind, channel, properties."""


def to_events(story: Sequence[Said], kit: Any, first: int = 0) -> pa.Table:
    items = [
        {
            "event_id": f"e{first + number}",
            "occurred_at": kit.at(day).isoformat(),
            "kind": kind,
            "channel": channel,
            "customer_id": customer,
            "identifiers": dict(identifiers) or None,
            "properties": properties,
            "decision_id": "d" if kind == "decision" else None,
        }
        for number, (day, customer, identifiers, kind, channel, properties) in enumerate(story)
    ]
    events, rejections = parse_events(items, kit.at(100))
    assert rejections == []
    return events_to_table(events)


def consent(state: StateBatch, channel: str = "email") -> float:
    """1 yes, 0 no, -1 never asked."""
    return float(state.channels[0, CHANNEL_CODES[channel], CONSENT])


CUSTOMERS = st.sampled_from([None, None, "ana", "bob", "cyd"])
PAIRS = st.dictionaries(st.sampled_from(["cookie", "device", "email", "phone"]), st.sampled_from("xy"), max_size=3)
KINDS = st.sampled_from(
    [
        ("visit", "web", None),
        ("unsubscribe", "email", None),
        ("subscribe", "email", None),
        ("unsubscribe", "sms", None),
        ("subscribe", "push", None),
        ("profile", "web", {"consent": {"email": False, "sms": True}}),
        ("profile", "web", {"consent": {"email": True, "push": False}, "profiling": False}),
    ]
)
STORY = st.lists(
    st.tuples(st.integers(0, 20), CUSTOMERS, PAIRS, KINDS)
    .filter(lambda event: event[1] or event[2])
    .map(lambda event: (*event[:3], *event[3])),
    min_size=1,
    max_size=12,
)
LATER_HOLDER: list[Said] = [
    (1, "ana", {"email": "x"}, "visit", "web", None),
    (1, "bob", {}, "subscribe", "email", None),
    (2, None, {"email": "x"}, "unsubscribe", "email", None),
    (4, "bob", {"email": "x"}, "visit", "web", None),
]
TWO_ANSWERS_AT_ONCE: list[Said] = [
    (0, "ana", {"cookie": "x", "email": "x"}, "visit", "web", None),
    (5, "bob", {"cookie": "x", "email": "x"}, "unsubscribe", "email", None),
    *[(9, "cyd", {}, "visit", "web", None)] * 8,
    (5, None, {"cookie": "x"}, "subscribe", "email", None),
]
"""Of others' answers at one moment the same one counts last in every log, whatever else is in it."""


def expected_consents(story: Sequence[Said], owners: Sequence[str]) -> dict[tuple[str, str], set[float]]:
    """By customer and channel what they must have answered last, by the rules' own words and nothing of the code.

    Where several things were said at one moment, any of them.
    """
    holders: dict[tuple[str, str], set[str]] = {}
    for (_, _, identifiers, *_), owner in zip(story, owners, strict=True):
        for pair in identifiers.items():
            holders.setdefault(pair, set()).add(owner)
    own = {"email": "email", "sms": "phone", "push": "device"}
    said: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for (day, customer, identifiers, kind, channel, properties), owner in zip(story, owners, strict=True):
        answers = {channel: kind == "subscribe"} if kind != "profile" else properties["consent"]
        for about, yes in answers.items() if kind != "visit" else ():
            governed = {owner}
            speaks_for = [pair for pair in identifiers.items() if pair[0] == own[about]]
            if not customer and not speaks_for:
                speaks_for = [pair for pair in identifiers.items() if pair[0] in ("email", "phone")]
                rest = [pair for name in ("cookie", "device") for pair in identifiers.items() if pair[0] == name]
                speaks_for = speaks_for or rest[:1]
            if not (customer and yes):
                governed = governed.union(*(holders[pair] for pair in speaks_for))
            for name in governed:
                said.setdefault((name, about), []).append((day, float(yes)))
    return {key: {yes for day, yes in listed if day == max(day for day, _ in listed)} for key, listed in said.items()}


def owners_of(log: EventLog, story: Sequence[Said]) -> list[str]:
    rows = pa.concat_tables(log.read())
    by_id = dict(zip(rows["event_id"].to_pylist(), rows["resolved_customer_id"].to_pylist(), strict=True))
    return [by_id[f"e{number}"] for number in range(len(story))]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=STORY, cuts=st.lists(st.integers(1, 4), max_size=6), order=st.randoms(), data=st.data())
def test_live_follows_the_rules_whatever_arrives_when(
    story: list[Said], cuts: list[int], order: Any, data: st.DataObject, kit: Any, tmp_path_factory: Any
) -> None:
    """Rows of the online store are taken at any moment and read later: what has been said since is in every answer."""
    log = open_log(Settings.from_env({"OMNI_HOME": str(tmp_path_factory.mktemp("home"))}))
    rows = list(range(len(story)))
    order.shuffle(rows)
    events, start, stored = to_events(story, kit).take(pa.array(rows)), 0, _Online()
    states = LiveStates(stored, log)
    for cut in [*cuts, len(rows)]:
        log.append(events.slice(start, cut))
        start += cut
        for name in sorted({name for batch in log.read() for name in batch["resolved_customer_id"].to_pylist()}):
            if data.draw(st.booleans()):
                stored.keep(name, states.get(name), log.last_seq())
    owners = owners_of(log, story)
    for name in set(owners):
        live, whole = states.get(name), fold_customer(log.customer_events(name))
        assert live is not None
        kit.assert_same_states(live.state, whole)
    for (name, channel), answers in expected_consents(story, owners).items():
        live = states.get(name)
        assert live is not None and consent(live.state, channel) in answers
    log.close()


class _Online:
    """An online store in memory."""

    def __init__(self) -> None:
        self._rows: dict[str, Any] = {}

    def keep(self, name: str, live: Any, seq: int) -> None:
        if live is not None:
            self._rows[name] = _Row(live.state, seq)

    def read_state(self, customer_id: str) -> Any:
        return self._rows.get(customer_id)


class _Row:
    updated_at = None

    def __init__(self, state: StateBatch, last_seq: int) -> None:
        self.state, self.last_seq = state, last_seq


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=STORY)
@example(story=LATER_HOLDER)
@example(story=TWO_ANSWERS_AT_ONCE)
def test_the_build_knows_at_every_moment_what_a_log_of_then_knows(
    story: list[Said], kit: Any, tmp_path_factory: Any
) -> None:
    home = Settings.from_env({"OMNI_HOME": str(tmp_path_factory.mktemp("home"))})
    log, events = open_log(home), to_events(story, kit)
    log.append(events)
    rows = fold_only(home, log)
    now = dict(zip(events["event_id"].to_pylist(), owners_of(log, story), strict=True))
    log.close()
    moments = events["occurred_at"].to_pylist()
    for upto in sorted(set(moments)):
        prefix = open_log(Settings.from_env({"OMNI_HOME": str(tmp_path_factory.mktemp("prefix"))}))
        prefix.append(events.filter(pa.array([moment <= upto for moment in moments])))
        for name in set(now.values()):
            theirs = prefix.customer_events(name)
            if prefix.resolve(name, {}) != name or name not in map(now.get, theirs["event_id"].to_pylist()):
                continue  # known by another name then, or the name was somebody else's
            mask = zip(rows["customer_id"].to_pylist(), rows["event_timestamp"].to_pylist(), strict=True)
            known = rows.filter(pa.array([row == name and moment <= upto for row, moment in mask], pa.bool_()))
            stored, whole = decode(known.slice(known.num_rows - 1), None), fold_customer(theirs)
            np.testing.assert_array_equal(stored.channels, whole.channels)
            np.testing.assert_array_equal(stored.scalars, whole.scalars)
            np.testing.assert_array_equal(stored.pair_stats.values, whole.pair_stats.values)
        prefix.close()


def fold_only(home: Settings, log: EventLog) -> pa.Table:
    """The state rows of a build, in order of time."""
    fold_to_parquet(home, build_timeline(log, home, lambda _: None), lambda _: None)
    return pq.read_table(home.customer_state_path).sort_by("event_timestamp")


FAMILY: list[Said] = [
    (1, "ana", {"email": "f"}, "subscribe", "email", None),
    (2, "bob", {"email": "f"}, "subscribe", "email", None),
    (3, "cyd", {}, "subscribe", "email", None),
    (4, None, {"email": "f"}, "unsubscribe", "email", None),
    (6, "cyd", {"email": "f"}, "visit", "web", None),
    (7, "bob", {}, "subscribe", "email", None),
]


def test_a_build_an_answer_and_parity_agree_about_a_family(tmp_path: Path, kit: Any) -> None:
    home = Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_CLOCK_START": kit.at(100).isoformat()})
    log, reader = open_log(home), OnlineReader(home)
    log.append(to_events(FAMILY[:4], kit))
    assert build_features(home, lambda _: None).events == 4
    live = LiveStates(reader, log)
    assert [consent(live.get(name).state) for name in ("ana", "bob", "cyd")] == [0, 0, 1]
    assert live.get("ana").fresh_events == 0
    log.append(to_events(FAMILY[4:], kit, first=4))
    assert [consent(live.get(name).state) for name in ("ana", "bob", "cyd")] == [0, 1, 0]

    assert build_features(home, lambda _: None).rebuilt
    assert not build_features(home, lambda _: None).rebuilt
    timeline = read_timeline(home, ["customer_id", "event_id"]).to_pylist()
    others = sorted(row["customer_id"] for row in timeline if row["event_id"] == event_id_for_others("e3", 4))
    assert others == ["ana", "bob", "cyd"]
    assert (len(timeline), count_events(home.timeline_path)) == (9, 6)
    rows = pq.read_table(home.customer_state_path).sort_by("event_timestamp").to_pylist()
    assert [row["event_timestamp"] for row in rows if row["customer_id"] == "cyd"] == [kit.at(3), kit.at(6)]
    decision = [(8, "bob", {}, "decision", "web", None)]
    log.append(to_events(decision, kit, first=6))
    level = build_features(home, lambda _: None)  # the decision alone is put into the timeline
    assert (level.rebuilt, level.events) == (False, 7)
    for name in ("ana", "bob", "cyd"):
        stored = live.get(name)
        assert stored.fresh_events == 0
        kit.assert_same_states(stored.state, fold_customer(log.customer_events(name)))
    log.close()
    parity = check_parity(home, customers=8, seed=0, progress=lambda _: None)
    assert (parity.customers, parity.put_together, parity.different) == (4, 1, 0)


def test_what_was_said_later_or_found_out_later_changes_no_state_of_before(tmp_path: Path, kit: Any) -> None:
    before = _states(tmp_path / "before", FAMILY[:3], kit)
    after = _states(tmp_path / "after", FAMILY, kit)
    assert before == {key: row for key, row in after.items() if key[1] <= kit.at(3)}


def _states(folder: Path, story: Sequence[Said], kit: Any) -> dict[Any, str]:
    home = Settings.from_env({"OMNI_HOME": str(folder)})
    log = open_log(home)
    log.append(to_events(story, kit))
    rows = fold_only(home, log).to_pylist()
    log.close()
    return {(row["customer_id"], row["event_timestamp"]): str(row) for row in rows}  # NaN is like NaN as a text


def test_what_others_said_is_nothing_that_the_customer_did(tmp_path: Path, kit: Any) -> None:
    story = [
        (1, "ana", {"email": "f"}, "visit", "web", None),
        (2, "bob", {}, "visit", "web", None),
        (1.5, None, {"email": "f"}, "unsubscribe", "email", None),
        (3, "bob", {"email": "f"}, "visit", "web", None),
        (4, None, {"email": "f"}, "unsubscribe", "email", None),
    ]
    home = Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_CLOCK_START": kit.at(100).isoformat()})
    log = open_log(home)
    log.append(to_events(story, kit))
    bob = fold_customer(log.customer_events("bob"))
    assert consent(bob) == 0
    assert bob.scalar("first_seen").tolist() == [kit.at(2).timestamp()]
    assert bob.scalar("last_action").tolist() == [kit.at(3).timestamp()]
    assert bob.scalar("n_action_occasions").tolist() == [2]
    assert np.isnan(bob.scalar("last_store")).all()
    rows = fold_only(home, log)
    built = decode(rows.filter(pc.equal(rows["customer_id"], "bob")), None)
    assert built.scalar("n_action_occasions").tolist() == [1, 2, 2]
    assert built.scalar("first_seen").tolist() == [kit.at(2).timestamp()] * 3
    log.close()
