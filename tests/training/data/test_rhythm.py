"""A channel's own rhythm: how many days usually lie between two uses of it."""

from pathlib import Path

import pandas as pd

from training.data.labels import Arm
from training.data.rhythm import usual_gaps

START = pd.Timestamp("2024-01-01 06:00", tz="UTC")


def arm(name: str, channel: str) -> Arm:
    return Arm(name, channel, "send", {}, ("click",), (), 7.0)


def test_the_gap_is_that_of_most_days_of_use(tmp_path: Path) -> None:
    days = {"email": [*range(0, 140, 14), 200], "sms": [0, 1, 2, 3], "push": [5]}
    rows = [(channel, day + hour / 24) for channel, own in days.items() for day in own for hour in (0, 1, 2)]
    table = pd.DataFrame(rows, columns=["channel", "day"])
    table["occurred_at"] = START + pd.to_timedelta(table.pop("day"), unit="D")
    path = tmp_path / "timeline.parquet"
    table.assign(kind="send", properties=pd.Series(None, index=table.index, dtype="string")).to_parquet(path)
    arms = [arm(channel, channel) for channel in (*days, "post")]
    assert usual_gaps(path, arms) == {"email": 14.0, "sms": 1.0}  # a summer's pause is no rhythm; once is none either
