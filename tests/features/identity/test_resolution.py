"""Who is whom: the rules by example, and that neither the order of arrival nor what comes later changes what was true."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features.build import build_features
from features.checks.identity import explain, report
from features.checks.parity import check_parity
from features.errors import InputError, SettingsError
from features.identity.history import trace
from features.identity.identifiers import Identifiers, normalise
from features.identity.resolution import (
    IdentityConfig,
    Limits,
    Sighting,
    load_identity_config,
    resolve,
    sighting_nodes,
)
from features.ingest import ingest
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.log.identity import IdentityRules
from features.log.sqlite import SqliteEventLog
from features.log.tables import READ_SCHEMA
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.settings import Settings
from features.state.encoding import decode
from features.state.fold import fold_customer
from features.vocabulary import Columns

CONFIG = IdentityConfig()


def seen(*texts: str, config: IdentityConfig = CONFIG) -> list[list[str]]:
    """Customers from sightings like "ana cookie=c email=e", one a second: "name: numbers of their sightings"."""
    return grouped(sightings(texts), config)


def sightings(texts: Iterable[str]) -> list[Sighting]:
    found = []
    for second, text in enumerate(texts):
        customer, *pairs = text.split(" ")
        nodes = sighting_nodes(customer if customer != "-" else None, [pair.split("=") for pair in pairs])
        found.append(Sighting(second, nodes, second * 1_000_000))
    return found


def grouped(those: list[Sighting], config: IdentityConfig = CONFIG) -> list[list[str]]:
    groups, _ = resolve(those, config)
    return sorted([group.name, *map(str, sorted(group.keys))] for group in groups.all())


def test_identifiers_seen_together_are_one_customer() -> None:
    assert seen("- cookie=c", "- cookie=c email=e", "ana email=e", "- loyalty_card=L email=e", "- device=d", "bob") == [
        ["ana", "0", "1", "2", "3"],
        ["anon:device:d", "4"],
        ["bob", "5"],
    ]


def test_a_kiosk_joins_nobody_and_what_is_known_by_it_alone_is_its_own() -> None:
    assert seen("- device=k", "ana device=k", "bob device=k", "- device=k cookie=c") == [
        ["ana", "1"],
        ["anon:cookie:c", "3"],
        ["anon:device:k", "0"],
        ["bob", "2"],
    ]


def test_a_familys_address_joins_nobody_unless_two_ids_of_one_person_are_wanted() -> None:
    family = "web-7 email=e", "store-9 email=e", "- email=e"
    assert seen(*family) == [["anon:email:e", "2"], ["store-9", "1"], ["web-7", "0"]]
    two_systems = IdentityConfig(types={"email": Limits(max_customers=2)})
    assert seen(*family, config=two_systems) == [["web-7", "0", "1", "2"]]


def test_a_till_without_customer_ids_is_told_by_its_many_cards() -> None:
    cards = [f"- loyalty_card=L{i} device=till" for i in range(4)]
    assert len(seen(*cards[:3])) == 1
    assert seen(*cards) == [[f"anon:loyalty_card:L{i}", str(i)] for i in range(4)]


def test_a_guest_account_is_told_by_its_many_cookies() -> None:
    config = IdentityConfig(max_identifiers=3)
    guests = [f"guest cookie=c{i}" for i in range(4)]
    assert seen(*guests, config=config) == [[f"anon:cookie:c{i}", str(i)] for i in range(4)]


def test_a_chain_between_two_customers_is_cut_where_it_was_closed() -> None:
    chain = "ana cookie=c", "- cookie=c device=d", "bob cookie=b", "- cookie=b device=d"
    groups, shared = resolve(sightings(chain), CONFIG)
    assert sorted((group.name, sorted(group.keys)) for group in groups.all()) == [("ana", [0, 1, 3]), ("bob", [2])]
    assert [(refusal.sighting, str(refusal.node)) for refusal in groups.refused] == [(3, "cookie:b")]
    assert shared == frozenset()


def test_epochs_tell_what_was_whose_and_when() -> None:
    story = sightings(["- cookie=c", "ana", "ana cookie=c", "ana device=k", "bob device=k"])
    history = trace(story, CONFIG)
    assert history.names == {0: "ana", 1: "ana", 2: "ana", 3: "ana", 4: "bob"}
    ana = [(sorted(epoch.keys), epoch.from_us // 1_000_000) for epoch in history.epochs["ana"]]
    assert ana == [([1], 1), ([0, 1, 2, 3], 2)]  # the kiosk was seen with bob, but nothing had come of it for ana
    assert set(history.epochs) == {"ana"}


@pytest.mark.parametrize(
    ("id_type", "given", "kept"),
    [
        ("email", " Ada@Example.ORG ", "ada@example.org"),
        ("phone", "+49 (30) 12-34", "+49301234"),
        ("phone", "0049 30 1234", "+49301234"),
        ("phone", "030/1234", "0301234"),
        ("phone", "ext.", "ext."),
        ("cookie", " Abc ", "Abc"),
    ],
)
def test_one_form_of_each_identifier(id_type: str, given: str, kept: str) -> None:
    assert normalise(id_type, given) == kept


def test_with_a_key_no_address_is_kept() -> None:
    secret = Identifiers("s3cret", ("email", "phone"))
    kept = secret.kept("email", "Ada@x.org")
    assert kept.startswith("hash-") and "ada" not in kept
    assert kept == secret.kept("email", "ada@X.org ") == secret.kept("email", kept)
    assert kept != Identifiers("other", ("email",)).kept("email", "ada@x.org")
    assert kept != secret.kept("phone", "ada@x.org")
    assert secret.kept("cookie", "c") == "c"


def test_limits_of_ones_own(tmp_path: Path) -> None:
    assert load_identity_config(tmp_path) == CONFIG
    (tmp_path / "identity.toml").write_text("max_contacts = 5\n[types.email]\nmax_customers = 2\n")
    config = load_identity_config(tmp_path)
    assert (config.limits("device").max_contacts, config.limits("email").max_customers) == (5, 2)
    (tmp_path / "identity.toml").write_text("max_cards = 5\n")
    with pytest.raises(InputError, match=r"max_cards.*Known keys: max_customers"):
        load_identity_config(tmp_path)


CUSTOMERS = st.sampled_from([None, None, "ana", "bob", "cyd"])
PAIRS = st.dictionaries(
    st.sampled_from(["cookie", "device", "email", "loyalty_card"]), st.sampled_from("xyz"), max_size=3
)
STORY = st.lists(
    st.tuples(st.integers(0, 30), CUSTOMERS, PAIRS).filter(lambda event: event[1] or event[2]), min_size=1, max_size=12
)
CONFIGS = st.sampled_from([CONFIG, IdentityConfig(max_customers=2, max_contacts=1, max_identifiers=2)])


def to_events(story: list[tuple[int, str | None, dict[str, str]]], kit: Any) -> pa.Table:
    rows = [
        kit.Happening("?", day, "purchase", product=f"p{number % 3}", value=1.0)
        for number, (day, _, _) in enumerate(story)
    ]
    table = kit.to_events(rows)
    whose = pa.array([customer for _, customer, _ in story], pa.string())
    pairs = pa.array([list(found.items()) or None for _, _, found in story], table.schema.field("identifiers").type)
    for name, column in ((Columns.CUSTOMER_ID, whose), (Columns.IDENTIFIERS, pairs)):
        table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
    return table


def owners(log: EventLog) -> dict[str, str]:
    rows = pa.concat_tables([READ_SCHEMA.empty_table(), *log.read()])
    return dict(zip(rows["event_id"].to_pylist(), rows["resolved_customer_id"].to_pylist(), strict=True))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=STORY, config=CONFIGS, cuts=st.lists(st.integers(1, 4), max_size=6), order=st.randoms())
def test_neither_order_nor_batches_matter(
    story: list[Any], config: IdentityConfig, cuts: list[int], order: Any, kit: Any, tmp_path_factory: Any
) -> None:
    events = to_events(story, kit)
    rules = IdentityRules(config, Identifiers())
    whole = SqliteEventLog(tmp_path_factory.mktemp("whole") / "log.db", rules)
    whole.append(events)
    rows = list(range(len(story)))
    order.shuffle(rows)
    shuffled, parts = events.take(pa.array(rows)), SqliteEventLog(tmp_path_factory.mktemp("parts") / "log.db", rules)
    start = 0
    for cut in [*cuts, len(rows)]:
        parts.append(shuffled.slice(start, cut))
        start += cut
    assert owners(parts) == owners(whole)
    stored = [one.sighting for one in whole.identity().sightings()]
    assert trace(stored, config).names == {one.sighting.key: one.customer_id for one in whole.identity().sightings()}
    for log in (whole, parts):
        log.close()


APART_AGAIN = [
    (0, None, {"cookie": "y"}),
    (0, None, {"device": "x"}),
    (1, "ana", {"cookie": "y", "device": "x"}),
    (2, "bob", {"cookie": "y"}),
]
"""The cookie's visitor is Ana for a day, and on the next one somebody apart again, because Bob has the cookie, too."""


NAME_PASSED_ON = [
    (1, None, {"loyalty_card": "x"}),
    (1, "ana", {"loyalty_card": "x"}),
    (1, "bob", {"loyalty_card": "x"}),
    (0, None, {"cookie": "x", "device": "x", "loyalty_card": "x"}),
]
"""The card's name is a visitor's for a day; from the next one on two have the card, and the name is that of the card alone."""


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=STORY)
@example(story=APART_AGAIN)
@example(story=NAME_PASSED_ON)
def test_states_of_then_are_of_what_was_known_then(story: list[Any], kit: Any, tmp_path_factory: Any) -> None:
    """Every state of the build is the fold over what a log that ends there holds of the customer; none knows of later."""
    home = tmp_path_factory.mktemp("home")
    settings_ = Settings.from_env({"OMNI_HOME": str(home)})
    events = to_events(story, kit)
    log = open_log(settings_)
    log.append(events)
    rows = fold_only(settings_, log)
    moments, now = events["occurred_at"], owners(log)
    for upto in sorted(set(moments.to_pylist())):
        mask = pa.array([moment <= upto for moment in moments.to_pylist()])
        prefix = open_log(Settings.from_env({"OMNI_HOME": str(tmp_path_factory.mktemp("prefix"))}))
        prefix.append(events.filter(mask))
        for name in set(now.values()):
            theirs = prefix.customer_events(name)
            if prefix.resolve(name, {}) != name or name not in map(now.get, theirs["event_id"].to_pylist()):
                continue  # known by another name then, or the name was somebody else's
            known = rows.filter(pa.array([row == name for row in rows["customer_id"].to_pylist()]))
            known = known.filter(pa.array([moment <= upto for moment in known["event_timestamp"].to_pylist()]))
            stored = decode(known.slice(known.num_rows - 1), None)
            whole = fold_customer(theirs)
            np.testing.assert_array_equal(stored.scalars, whole.scalars)
            np.testing.assert_array_equal(stored.pair_stats.values, whole.pair_stats.values)
        prefix.close()
    log.close()


def fold_only(settings_: Settings, log: EventLog) -> pa.Table:
    """The state rows of a build, in order of time."""
    from features.build import fold_to_parquet
    from features.offline.timeline import build_timeline

    n_events = build_timeline(log, settings_, lambda _: None)
    fold_to_parquet(settings_, n_events, lambda _: None)
    return pq.read_table(settings_.customer_state_path).sort_by("event_timestamp")


def test_a_login_counts_at_once_and_the_build_agrees(tmp_path: Path, kit: Any) -> None:
    settings_ = Settings.from_env({"OMNI_HOME": str(tmp_path), "OMNI_CLOCK_START": kit.at(100).isoformat()})
    log = open_log(settings_)
    story = [(1, None, {"cookie": "c"}), (2, "ana", {}), (3, "bob", {"device": "k"}), (4, None, {"device": "k"})]
    log.append(to_events(story, kit))
    build_features(settings_, lambda _: None)
    live = LiveStates(OnlineReader(settings_), log)
    assert live.get("ana").state.scalar("n_occasions")[0] == 1
    assert live.get("bob").state.scalar("n_occasions")[0] == 2

    login = to_events([(5, "ana", {"cookie": "c", "device": "k"})], kit)
    log.append(login.set_column(0, login.schema.field(0), pa.array(["login"])))

    assert live.get("ana").state.scalar("n_occasions")[0] == 3  # the cookie's purchase is hers
    assert live.get("bob").state.scalar("n_occasions")[0] == 1  # the device has turned out to be a kiosk's
    assert live.get("anon:device:k").state.scalar("n_occasions")[0] == 1
    build_features(settings_, lambda _: None)
    for name in ("ana", "bob", "anon:device:k"):
        stored = live.get(name)
        assert stored.fresh_events == 0 and stored.updated_at is not None
        kit.assert_same_states(stored.state, fold_customer(log.customer_events(name)))
    log.close()
    parity = check_parity(settings_, customers=6, seed=0, progress=lambda _: None)
    assert (parity.put_together, parity.different, parity.values > 1_000) == (3, 0, True)


def test_why_somebody_is_who_they_are(tmp_path: Path, kit: Any) -> None:
    log = open_log(Settings.from_env({"OMNI_HOME": str(tmp_path)}))
    story = [
        (1, None, {"cookie": "c", "device": "d"}),
        (2, None, {"device": "d", "email": "e@x"}),
        (3, "ana", {"email": "e@x"}),
    ]
    log.append(to_events([*story, (4, "ana", {"device": "k"}), (5, "bob", {"device": "k"})], kit))
    found = explain(log, "cookie:c")
    assert found.customer_id == "ana" == explain(log, "e@x").customer_id == explain(log, "ana").customer_id
    assert found.identifiers == ("cookie:c", "customer_id:ana", "device:d", "email:e@x")
    assert [set(link.identifiers) for link in found.because] == [
        {"cookie:c", "device:d"},
        {"device:d", "email:e@x"},
        {"email:e@x", "ana"},
    ]
    assert [link.since for link in found.because] == [kit.at(day) for day in (1, 2, 3)]
    assert found.kept_apart == ("device:k is shared by many and joins nobody",)
    with pytest.raises(InputError, match="name of no customer"):
        explain(log, "nobody")
    whole = report(log)
    assert (whole.customers_with_identifiers, whole.put_together, whole.anonymous) == (2, 1, 0)
    assert whole.shared == {"device:k": 2}
    log.close()


def test_another_key_or_an_older_log_is_refused(tmp_path: Path, kit: Any) -> None:
    env = {"OMNI_HOME": str(tmp_path), "OMNI_IDENTIFIER_KEY": "one"}
    log = open_log(Settings.from_env(env))
    log.append(to_events([(1, "ana", {"email": "Ada@x.org"})], kit))
    assert log.resolve(None, {"email": "ada@X.org"}) == "ana"
    log.close()
    bad = tmp_path / "bad.csv"
    bad.write_text(
        "event_id,occurred_at,kind,channel,customer_id,identifiers\n"
        'x,2024-01-01T00:00:00Z,nothing,web,ana,"{""email"": ""Ada@x.org""}"\n'
    )
    assert ingest(str(bad), Settings.from_env(env)).rejected == 1
    bad.unlink()
    assert all(b"ada@x" not in path.read_bytes().lower() for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(SettingsError, match="another OMNI_IDENTIFIER_KEY"):
        open_log(Settings.from_env({**env, "OMNI_IDENTIFIER_KEY": "two"}))
    with pytest.raises(SettingsError, match="another OMNI_IDENTIFIER_KEY"):
        open_log(Settings.from_env({"OMNI_HOME": str(tmp_path)}))


def test_new_limits_hold_for_what_is_known_already(tmp_path: Path, kit: Any) -> None:
    settings_ = Settings.from_env({"OMNI_HOME": str(tmp_path)})
    log = open_log(settings_)
    log.append(to_events([(1, "ana", {"email": "x"}), (2, "bob", {"email": "x"})], kit))
    assert log.resolve("bob", {}) == "bob"
    log.close()
    (tmp_path / "identity.toml").write_text("[types.email]\nmax_customers = 2\n")
    log = open_log(settings_)
    more = to_events([(3, "cyd", {})], kit)
    log.append(more.set_column(0, more.schema.field(0), pa.array(["more"])))
    assert log.resolve("bob", {}) == "ana"
    assert log.regrouped_since(2) == {"ana": 3, "bob": 3}
    log.close()
