"""The timeline's logged decisions in, one row each out: was a contact decided on, how likely was it, did the customer return.

Like training.data.labels it looks past the moment of the row: a return is an event of the customer's own in
[as_of + wait_days, as_of + wait_days + horizon_days). What comes before it may be no more than the answer to the contact.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import pandas as pd

from features.errors import MissingError
from features.outcomes.named import ANSWERED, ARM, ASKER, CONTACTED, sql_arm_pscore, sql_asker, sql_named
from features.outcomes.rewards import PSCORE, as_entities
from features.sql import connect_bounded, scan, sql_days, sql_list
from features.vocabulary import NOTHING, EventKind

CHANCE: Final = "chance"
"""The log's chance of any contact, where a decision says it; NaN elsewhere."""
HELD_OUT: Final = "held_out"
"""Whether the customer was in a hold-out, so that nothing was all that could happen."""


def contact_moments(
    timeline: Path,
    return_kinds: Sequence[str],
    wait_days: float,
    horizon_days: float,
    data_end: datetime,
    n_max: int,
    seed: int,
) -> pd.DataFrame:
    """customer_id, as_of, arm, channel, pscore, chance, held_out, label, key, asker, contacted, answered: a row per decision.

    Decisions are events of that kind whose properties hold `arm` and `pscore`; taken are those whose window ends by
    `data_end`. Those of the service also hold the `chances` of all arms, so that the chance of any contact is known;
    else `chance` is NaN. Which of them anybody sent says features.outcomes.delivery. Of more than `n_max` decisions a fixed
    pseudo-random sample is taken. Raises MissingError where the timeline is not there.
    """
    if not timeline.exists():
        raise MissingError(f"{timeline} is not there.", repair="Run: omni features build")
    begin, end = sql_days(wait_days), sql_days(wait_days + horizon_days)
    with connect_bounded() as connection:
        rows = connection.execute(
            f"""
            WITH d AS (
                SELECT customer_id, occurred_at AS as_of, event_id AS key, channel::VARCHAR AS channel, decision_id,
                       {sql_asker("properties")} AS {ASKER},
                       json_extract_string(properties, '$.arm') AS {ARM},
                       {sql_arm_pscore("properties")} AS {PSCORE},
                       1 - try_cast(json_extract_string(properties, '$.chances.{NOTHING}') AS DOUBLE) AS {CHANCE},
                       coalesce(json_extract_string(properties, '$.holdout.held_out'), 'false') = 'true' AS {HELD_OUT}
                FROM {scan(timeline)}
                WHERE kind = '{EventKind.DECISION}' AND occurred_at + {end} <= $end
            ), chosen AS (
                SELECT * FROM d WHERE {ARM} IS NOT NULL AND {PSCORE} > 0 AND {PSCORE} <= 1
                ORDER BY hash({int(seed)}, key) LIMIT {int(n_max)}
            ), named AS ({sql_named(scan(timeline))}), own AS (
                SELECT customer_id, occurred_at FROM {scan(timeline)} WHERE kind IN ({sql_list(return_kinds)})
            )
            SELECT c.* EXCLUDE (decision_id), (count(a.occurred_at) > 0)::DOUBLE AS label,
                   coalesce(any_value(n.{CONTACTED}), false) AS {CONTACTED},
                   coalesce(any_value(n.{ANSWERED}), false) AS {ANSWERED}
            FROM chosen c LEFT JOIN named n ON n.customer_id = c.customer_id AND n.decision_id = c.decision_id
            LEFT JOIN own a ON a.customer_id = c.customer_id
             AND a.occurred_at >= c.as_of + {begin} AND a.occurred_at < c.as_of + {end}
            GROUP BY ALL ORDER BY as_of, key
            """,
            {"end": data_end},
        ).df()
    return as_entities(rows)
