"""Which rules and models a customer is decided by, while experiments begin and end."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from features.errors import InputError
from features.experiments.experiment import Experiment
from features.log.sqlite import SqliteEventLog
from features.vocabulary import Task
from serving.decision.holdout import is_held_out
from serving.decision.rules import Rules
from serving.experiments.in_force import Assigned, Experiments
from serving.experiments.opening import overlap
from serving.scorers.bundle import Bundle, Scorer

NAMES = [f"c{number}" for number in range(400)]
HOUSE = Rules(exploration=0.2)


def warmer(name: str = "warmer", unit: str = "customer", **second: Any) -> Experiment:
    change = second or {"rules": {"temperature": 0.5, "quiet_hours": {"start": "20:00"}}}
    variants = [{"name": "as-is", "share": 0.4}, {"name": "other", "share": 0.4, **change}]
    return Experiment(name=name, unit=unit, variants=variants)


@pytest.fixture
def started(log: SqliteEventLog) -> Callable[..., Experiments]:
    """Experiments that have just been looked at, after these began."""

    def start(*experiments: Experiment, load: Any = None) -> Experiments:
        for experiment in experiments:
            log.experiments().start(experiment, lead_s=0)
        found = Experiments(log.experiments(), load)
        found.look()
        return found

    return start


def test_without_an_experiment_the_rules_are_the_houses_own(started: Callable[..., Experiments]) -> None:
    assert started().assign("c1", HOUSE) == Assigned(HOUSE)
    assert started().assign("c1", HOUSE).rules is HOUSE


def test_a_variants_rules_are_the_houses_with_its_changes(started: Callable[..., Experiments]) -> None:
    by_variant = {str(dict(a.variants)): a.rules for a in started(warmer()).assign_all(NAMES, HOUSE)}
    assert set(by_variant) == {"{}", "{'warmer': 'as-is'}", "{'warmer': 'other'}"}
    assert by_variant["{}"] is by_variant["{'warmer': 'as-is'}"] is HOUSE
    other = by_variant["{'warmer': 'other'}"]
    assert (other.temperature, other.exploration) == (0.5, 0.2)
    assert other.quiet_hours == HOUSE.quiet_hours.model_copy(update={"start": other.quiet_hours.start})
    assert other.quiet_hours.start.hour == 20
    assert other.version != HOUSE.version


def test_one_by_one_and_all_together_are_the_same(started: Callable[..., Experiments]) -> None:
    experiments = started(warmer(), warmer("louder", rules={"max_unanswered": 3}))
    together = experiments.assign_all(NAMES, HOUSE)
    assert together == [experiments.assign(name, HOUSE) for name in NAMES]
    assert {len(each.variants) for each in together} == {0, 1, 2}


def test_it_begins_and_ends_by_the_clock_and_not_when_somebody_looks(log: SqliteEventLog) -> None:
    table, experiments = log.experiments(), Experiments(log.experiments())
    kept = table.start(warmer(), lead_s=30)
    experiments.look()
    name = next(name for name in NAMES if experiments.assign(name, HOUSE, kept.starts_s).variants)
    assert experiments.assign(name, HOUSE, kept.starts_s - 1e-3) == Assigned(HOUSE)
    ended = table.stop("warmer", lead_s=60)
    experiments.look()
    assert ended.stops_s is not None
    assert experiments.assign(name, HOUSE, ended.stops_s - 1e-3).variants
    assert experiments.assign(name, HOUSE, ended.stops_s) == Assigned(HOUSE)


def test_who_is_held_out_is_in_no_experiment(started: Callable[..., Experiments]) -> None:
    rules = Rules(holdout_share=0.3)
    assigned = started(warmer()).assign_all(NAMES, rules)
    held_out = [each for name, each in zip(NAMES, assigned, strict=True) if is_held_out(name, rules)]
    assert held_out
    assert all(each == Assigned(rules) for each in held_out)


def test_members_of_a_household_get_the_same_and_who_has_none_is_in_none(
    started: Callable[..., Experiments], log: SqliteEventLog, append: Callable[..., None]
) -> None:
    homes = {name: f"h{number // 2}" for number, name in enumerate(NAMES[:100])}
    append(*({"customer_id": name, "identifiers": {"household": home}} for name, home in homes.items()))
    experiments = started(warmer(unit="household"))
    assigned = {
        name: dict(each.variants) for name, each in zip(NAMES, experiments.assign_all(NAMES, HOUSE), strict=True)
    }
    assert all(assigned[NAMES[n]] == assigned[NAMES[n + 1]] for n in range(0, 100, 2))
    assert {str(assigned[name]) for name in NAMES[:100]} == {"{}", "{'warmer': 'as-is'}", "{'warmer': 'other'}"}
    assert not any(assigned[name] for name in NAMES[100:])
    assert assigned["c7"] == experiments.assign("c7", HOUSE).variants


def test_control_groups_are_rules(started: Callable[..., Experiments]) -> None:
    experiments = started(warmer(control="random_allowed"), warmer("plain", control="levers_off"))
    for each in experiments.assign_all(NAMES, HOUSE):
        assert (each.rules.exploration == 1.0) is (each.variants.get("warmer") == "other")
        assert each.rules.levers is not (each.variants.get("plain") == "other")


def test_models_answer_in_place_of_the_champions_in_their_variant(
    started: Callable[..., Experiments], bundle: Bundle
) -> None:
    loaded: list[tuple[Task, int]] = []

    def load(task: Task, number: int) -> Scorer:
        loaded.append((task, number))
        return bundle.need_churn()

    experiments = started(warmer(models={"churn": 7}), load=load)
    experiments.look()
    assert loaded == [(Task.CHURN, 7)]
    for each in experiments.assign_all(NAMES, HOUSE):
        assert (each.bundle(Bundle()).churn is bundle.churn) is (each.variants.get("warmer") == "other")


def test_an_experiment_is_in_force_as_a_whole_or_not_at_all(started: Callable[..., Experiments]) -> None:
    def refuse(task: Task, number: int) -> Scorer:
        raise InputError(f"There is no version {number} of {task}.")

    experiments = started(warmer(models={"churn": 7}), warmer("louder", rules={"max_unanswered": 3}), load=refuse)
    assert {name for each in experiments.assign_all(NAMES, HOUSE) for name in each.variants} == {"louder"}
    (problem,) = experiments.problems(HOUSE)
    assert problem == "The experiment warmer is not in force, and nobody is in it: There is no version 7 of churn."


def test_rules_that_a_variant_no_longer_fits_suspend_it_and_say_so(started: Callable[..., Experiments]) -> None:
    experiments = started(warmer(rules={"channel_caps": {"email": {"max": 3}}}))
    fitting = Rules(channel_caps={"email": {"max": 2, "days": 7}})
    assert any(each.variants for each in experiments.assign_all(NAMES, fitting))
    assert experiments.problems(fitting) == ()
    assert not any(each.variants for each in experiments.assign_all(NAMES, HOUSE))  # no days in the house's own
    assert "warmer is not in force" in experiments.problems(HOUSE)[0]


def test_two_experiments_that_change_the_same_do_not_run_together(log: SqliteEventLog) -> None:
    table = log.experiments()
    table.start(warmer(), lead_s=0)
    with pytest.raises(InputError, match=r"warmer changes rules\.temperature, too"):
        overlap(warmer("hotter", rules={"temperature": 1.0}), table.all())
    overlap(warmer("louder", rules={"max_unanswered": 3}), table.all())
    table.stop("warmer", lead_s=0)
    time.sleep(0.001)
    overlap(warmer("hotter", rules={"temperature": 1.0}), table.all())


def test_a_thread_takes_over_what_is_started(log: SqliteEventLog, tmp_path: Path) -> None:
    experiments = Experiments(log.experiments())
    end = experiments.watch(look_s=0.01)
    try:
        log.experiments().start(warmer(), lead_s=0)
        deadline = time.monotonic() + 30
        while not any(each.variants for each in experiments.assign_all(NAMES, HOUSE)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        end()
