"""Arms found in the log: the timeline in; its ways of contact out, with the answers that the log can tell of."""

from pathlib import Path
from typing import Final

from features.sql import connect_bounded, scan, sql_contact, sql_list
from features.vocabulary import CONTACT_KINDS, RESPONSE_KINDS, Columns, EventKind
from training.data.labels import Arm

RESPONSE_DAYS: Final = 7.0
"""Days in which an answer to an arm that was found counts."""
N_MIN_CONTACTS: Final = 100
"""Ways of contact with fewer contacts are left out."""
FILLED: Final = 0.99
"""Share of contacts and of answers that must name a column for both to have to agree in it."""
_AGREE: Final = (Columns.CAMPAIGN_ID, Columns.DECISION_ID)


def find_arms(timeline: Path) -> list[Arm]:
    """An arm per channel and kind of contact (send, impression) with enough contacts, by name.

    Opens, clicks and outcomes on the same channel answer it, those of the same campaign or decision where contacts and
    answers name theirs. On a channel that never saw one, a purchase answers: of the same product where contacts name one.
    """
    columns = (*_AGREE, Columns.PRODUCT_ID)
    named = ", ".join(f"count({column}) / count(*) AS {column}" for column in columns)
    kinds = [kind.value for kind in (*CONTACT_KINDS, *RESPONSE_KINDS)]
    with connect_bounded() as connection:
        rows = connection.execute(
            f"SELECT channel, kind, count(*) AS n, {named} FROM {scan(timeline)} WHERE kind IN ({sql_list(kinds)}) "
            "GROUP BY channel, kind ORDER BY channel, kind"
        ).df()
    contacts = rows[rows[Columns.KIND].isin([kind.value for kind in CONTACT_KINDS]) & (rows["n"] >= N_MIN_CONTACTS)]
    answers = rows[rows[Columns.KIND].isin([kind.value for kind in RESPONSE_KINDS])]
    arms = []
    for contact in contacts.to_dict("records"):
        channel, kind = str(contact[Columns.CHANNEL]), str(contact[Columns.KIND])
        mine = answers[answers[Columns.CHANNEL] == channel]
        if len(mine):
            agree = [name for name in _AGREE if contact[name] >= FILLED and (mine[name] >= FILLED).all()]
            match, by = [Columns.CHANNEL, *agree], sorted(mine[Columns.KIND])
        else:
            match = [Columns.PRODUCT_ID] if contact[Columns.PRODUCT_ID] >= FILLED else []
            by = [EventKind.PURCHASE.value]
        name = channel if kind == EventKind.SEND.value else f"{channel}_{kind}"
        arms.append(Arm(name, channel, kind, {}, by, match, RESPONSE_DAYS))
    return arms


def never_used(timeline: Path, arms: list[Arm]) -> list[str]:
    """Names of arms whose channel and kind of contact, with the properties that are asked for, the log does not hold."""
    with connect_bounded() as connection:
        return [
            arm.name
            for arm in arms
            if not connection.execute(
                f"SELECT 1 FROM {scan(timeline)} WHERE {sql_contact(arm.channel, arm.kind, arm.properties)} LIMIT 1"
            ).fetchall()
        ]
