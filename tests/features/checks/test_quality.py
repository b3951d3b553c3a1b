"""Each rule of `omni features check`, with a tiny table that breaks it and nothing else."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import omni
from features.checks.doctor import Status
from features.checks.quality import RULES, QualityConfig, QualityReport, check_quality, load_quality_config, parse_as_of
from features.errors import InputError
from features.events.schema import REJECTED_SCHEMA
from features.offline.timeline import TIMELINE_SCHEMA
from features.settings import Settings
from features.state.encoding import PRODUCTS_SCHEMA, STATE_SCHEMA

END = datetime(2024, 6, 1, 12, tzinfo=UTC)
DAYS = 80
PER_DAY = 10


def event(number: int, days_before_end: float, channel: str = "web", **fields: Any) -> dict[str, Any]:
    return {
        "customer_id": f"c{number % 7}",
        "occurred_at": END - timedelta(days=days_before_end),
        "event_id": f"e{number}",
        "seq": number,
        "kind": "view",
        "channel": channel,
        "product_code": 0,
        "quantity": 1.0,
        "value": 2.0,
        **fields,
    }


def steady(channel: str = "web", days: range = range(DAYS), per_day: int = PER_DAY) -> list[dict[str, Any]]:
    """The same number of events on every day before END."""
    return [event(day * per_day + n, day + n / (2 * per_day), channel) for day in days for n in range(per_day)]


Check = Callable[..., QualityReport]


@pytest.fixture
def check(settings: Settings) -> Check:
    """Writes events as a built timeline and asks the rules about them."""

    def run(events: list[dict[str, Any]], config: QualityConfig | None = None, as_of: datetime = END) -> QualityReport:
        settings.timeline_path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(events, schema=TIMELINE_SCHEMA), settings.timeline_path)
        pq.write_table(STATE_SCHEMA.empty_table(), settings.customer_state_path)
        pq.write_table(PRODUCTS_SCHEMA.empty_table(), settings.customer_products_path)
        return check_quality(settings, config or QualityConfig(), as_of)

    return run


def broken(report: QualityReport) -> dict[str, str]:
    """The failed rules and their words."""
    assert report.failed is any(found.status is not Status.OK for found in report.checks)
    return {found.name: found.found for found in report.checks if found.status is not Status.OK}


def test_sound_data_breaks_no_rule(check: Check) -> None:
    report = check(steady() + steady("store"))

    assert broken(report) == {}
    assert [found.name for found in report.checks] == ["schema", *RULES]
    assert report.figures["ranges"] == {"events": 1600.0, "out_of_range": 0.0}
    assert report.figures["volume"] == {"web": 1.0, "store": 1.0}
    assert report.figures["gaps"] == {"web": 0.0, "store": 0.0}


def test_schema(check: Check, settings: Settings) -> None:
    check(steady())
    table = pq.read_table(settings.timeline_path)
    wrong = table.drop_columns(["channel"]).set_column(3, "seq", table["seq"].cast(pa.int32()))
    pq.write_table(wrong, settings.timeline_path)
    settings.customer_state_path.unlink()

    report = check_quality(settings, QualityConfig(), END)

    assert broken(report) == {
        "schema": "timeline.parquet: seq is int32 instead of int64; timeline.parquet: channel is missing; "
        "customer_state.parquet: is not there."
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"customer_id": None}, "1 without customer, event id or time"),
        ({"kind": "teleport"}, "1 of an unknown kind"),
        ({"channel": "fax"}, "1 on an unknown channel"),
        ({"occurred_at": datetime(1970, 1, 1, tzinfo=UTC)}, "1 from before 2000-01-01"),
        ({"value": 2e6}, "1 with a value beyond 100,000"),
        ({"value": float("nan")}, "1 with a value beyond 100,000"),
        ({"quantity": -1.0}, "1 with a quantity below 0 or beyond 10,000"),
        ({"quantity": 1e5}, "1 with a quantity below 0 or beyond 10,000"),
    ],
)
def test_ranges(check: Check, fields: dict[str, Any], words: str) -> None:
    report = check([*steady(), event(9999, 1.0, **fields)])

    assert broken(report) == {"ranges": f"of 801 events {words}."}
    assert report.figures["ranges"]["out_of_range"] == 1.0


def test_freshness(check: Check) -> None:
    late = END + timedelta(days=7.5)

    assert broken(check(steady(), as_of=late)) == {
        "freshness": "the newest event is from 2024-06-01 12:00, 7.5 days ago; 7 are allowed."
    }
    assert broken(check(steady(), QualityConfig(max_age_days=8), late)) == {}
    assert "freshness" in broken(check([]))


def test_future(check: Check) -> None:
    assert broken(check([*steady(), event(9998, -0.5), event(9999, -40)])) == {
        "future": "events from the future: 2 on web."
    }
    assert broken(check([*steady(), event(9999, -0.003)])) == {}  # four minutes ahead


def test_gaps(check: Check) -> None:
    holes = steady() + steady("store", range(30, DAYS)) + steady("store", range(25))

    report = check(holes)

    assert broken(report) == {"gaps": "channels were silent: store 5 days after 2024-05-02 (usual: up to 0)."}
    assert broken(check(holes, QualityConfig(max_gap_days=5))) == {}


def test_a_channel_that_went_silent_is_a_gap_up_to_now(check: Check) -> None:
    report = check(steady() + steady("store", range(4, DAYS), per_day=1))

    assert broken(report) == {"gaps": "channels were silent: store 4 days after 2024-05-28 (usual: up to 0)."}


def test_a_channel_that_is_always_silent_for_weeks_has_no_gap(check: Check) -> None:
    waves = [row for start in range(0, 400, 14) for row in steady("post", range(start, start + 2))]

    assert broken(check(steady() + waves)) == {}


def test_volume(check: Check) -> None:
    less = steady("store", range(7, DAYS)) + steady("store", range(7), per_day=4)

    report = check(steady() + less)

    assert broken(report) == {"volume": "events of the last 7 days have dropped: store 28 (usual: 70, never below 70)."}
    assert report.figures["volume"]["store"] == pytest.approx(0.4)
    assert broken(check(steady() + less, QualityConfig(min_volume_share=0.3))) == {}
    assert broken(check(steady() + less, QualityConfig(min_period_events=71))) == {}


def test_a_channel_without_history_cannot_drop(check: Check) -> None:
    assert broken(check(steady() + steady("app", range(10), per_day=1))) == {}


def test_rejected(check: Check, settings: Settings) -> None:
    settings.rejected_dir.mkdir(parents=True)
    rows = [{"index": n, "field": "value", "reason": "no number"} for n in range(20)]
    pq.write_table(pa.Table.from_pylist(rows, schema=REJECTED_SCHEMA), settings.rejected_dir / "shop.parquet")

    report = check(steady())

    assert broken(report) == {"rejected": "20 rows of 820 were rejected (2.44%); 1.00% are allowed."}
    assert report.figures["rejected"] == {"share": pytest.approx(20 / 820), "shop": 20.0}


def test_erasures(check: Check) -> None:
    found = check([*steady(), event(900_000, 1.0, kind="erase", customer_id="c1")])
    assert broken(found) == {
        "erasures": "an event of kind erase erases nobody; customers with one who are still there: 1."
    }
    assert next(one for one in found.checks if one.name == "erasures").repair.endswith("omni erase c1")


def test_limits_come_from_a_file(settings: Settings, tmp_path: Path) -> None:
    assert load_quality_config(settings) == QualityConfig()
    settings.home.mkdir(parents=True)
    (settings.home / "quality.toml").write_text("max_age_days = 30\n")
    assert load_quality_config(settings).max_age_days == 30.0
    other = tmp_path / "other.toml"
    other.write_text("max_age = 30\n")
    with pytest.raises(InputError, match=r"other.toml: there is no key max_age\. Did you mean max_age_days\? Known"):
        load_quality_config(settings, other)


def test_the_moment_of_the_check(settings: Settings) -> None:
    assert parse_as_of("2018-01-01", settings) == datetime(2018, 1, 1, tzinfo=UTC)
    with pytest.raises(InputError, match="is not a date"):
        parse_as_of("yesterday", settings)


def test_the_command_reports_in_json_and_exits_1(check: Check, settings: Settings, monkeypatch: Any) -> None:
    monkeypatch.setenv("OMNI_HOME", str(settings.home))
    check([*steady(), event(9999, -40)])

    result = CliRunner().invoke(omni.app, ["features", "check", "--as-of", END.isoformat(), "--json"])

    found = {line["name"]: line["status"] for line in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 1
    assert (found["event log"], found["future"], found["ranges"]) == ("warn", "fail", "ok")


def test_real_data_is_sound(sample_settings: Settings, monkeypatch: Any) -> None:
    """Complete Journey, as of the day after its end: the stores are level and no limit has to be moved."""
    monkeypatch.setenv("OMNI_HOME", str(sample_settings.home))

    result = CliRunner().invoke(omni.app, ["features", "check", "--as-of", "2018-01-02", "--json"])

    report = json.loads(result.stdout)
    assert result.exit_code == 0, report
    assert report["failed"] is False
