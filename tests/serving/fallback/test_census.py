"""Everybody is counted once for all workers: by whom, when again, and what a broken file does."""

import time
from datetime import timedelta

import numpy as np
import pytest

from features.clock import Clock
from features.errors import OmniError
from features.events.schema import events_to_table, parse_events
from features.log.sqlite import SqliteEventLog
from features.offline import build_note
from features.offline.build_note import BuildNote, write_note
from features.offline.timeline import build_timeline
from features.settings import Settings
from serving.decision.send_time import population_hours
from serving.fallback import census, whole
from serving.fallback.census import ANEW_S, EVERY_S, Census
from serving.fallback.kept import kept_path, read
from serving.fallback.population import ChurnRate, Population
from serving.fallback.whole import count_all, count_apart
from serving.products.catalogue import Catalogue
from serving.runtime import Runtime

SHOP = Catalogue()


class Workers:
    """Workers of one home, at one moment that is set; how often everybody, and what is newer, was counted."""

    def __init__(self, settings: Settings, log: SqliteEventLog, clock: Clock, patch: pytest.MonkeyPatch) -> None:
        self.settings, self.log, self.clock = settings, log, clock
        self.now_s, self.counted = 0.0, [0, 0]
        for place, name in enumerate(("count_all", "count_newer")):
            patch.setattr(census, name, self._counting(place, getattr(whole, name)))

    def _counting(self, place: int, count: object) -> object:
        def counting(*asked: object) -> object:
            self.counted[place] += 1
            return count(*asked)  # type: ignore[operator]

        return counting

    def new(self) -> Census:
        return Census(self.settings, self.log, self.clock, lambda: self.now_s)

    def buy(self, event_id: str, product_id: str) -> None:
        event = {"event_id": event_id, "kind": "purchase", "channel": "web", "customer_id": "c1"}
        now = self.clock.now()
        events, rejected = parse_events([{**event, "product_id": product_id, "occurred_at": now.isoformat()}], now)
        assert not rejected
        self.log.append(events_to_table(events))

    def build(self) -> BuildNote:
        """As far as it is looked at here."""
        n_events = build_timeline(self.log, self.settings, lambda _: None)
        places = build_note.places(self.settings)
        note = BuildNote("", "", self.log.last_seq(), n_events, 41, 0, "", places, str(self.log.anchor()))
        write_note(self.settings, note)
        return note


@pytest.fixture
def workers(
    shop_home: Settings, shop_log: SqliteEventLog, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> Workers:
    return Workers(shop_home, shop_log, runtime.clock, monkeypatch)


def population(worker: Census) -> Population:
    return worker.up_to_date(None, SHOP).population


def shares(found: Population, place: str) -> dict[str, float]:
    counts = found.sales.counts(place)
    return dict(zip(found.sales.product_ids, (counts / counts.max()).tolist(), strict=True))


def sold(worker: Census, product_id: str) -> float:
    sales = population(worker).sales
    return dict(zip(sales.product_ids, sales.counts("").tolist(), strict=True)).get(product_id, 0.0)


def test_one_counts_for_all(workers: Workers) -> None:
    first, second = (population(workers.new()) for _ in range(2))
    assert workers.counted == [1, 0]
    assert first.churn == second.churn == ChurnRate(28.0, 40, 30)
    assert first.version == second.version
    assert first.sales.counts("store:s2").tolist() == second.sales.counts("store:s2").tolist()


def test_what_is_newer_is_counted_once_a_minute_by_whoever_looks_first(workers: Workers) -> None:
    one, two = workers.new(), workers.new()
    assert sold(one, "jam") == sold(two, "jam") == 0.0
    workers.buy("new", "jam")
    assert sold(one, "jam") == 0.0
    workers.now_s += EVERY_S
    assert sold(two, "jam") == sold(one, "jam") > 0.0
    assert workers.counted == [1, 1]
    kept = read(kept_path(workers.settings))
    assert kept is not None and kept.basis.done_seq == workers.log.last_seq()


def test_the_same_counts_come_of_parts_and_of_the_whole(workers: Workers) -> None:
    worker = workers.new()
    population(worker)
    for n in range(3):
        workers.buy(f"new-{n}", f"jam-{n}")
    workers.now_s += EVERY_S
    parts = population(worker)
    whole = count_all(workers.settings, workers.log, workers.clock).population
    for place in whole.sales.places:
        assert shares(parts, place) == pytest.approx(shares(whole, place)), place
    assert (parts.contacts, parts.version) == (whole.contacts, whole.version)


def test_nobody_counts_where_nothing_happened(workers: Workers) -> None:
    worker = workers.new()
    before = worker.up_to_date(None, SHOP)
    workers.now_s += EVERY_S
    assert worker.up_to_date(before, SHOP) is before
    assert workers.counted == [1, 0]


@pytest.mark.parametrize("content", [b"", b"half of a file"])
def test_a_broken_file_is_counted_anew(workers: Workers, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    before = population(workers.new())
    kept_path(workers.settings).write_bytes(content)
    assert population(workers.new()).version == before.version
    assert workers.counted == [2, 0]
    assert "everybody is counted anew" in caplog.text
    assert read(kept_path(workers.settings)) is not None


def test_where_it_cannot_be_kept_each_counts_for_itself(workers: Workers, caplog: pytest.LogCaptureFixture) -> None:
    kept_path(workers.settings).mkdir(parents=True)
    assert population(workers.new()).churn == population(workers.new()).churn == ChurnRate(28.0, 40, 30)
    assert workers.counted == [2, 0]


def test_another_log_and_another_build_are_counted_anew(workers: Workers) -> None:
    worker = workers.new()
    population(worker)
    workers.log.renew_id()
    for n_counted, change in ((2, workers.build), (2, lambda: workers.buy("new", "jam")), (3, workers.build)):
        change()
        workers.now_s += EVERY_S
        population(worker)
        assert workers.counted[0] == n_counted
    kept = read(kept_path(workers.settings))
    assert kept is not None and kept.basis.build


def test_hours_are_those_of_the_timeline(workers: Workers) -> None:
    worker = workers.new()
    assert worker.hours() is None
    workers.build()
    assert worker.hours() is None
    population(worker)
    hours = worker.hours()
    assert hours is not None
    np.testing.assert_array_equal(hours, population_hours(workers.settings.timeline_path))
    workers.buy("new", "jam")
    workers.build()
    assert worker.hours() is None


@pytest.mark.parametrize(("later_s", "n_counted"), [(ANEW_S - 60, 1), (ANEW_S + 60, 2), (-60, 2)])
def test_a_log_without_a_build_is_counted_anew_each_hour(workers: Workers, later_s: float, n_counted: int) -> None:
    population(workers.new())
    workers.clock = Clock(workers.clock.now() + timedelta(seconds=later_s), time.monotonic())
    population(workers.new())
    assert workers.counted[0] == n_counted


def test_many_are_counted_by_a_process_of_its_own(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "APART", 10)
    note = workers.build()
    found = population(workers.new())
    assert workers.counted == [0, 0]
    assert found.version == count_all(workers.settings, workers.log, workers.clock).population.version
    kept = read(kept_path(workers.settings))
    assert kept is not None and kept.basis.build == note.anchor


def test_a_process_that_cannot_count_is_told(workers: Workers) -> None:
    workers.build()
    workers.settings.timeline_path.write_bytes(b"half of a file")
    with pytest.raises(OmniError, match="ended with status 1"):
        count_apart(workers.settings)
    assert population(workers.new()).churn is None
