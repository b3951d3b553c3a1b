"""Log, identity, consents, caps, erasure and the online store against a reference in memory, over random histories.

The reference below is all that a customer's history may depend on. People are numbers: each has a customer id and one cookie.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from features.events.schema import EVENT_SCHEMA
from features.log.engines import open_log
from features.log.event_log import EventLog
from features.online.live import LiveStates
from features.online.reader import OnlineReader
from features.settings import Settings
from features.state.bought import bought_products
from features.state.event_arrays import contact_arrays, named_by_decisions
from features.state.exposed import all_exposures
from features.state.fold import customer_arrays, fold_customer
from features.state.order import in_order
from features.store.feature_store import Store
from features.stream import Applier
from features.vocabulary import Channel
from serving.decision.contacts import consents, contact_facts
from serving.decision.rules import Arm, Cap, Rules, check_arm
from serving.erasure import Eraser

PEOPLE = 4
START = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = 240
"""Every event has an hour of its own in these ten days; whoever erases does it in the middle of them."""
ERASED_AT = 120.5
CAP = Cap(max=2, days=4)
RULES = Rules(channel_caps={Channel.EMAIL: CAP}, overall_cap=Cap(max=16, days=1), opt_in_channels=())
KINDS = ("purchase", "send", "subscribe", "unsubscribe", "visit")
N_EXAMPLES = int(os.environ.get("OMNI_TEST_HISTORIES", "8"))
"""Histories per pair of engines; `make chaos` tries more."""


@dataclass(frozen=True)
class Row:
    """One event: whose id it names, if any, whether it carries their cookie, when and what."""

    event_id: str
    person: int
    named: bool
    cookie: bool
    hour: int
    kind: str


@dataclass
class Reference:
    """What the log should hold."""

    rows: dict[str, Row] = field(default_factory=dict)
    erased_ids: set[str] = field(default_factory=set)
    erased_until: dict[str, float] = field(default_factory=dict)

    def append(self, row: Row) -> str:
        names = [f"c{row.person}"] if row.named else [f"k{row.person}"]
        gone = any(row.hour < self.erased_until.get(name, -1) for name in names)
        if row.event_id in self.rows:
            return "duplicate"
        if row.event_id in self.erased_ids or gone:
            return "erased"
        self.rows[row.event_id] = row
        return "appended"

    def joined(self, person: int) -> bool:
        return any(row.person == person and row.named and row.cookie for row in self.rows.values())

    def of(self, person: int, named: bool) -> list[Row]:
        """The events of the customer with this id, or of the visitor with this cookie, in time order."""
        joined = self.joined(person)
        rows = [row for row in self.rows.values() if row.person == person and (joined or row.named == named)]
        return sorted(rows, key=lambda row: row.hour)

    def erase(self, person: int, named: bool) -> None:
        rows, joined = self.of(person, named), self.joined(person)
        if not rows:
            return
        until = max(ERASED_AT, max(row.hour for row in rows) + 0.1)
        for name in {f"c{person}" if named else f"k{person}", *([f"c{person}", f"k{person}"] if joined else [])}:
            self.erased_until[name] = max(until, self.erased_until.get(name, 0))
        self.erased_ids |= {row.event_id for row in rows}
        self.rows = {key: row for key, row in self.rows.items() if row not in rows}


class Engines:
    """A log, an online store and the stream between them; one for all histories, whose people have names of their own."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self._store = store
        self.n_histories = 0
        self.open()

    def open(self) -> None:
        self.log: EventLog = open_log(self.settings)
        self.reader = OnlineReader(self.settings)
        self.applier = Applier(self.log, self._store.online, self.reader, self.settings)
        self.eraser = Eraser(self.settings, self.log)

    def close(self) -> None:
        self.reader.close()
        self.log.close()


@pytest.fixture(params=["files", "servers"])
def engines(request: pytest.FixtureRequest, tmp_path: Path, kit: ModuleType) -> Iterator[Engines]:
    places = {}
    if request.param == "servers":
        redis, postgres = request.getfixturevalue("new_redis")(), request.getfixturevalue("new_postgres")()
        places = {"OMNI_ONLINE_STORE": "redis", "OMNI_REDIS": redis, "OMNI_EVENT_LOG": postgres}
    store, _ = kit.make_store(tmp_path / "home", [], places)
    clock_start = (START + timedelta(hours=ERASED_AT)).isoformat()
    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home"), "OMNI_CLOCK_START": clock_start, **places})
    with closing(Engines(settings, store)) as opened:
        yield opened


class Histories(RuleBasedStateMachine):
    """Events arrive in any order and again, people are erased, the stream runs now and then, processes start anew."""

    def __init__(self, engines: Engines) -> None:
        super().__init__()
        self.engines = engines
        self.reference = Reference()
        engines.n_histories += 1
        self.prefix = f"h{engines.n_histories}-"

    @initialize(hours=st.permutations(range(HOURS)))
    def begin(self, hours: list[int]) -> None:
        self.hours = hours

    @rule(
        people=st.lists(
            st.tuples(
                st.integers(0, PEOPLE - 1),
                st.sampled_from([(True, False), (False, True), (True, True)]),
                st.sampled_from(KINDS),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def append(self, people: list[tuple[int, tuple[bool, bool], str]]) -> None:
        rows = []
        for person, (named, cookie), kind in people:
            hour = self.hours.pop()
            rows.append(Row(f"{self.prefix}{hour}", person, named, cookie, hour, kind))
        self._append(rows)

    @precondition(lambda self: self.reference.rows or self.reference.erased_ids)
    @rule(data=st.data())
    def append_again(self, data: st.DataObject) -> None:
        ids = sorted(set(self.reference.rows) | self.reference.erased_ids)
        event_id = data.draw(st.sampled_from(ids))
        row = self.reference.rows.get(event_id) or Row(event_id, PEOPLE, True, False, 0, "visit")
        self._append([row])

    @rule(person=st.integers(0, PEOPLE - 1), named=st.booleans(), at_once=st.booleans())
    def erase(self, person: int, named: bool, at_once: bool) -> None:
        self.engines.eraser.begin(f"{self.prefix}c{person}" if named else f"cookie:{self.prefix}k{person}")
        self.reference.erase(person, named)
        if at_once:
            self.engines.eraser.finish()

    @rule()
    def stream(self) -> None:
        self.engines.applier.run_once()

    @rule()
    def start_anew(self) -> None:
        self.engines.close()
        self.engines.open()

    @invariant()
    def every_customer_is_as_in_the_reference(self) -> None:
        states = LiveStates(self.engines.reader, self.engines.log)
        for person in range(PEOPLE):
            for named in (True, False):
                self._compare(person, named, states)

    def teardown(self) -> None:
        self.engines.eraser.finish()
        self.engines.applier.run_once()
        self.every_customer_is_as_in_the_reference()

    def _append(self, rows: list[Row]) -> None:
        expected = [self.reference.append(row) for row in rows]
        result = self.engines.log.append(self._table(rows))
        counts = (result.appended, result.duplicates, result.erased)
        assert counts == tuple(expected.count(outcome) for outcome in ("appended", "duplicate", "erased"))

    def _table(self, rows: list[Row]) -> pa.Table:
        columns = [
            {
                "event_id": row.event_id,
                "occurred_at": START + timedelta(hours=row.hour),
                "kind": row.kind,
                "channel": "email" if row.kind in ("send", "subscribe", "unsubscribe") else "web",
                "customer_id": f"{self.prefix}c{row.person}" if row.named else None,
                "identifiers": [("cookie", f"{self.prefix}k{row.person}")] if row.cookie else None,
            }
            for row in rows
        ]
        return pa.Table.from_pylist(columns, schema=EVENT_SCHEMA)

    def _compare(self, person: int, named: bool, states: LiveStates) -> None:
        expected = self.reference.of(person, named)
        named = named or self.reference.joined(person)
        cookie = f"{self.prefix}k{person}"
        name = f"{self.prefix}c{person}" if named else f"anon:cookie:{cookie}"
        if not named:
            assert self.engines.log.resolve(None, {"cookie": cookie}) == (name if expected else None)
        elif self.reference.joined(person):
            assert self.engines.log.resolve(None, {"cookie": cookie}) == name
        events = self.engines.log.customer_events(name)
        assert events["event_id"].to_pylist() == [row.event_id for row in expected]
        contacts = contact_arrays(self.engines.log.contacts(name))
        few, all_ = all_exposures(in_order(named_by_decisions(contacts))), all_exposures(customer_arrays(events))
        assert [vars(few)[name].tolist() for name in vars(all_)] == [column.tolist() for column in vars(all_).values()]
        bought, all_ = (bought_products(customer_arrays(part)) for part in (self.engines.log.purchases(name), events))
        assert [vars(bought)[name].tolist() for name in vars(all_)] == [
            column.tolist() for column in vars(all_).values()
        ]
        live = states.get(name)
        if live is None:
            assert not expected
            return
        folded = fold_customer(events)
        assert live.state.scalar("n_occasions").tolist() == folded.scalar("n_occasions").tolist()
        said = [row.kind == "subscribe" for row in expected if row.kind in ("subscribe", "unsubscribe")]
        assert consents(live.state).get(Channel.EMAIL) == (said[-1] if said else None)
        n_sent = sum(row.kind == "send" and HOURS - row.hour < CAP.days * 24 for row in expected)
        at_end = START + timedelta(hours=HOURS)
        reasons = check_arm(Arm("mail", Channel.EMAIL), contact_facts(live.state), RULES, at_end.timestamp()).reasons
        assert any("is the cap" in reason for reason in reasons) == (n_sent >= CAP.max)


def test_any_history_is_as_in_the_reference(engines: Engines) -> None:
    run_state_machine_as_test(
        partial(Histories, engines),
        settings=hypothesis_settings(max_examples=N_EXAMPLES, stateful_step_count=15, deadline=None),
    )
