"""The list of signals comes in, the page that says each in words goes out."""

from features.signals import SIGNAL_NAMES, describe
from site_builder.markdown import code, table, text


def body() -> str:
    """A table of all signals, in the order in which the models see them."""
    rows = [(code(name), text(describe(name))) for name in SIGNAL_NAMES]
    return (
        f"{len(SIGNAL_NAMES)} named features, computed from a customer's state and a moment: [Features](../features.md). "
        "`GET /v1/customers/{customer_id}?signals=true` answers one customer's. *Lately* means a decayed sum: what is as old "
        f"as the half-life counts half.\n\n{table(('signal', 'what it says'), rows)}"
    )
