"""Rules that change while the service runs: all workers change over at once, and no bad file changes anything."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import InputError
from features.settings import Settings
from serving.decision.rules import Rules, house_rules, load_rules, package_rules
from serving.house_rules import HouseRules
from serving.runtime import Runtime

STRICT = "holdout_share = 0.5\n"
LOOSE = "holdout_share = 0.25\n"


@pytest.fixture
def home(settings: Settings) -> Path:
    settings.home.mkdir(parents=True)
    return settings.home


def looked(house: HouseRules, looks: int = 2) -> float:
    for _ in range(looks):
        house.look()
    return house.current().rules.holdout_share


def test_a_change_counts_for_every_worker_once_it_was_seen_twice(settings: Settings, home: Path) -> None:
    (home / "rules.toml").write_text(STRICT)
    one, other = HouseRules(settings), HouseRules(settings)
    assert (looked(one), looked(other)) == (0.5, 0.5)
    before = one.current().version
    (home / "rules.toml").write_text(LOOSE)
    assert looked(one, 1) == 0.5  # it may be half written
    assert looked(one, 1) == 0.25
    assert other.current() == one.current()  # without a look of its own
    assert one.current().version == Rules(holdout_share=0.25).version != before


def test_without_a_file_of_ones_own_those_of_the_package_count(settings: Settings, home: Path) -> None:
    house = HouseRules(settings)
    assert house.current().rules == package_rules() == house_rules(settings)
    (home / "rules.toml").write_text(STRICT)
    assert looked(house) == 0.5
    (home / "rules.toml").unlink()
    looked(house)
    assert house.current().rules == package_rules()


BAD = {
    "no TOML": "holdout_share = ",
    "another type": "holdout_share = 'much'",
    "out of range": "holdout_share = 7",
    "unknown key": "hold_out = 0.1",
    "a section for a value": "quiet_hours = 5",
    "no zone": 'time_zone = "Europe"',
    "lists without end": f"channel_caps = {'[' * 100_000}",
    "large": f"# {'x' * 2_000_000}",
    "nothing, as after a power cut": "",
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_bad_file_is_told_once_and_changes_nothing(
    settings: Settings, home: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (home / "rules.toml").write_text(STRICT)
    workers = [HouseRules(settings) for _ in range(2)]
    assert [looked(worker) for worker in workers] == [0.5, 0.5]
    good = workers[0].current()
    (home / "rules.toml").write_text(content)
    assert [looked(worker, 3) for worker in workers] == [0.5, 0.5]
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1 and "rules.toml" in told[0]
    assert f"the rules before it (version {good.version}) stay in force" in told[0]
    late = HouseRules(settings)  # a worker that is started anew
    for house in (*workers, late):
        assert (house.current().rules, house.current().version) == (good.rules, good.version)
        assert "rules.toml" in house.current().problem
    (home / "rules.toml").write_text(LOOSE)
    assert looked(late) == 0.25
    assert {worker.current().problem for worker in (*workers, late)} == {""}


@pytest.mark.parametrize("kind", ["folder", "pipe", "bytes"])
def test_what_is_no_text_file_changes_nothing(settings: Settings, home: Path, kind: str) -> None:
    import os

    (home / "rules.toml").write_text(STRICT)
    house = HouseRules(settings)
    assert looked(house) == 0.5
    (home / "rules.toml").unlink()
    match kind:
        case "folder":
            (home / "rules.toml").mkdir()
        case "pipe":
            os.mkfifo(home / "rules.toml")
        case "bytes":
            (home / "rules.toml").write_bytes(b"\xff\xfe\x00")
    assert looked(house) == 0.5
    assert "rules.toml" in house.current().problem


def test_putting_the_good_content_back_ends_the_problem(settings: Settings, home: Path) -> None:
    (home / "rules.toml").write_text(STRICT)
    house = HouseRules(settings)
    looked(house)
    since = house.current()
    (home / "rules.toml").write_text("broken")
    looked(house)
    assert house.current().problem
    (home / "rules.toml").write_text(STRICT)
    assert looked(house) == 0.5
    assert (house.current().problem, house.current().version) == ("", since.version)


def test_a_file_that_is_being_written_is_waited_for(settings: Settings, home: Path) -> None:
    whole = "holdout_share = 0.5\nmax_unanswered = 3\n"
    (home / "rules.toml").write_text(whole)
    house = HouseRules(settings)
    looked(house)
    version = house.current().version
    for end in range(0, len(whole) + 1, 7):  # every part of it could be a file of its own, the empty one too
        (home / "rules.toml").write_text(whole[:end])
        house.look()
        assert (house.current().version, house.current().problem) == (version, "")


def test_a_start_takes_the_file_at_once_or_what_was_in_force(settings: Settings, home: Path) -> None:
    (home / "rules.toml").write_text("broken")
    with pytest.raises(InputError, match=r"rules\.toml is not TOML"):
        HouseRules(settings).begin()
    (home / "rules.toml").write_text(STRICT)
    HouseRules(settings).begin()
    (home / "rules.toml").write_text(LOOSE)
    started = HouseRules(settings)
    started.begin()
    assert started.current().rules.holdout_share == 0.25
    (home / "rules.toml").write_text("broken")
    again = HouseRules(settings)
    again.begin()
    assert again.current().rules.holdout_share == 0.25 and "not TOML" in again.current().problem


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"rules": 3}', '{"rules": {"old_key": 1}}', "\x00", "gone"])
def test_what_was_in_force_may_be_damaged(settings: Settings, home: Path, damage: str) -> None:
    (home / "rules.toml").write_text(STRICT)
    house = HouseRules(settings)
    looked(house)
    in_force = home / "run" / "rules.json"
    if damage == "gone":
        in_force.unlink()
    else:
        in_force.write_text(damage)
    assert house.current().rules.holdout_share == 0.5  # who has it in hand keeps it
    house.look()
    assert json.loads(in_force.read_text())["rules"]["holdout_share"] == 0.5  # and writes it anew
    (home / "rules.toml").write_text(LOOSE)
    assert looked(house) == looked(HouseRules(settings)) == 0.25
    assert json.loads(in_force.read_text())["rules"]["holdout_share"] == 0.25


def test_no_question_sees_half_of_a_change(settings: Settings, home: Path) -> None:
    """Two values that belong together, changed a hundred times while other workers ask."""
    workers = [HouseRules(settings) for _ in range(3)]
    stop = threading.Event()
    seen: set[tuple[int, int]] = set()

    def ask(worker: HouseRules) -> None:
        while not stop.is_set():
            rules = worker.current().rules
            seen.add((rules.max_unanswered, rules.bucket_minutes))

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for n in range(2, 40):
        (home / "rules.toml").write_text(f"max_unanswered = {n}\nbucket_minutes = {n}\n")
        looked(workers[n % 3])
        assert {worker.current().rules.bucket_minutes for worker in workers} == {n}
    stop.set()
    for thread in threads:
        thread.join()
    assert {pair for pair in seen if pair[0] != pair[1]} <= {(8, 10)}  # the package's


@given(share=st.floats(0, 0.99), minutes=st.integers(1, 1440))
def test_a_version_is_of_what_the_rules_say_and_not_of_how(share: float, minutes: int) -> None:
    rules = Rules(holdout_share=share, bucket_minutes=minutes)
    assert rules.version == Rules.model_validate_json(rules.model_dump_json()).version
    assert rules.version != rules.model_copy(update={"bucket_minutes": minutes % 1440 + 1}).version


def test_the_same_rules_in_other_words_are_the_same_version(tmp_path: Path) -> None:
    caps = ["email = { max = 3, days = 7 }", "sms = { max = 2, days = 7 }"]
    versions = set()
    for order in (caps, caps[::-1]):
        (tmp_path / "rules.toml").write_text("\n".join(["# words", "[channel_caps]", *order]))
        versions.add(load_rules(tmp_path / "rules.toml").version)
    assert len(versions) == 1


def test_answers_and_decisions_name_the_rules_they_follow(settings: Settings, home: Path, runtime: Runtime) -> None:
    from serving.schemas import BestChannelRequest, DecideRequest, NextProductsRequest

    (home / "rules.toml").write_text(STRICT)
    runtime.house = house = HouseRules(settings)
    for content, share in ((STRICT, 0.5), (LOOSE, 0.25)):
        (home / "rules.toml").write_text(content)
        looked(house)
        version = Rules(holdout_share=share).version
        who = {"customer_id": "ada"}
        products, shelf = runtime.answers.next_products(NextProductsRequest(**who, explore_share=0.5))
        decision = runtime.answers.decide(DecideRequest(**who))
        channel = runtime.answers.best_channel(BestChannelRequest(**who))
        assert shelf is not None and shelf.properties is not None and decision.event.properties is not None
        told = [products.rules_version, decision.answer.rules_version, channel.rules_version]
        logged = [shelf.properties["rules_version"], decision.event.properties["rules_version"]]
        assert {*told, *logged} == {version}
        assert runtime.rules_info().version == version


def test_a_problem_is_shown_to_machines(settings: Settings, home: Path, runtime: Runtime, client) -> None:
    runtime.house = house = HouseRules(settings)
    runtime.metrics.note_rules(runtime.rules_info())
    ready, models, metrics = client.run(*(("GET", path, None) for path in ("/readyz", "/v1/models", "/metrics")))
    assert ready.json() == {"status": "ready"}
    assert models.json()["rules"]["version"] == house.current().version and models.json()["rules"]["problem"] is None
    assert "omni_rules_problem 0.0" in metrics.text
    (home / "rules.toml").write_text("hold_out = 1")
    looked(house)
    runtime.metrics.note_rules(runtime.rules_info())
    ready, models, metrics = client.run(*(("GET", path, None) for path in ("/readyz", "/v1/models", "/metrics")))
    assert ready.status_code == 200 and "there is no key hold_out" in ready.json()["warnings"][0]
    assert "there is no key hold_out" in models.json()["rules"]["problem"]
    assert "omni_rules_problem 1.0" in metrics.text
