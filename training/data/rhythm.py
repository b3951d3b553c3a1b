"""Arms in, how many days lie between the days on which each of them is used out: the log's own rhythm."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from features.sql import connect_bounded, scan, sql_contact
from training.data.labels import Arm

_USUAL: Final = 0.9
"""Share of the gaps that are no longer than the usual one: a summer without a newsletter is none of them."""


def usual_gaps(timeline: Path, arms: Sequence[Arm]) -> dict[str, float]:
    """By arm the usual days from one day on which it was used to the next; only of arms that were used on two days."""
    gaps = {}
    with connect_bounded() as connection:
        for arm in arms:
            ((gap,),) = connection.execute(
                f"""
                WITH days AS (SELECT DISTINCT (epoch_us(occurred_at::TIMESTAMPTZ) // 86400000000) AS day FROM {scan(timeline)}
                              WHERE {sql_contact(arm.channel, arm.kind, arm.properties)})
                SELECT quantile_disc(gap, {_USUAL}) FROM (SELECT day - lag(day) OVER (ORDER BY day) AS gap FROM days)
                WHERE gap IS NOT NULL
                """
            ).fetchall()
            if gap is not None:
                gaps[arm.name] = float(gap)
    return gaps
