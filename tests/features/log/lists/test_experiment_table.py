"""The table of experiments: kept for good, with a moment of its beginning and of its end, on both engines."""

import time

import pytest
from made_visits import table as table_of

from features.errors import InputError
from features.experiments.experiment import Experiment
from features.log.event_log import EventLog
from features.log.lists.experiment_table import KeptExperiments

HALVES = ({"name": "as-is", "share": 0.5}, {"name": "warm", "share": 0.5, "rules": {"temperature": 0.5}})


def warmer(name: str = "warmer") -> Experiment:
    return Experiment(name=name, variants=HALVES)


def test_what_is_started_comes_back_and_each_change_is_a_new_version(log: EventLog) -> None:
    table = log.experiments()
    assert (table.version(), table.all()) == (0, KeptExperiments())
    before_s = time.time()
    started = table.start(warmer(), lead_s=5)
    assert before_s + 5 <= started.starts_s <= time.time() + 5
    assert (table.version(), table.all().experiments) == (1, (started,))
    assert started.experiment == warmer()
    stopped = table.stop("warmer", lead_s=5)
    assert (table.version(), table.all().experiments) == (2, (stopped,))
    assert table.all().get("warmer").stops_at == stopped.stops_at


def test_it_is_in_force_from_its_beginning_until_before_its_end(log: EventLog) -> None:
    table = log.experiments()
    table.start(warmer(), lead_s=0)
    kept = table.stop("warmer", lead_s=60)
    assert kept.stops_s is not None
    moments = (kept.starts_s - 1e-3, kept.starts_s, kept.stops_s - 1e-3, kept.stops_s)
    assert [kept.is_in_force(at_s) for at_s in moments] == [False, True, True, False]
    assert [kept.is_over(at_s) for at_s in moments] == [False, False, False, True]


def test_a_name_is_taken_for_good_and_an_end_is_one(log: EventLog) -> None:
    table = log.experiments()
    table.start(warmer(), lead_s=0)
    table.stop("warmer", lead_s=0)
    with pytest.raises(InputError, match="was an experiment warmer before"):
        table.start(warmer(), lead_s=0)
    with pytest.raises(InputError, match="experiment warmer ended at"):
        table.stop("warmer", lead_s=0)
    with pytest.raises(InputError, match="no experiment colder"):
        table.stop("colder", lead_s=0)


def test_what_is_refused_within_the_transaction_is_not_kept(log: EventLog) -> None:
    table = log.experiments()
    table.start(warmer(), lead_s=0)

    def refuse(known: KeptExperiments) -> None:
        raise InputError(f"{len(known.experiments)} before")

    with pytest.raises(InputError, match="1 before"):
        table.start(warmer("colder"), 0, refuse)
    assert table.version() == 1


def test_a_unit_is_what_a_customer_was_seen_with(log: EventLog) -> None:
    shared = {"identifiers": {"household": "h1"}}
    log.append(table_of({"event_id": "1", "customer_id": "ada", **shared}, {"event_id": "2", "customer_id": "cleo"}))
    log.append(table_of({"event_id": "3", "customer_id": "ben", **shared}))
    table = log.experiments()
    assert [table.unit_of(name, "household") for name in ("ada", "ben", "cleo", "nobody")] == ["h1", "h1", None, None]
    assert table.units("household") == {"ada": "h1", "ben": "h1"}
