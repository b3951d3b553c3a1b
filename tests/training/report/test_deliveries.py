"""How many decisions to send of a period were sent, per arm: in the report, its tables and its notes."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from made_log import START

from training.report.build import Report
from training.report.deliveries import DecidedArm, decided_arms, not_delivered
from training.report.scan import Period, timeline_connection

Event = Callable[..., dict[str, Any]]


def decided(happened: Event, number: int, arm: str, day: float, **more: Any) -> dict[str, Any]:
    properties = json.dumps({"arm": arm, "pscore": 0.5, **more})
    return happened(f"c{number}", day, "decision", "email", decision_id=f"d{number}", properties=properties)


def rows(happened: Event) -> list[dict[str, Any]]:
    def named(number: int, day: float, kind: str) -> dict[str, Any]:
        return happened(f"c{number}", day, kind, "email", decision_id=f"d{number}")

    later = (START + timedelta(days=60)).isoformat()
    return [
        *(decided(happened, i, "email", 1) for i in range(4)),
        named(0, 1.1, "send"),
        named(0, 1.2, "open"),  # sent and opened is one
        named(1, 1.2, "click"),  # the send got lost
        named(2, 1.2, "purchase"),
        decided(happened, 5, "sms", 2),
        named(5, 2.1, "click"),  # of this arm nobody ever logged a send
        decided(happened, 6, "nothing", 2),
        decided(happened, 7, "email", 40),  # not of the period
        named(7, 41, "send"),
        decided(happened, 8, "email", 2, send_at=later),  # not due yet
        happened("c9", 50, "visit", "web"),
    ]


def test_per_arm_what_was_decided_and_sent(happened: Event, write: Callable[..., Path]) -> None:
    period = Period(START, START + timedelta(days=10))
    with timeline_connection(write(rows(happened))) as connection:
        arms = decided_arms(connection, period, START + timedelta(days=50))
    assert arms == (DecidedArm("email", 4, 2, 2), DecidedArm("sms", 1, 0, 1))
    assert not_delivered(arms).startswith("3 of 5 decisions to send were not delivered")
    assert not_delivered(arms[:0]) == not_delivered((DecidedArm("email", 2, 2, 0),)) == ""


def test_the_report_tells_of_them(happened: Event, write: Callable[..., Path], tmp_path: Path) -> None:
    from features.settings import Settings
    from training.report.build import build_report
    from training.report.config import ReportConfig
    from training.report.page import plain_tables
    from training.report.tables import shown_tables

    settings = Settings.from_env({"OMNI_HOME": str(tmp_path / "home")})
    settings.timeline_path.parent.mkdir(parents=True)
    write(rows(happened)).replace(settings.timeline_path)
    report: Report = build_report(settings, ReportConfig(), START, START + timedelta(days=10))
    assert any("3 of 5 decisions to send were not delivered" in note for note in report.notes)
    assert report.to_dict()["success"]["decisions"][0] == {
        "arm": "email", "decisions": 4, "delivered": 2, "not_delivered": 2,
    }  # fmt: skip
    (shown,) = [table for table in shown_tables(report) if table.title.startswith("Decisions to send")]
    assert shown.rows == [["email", "4", "2", "2"], ["sms", "1", "0", "1"]]
    assert plain_tables(report)["decisions"]["not_delivered"].tolist() == [2, 1]
