"""Events that name a decision, as SQL: a table of events in, queries of what was said of which decision out."""

from typing import Final

from features.sql import sql_list
from features.vocabulary import EventKind

ARM: Final = "arm"
CONTACTED: Final = "contacted"
"""Whether a contact names the decision."""
ANSWERED: Final = "answered"
"""Whether an answer names it, which nobody can give to what was not shown."""
ASKER: Final = "asker"
"""The channel that asked for the decision; empty where none said so, as in bulk."""
CONTACTS: Final = (EventKind.SEND, EventKind.DELIVER, EventKind.IMPRESSION)
ANSWERS: Final = (EventKind.OPEN, EventKind.CLICK, EventKind.OUTCOME, EventKind.IGNORE, EventKind.UNSUBSCRIBE)
"""A purchase is none: some shops write the last decision on every purchase, whether it was shown or not."""

_PSCORES: Final = ("arm_pscore", "pscore")


def sql_named(table: str) -> str:
    """A query of the events that name a decision: customer_id, decision_id, contacted, answered; a row per decision."""
    contacts, answers = sql_list([kind.value for kind in CONTACTS]), sql_list([kind.value for kind in ANSWERS])
    return (
        f"SELECT customer_id, decision_id, bool_or(kind IN ({contacts})) AS {CONTACTED}, "
        f"bool_or(kind IN ({answers})) AS {ANSWERED} FROM {table} "
        f"WHERE decision_id IS NOT NULL AND kind IN ({contacts}, {answers}) GROUP BY ALL"
    )


def sql_delivered(table: str) -> str:
    """The same, of decisions to send that came about."""
    named, arms = sql_named(table), "json_extract_string(d.properties, '$.arm')"
    return (
        f"SELECT d.customer_id, d.decision_id FROM {table} d JOIN ({named}) n USING (customer_id, decision_id) "
        f"WHERE d.kind = '{EventKind.DECISION}' "
        f"QUALIFY n.{CONTACTED} OR bool_or(n.{CONTACTED}) OVER (PARTITION BY {arms})"
    )


def sql_asker(properties: str) -> str:
    """The asker of a decision with these properties."""
    return f"coalesce(json_extract_string({properties}, '$.asked_by'), '')"


def sql_arm_pscore(properties: str) -> str:
    """The chance of a decision's arm: with offers `pscore` is of the arm and its offer, and `arm_pscore` of the arm alone.

    What is learned of arms goes by the latter: a reward then counts for its arm with whatever offers were drawn there.
    """
    of_arm, of_all = (f"try_cast(json_extract_string({properties}, '$.{name}') AS DOUBLE)" for name in _PSCORES)
    return f"coalesce({of_arm}, {of_all})"
