"""The timeline and a period in, per arm how many decisions to send there were and how many of them came about, out."""

from dataclasses import dataclass
from datetime import datetime

import duckdb

from features.outcomes.named import sql_delivered
from features.vocabulary import NOTHING, EventKind
from training.report.scan import Period


@dataclass(frozen=True)
class DecidedArm:
    """One arm's decisions of a period; those not delivered are learned from by no model."""

    arm: str
    decisions: int
    delivered: int
    not_delivered: int


def decided_arms(connection: duckdb.DuckDBPyConnection, period: Period, log_end: datetime) -> tuple[DecidedArm, ...]:
    """Every arm that sends, the most decided first; what is to be sent after `log_end` can be no figure yet."""
    rows = connection.execute(
        f"""
        WITH decided AS (
            SELECT customer_id, decision_id, json_extract_string(properties, '$.arm') AS arm
            FROM timeline
            WHERE kind = '{EventKind.DECISION}' AND occurred_at >= $start AND occurred_at < $end
              AND contains(properties, '"arm"')
              AND coalesce(try_cast(json_extract_string(properties, '$.send_at') AS TIMESTAMPTZ) <= $log_end, true)
        ), sent AS ({sql_delivered("timeline")})
        SELECT arm, count(*) AS n, count(*) FILTER ((customer_id, decision_id) IN (SELECT * FROM sent)) AS n_sent
        FROM decided WHERE arm IS NOT NULL AND arm <> '{NOTHING}' GROUP BY arm ORDER BY n DESC, arm
        """,
        {"start": period.start, "end": period.end, "log_end": log_end},
    ).fetchall()
    return tuple(DecidedArm(str(arm), n, n_sent, n - n_sent) for arm, n, n_sent in rows)


def not_delivered(arms: tuple[DecidedArm, ...]) -> str:
    """What was not sent, in a sentence; empty where everything was."""
    missing, total = sum(one.not_delivered for one in arms), sum(one.decisions for one in arms)
    if not missing:
        return ""
    return (
        f"{missing:,} of {total:,} decisions to send were not delivered: no send, deliver or impression names their "
        "decision_id, so they count as contacts nowhere. Log what is sent; ask with log = false where you only look."
    )
