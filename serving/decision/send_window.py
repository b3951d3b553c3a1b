"""When may this be sent: what was asked, the offer's time and what the customer is doing in; now, or from when until when, out.

`now` is there and then or not at all; `best` waits for the customer's likeliest hour, within the time of the offer.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from features.state import layout
from features.state.batch import StateBatch
from features.vocabulary import CHANNELS, CUSTOMER_KINDS, DAY_S, KIND_CODES, KINDS, Channel, EventKind
from serving.decision.rules import Rules

When = Literal["now", "best"]
TRIGGER_KINDS: Final = (
    *(EventKind.VISIT, EventKind.VIEW, EventKind.SEARCH, EventKind.ADD_TO_CART, EventKind.REMOVE_FROM_CART),
    *(EventKind.CALL, EventKind.CHAT),
)
"""What a customer does while they are there; a check-in is a visit. Who has just bought is done, so that is none."""
PRESENT_CHANNELS: Final = (Channel.WEB, Channel.APP, Channel.STORE, Channel.CHAT, Channel.CALL_CENTER)
"""Where a customer can be there."""
MAX_AHEAD_S: Final = 31 * DAY_S
"""Consents and caps are looked at now, so nothing is decided for later than this."""
_OWN_KINDS: Final = {KIND_CODES[kind] for kind in CUSTOMER_KINDS}


@dataclass(frozen=True)
class Presence:
    """The newest thing that a customer did, where it shows that they are there."""

    kind: EventKind
    channel: Channel
    at_s: float


@dataclass(frozen=True)
class SendWindow:
    """The moments [start_s, end_s) in which a message may be sent, in seconds; `at_once`: at the first of them or never."""

    start_s: float
    end_s: float = math.inf
    at_once: bool = False
    refusal: str = ""
    """Why nothing may be sent in it; empty where something may."""
    why: str = ""
    """Why it is sent at once."""


def presence(state: StateBatch) -> Presence | None:
    """What shows that the customer (n = 1) is there, if the newest thing that they did does."""
    newest: Presence | None = None
    for code, stats in zip(state.pair_codes.values.tolist(), state.pair_stats.values, strict=True):
        channel, kind = divmod(code, layout.N_KINDS)
        if kind not in _OWN_KINDS:
            continue
        seen = Presence(KINDS[kind], CHANNELS[channel], float(stats[layout.PAIR_LAST]))
        if newest is None or (seen.at_s, _is_there(seen)) > (newest.at_s, _is_there(newest)):
            newest = seen
    return newest if newest is not None and _is_there(newest) else None


def send_window(
    when: When | None,
    not_before: datetime | None,
    not_after: datetime | None,
    state: StateBatch,
    rules: Rules,
    *,
    now_s: float,
    step_s: float,
    earliest_s: float,
) -> SendWindow | None:
    """The window of one decision, or None where the best hour counts and the offer has no time of its own.

    Where `when` is left out, who is there is answered now: whose newest event is one of TRIGGER_KINDS and no older than
    `rules.now_minutes` at `step_s`, which is the same moment for everybody who asks within a few minutes. `earliest_s` is
    the first moment that all of them could send at.
    """
    opens_s = -math.inf if not_before is None else not_before.timestamp()
    closes_s = math.inf if not_after is None else not_after.timestamp()
    there = _present(state, rules, step_s) if when is None and opens_s <= now_s < closes_s else None
    if closes_s <= now_s:
        return SendWindow(now_s, closes_s, refusal=f"the offer ended on {_clock(closes_s, rules)}")
    if when == "now" or there is not None:
        return _at_once(opens_s, closes_s, there, now_s, rules)
    if not_before is None and not_after is None:
        return None
    if opens_s - now_s > MAX_AHEAD_S:
        refusal = f"the offer begins on {_clock(opens_s, rules)}, more than {MAX_AHEAD_S / DAY_S:g} days ahead"
        return SendWindow(opens_s, closes_s, refusal=refusal)
    start_s = max(earliest_s, opens_s)
    # an offer that ends before the others who ask now could send is sent by this one at once
    return SendWindow(start_s if start_s < closes_s else max(now_s, opens_s), closes_s)


def _at_once(opens_s: float, closes_s: float, there: Presence | None, now_s: float, rules: Rules) -> SendWindow:
    if opens_s > now_s:
        return SendWindow(now_s, closes_s, True, refusal=f"the offer begins on {_clock(opens_s, rules)}, not now")
    why = "as asked"
    if there is not None:
        doing = there.kind.value.replace("_", " ")
        why = f"the newest event is a {doing} on {there.channel} of {rules.local(there.at_s):%H:%M}"
    return SendWindow(now_s, closes_s, True, why=why)


def _present(state: StateBatch, rules: Rules, step_s: float) -> Presence | None:
    found = presence(state) if rules.now_minutes > 0 else None
    return found if found is not None and step_s - found.at_s <= rules.now_minutes * 60 else None


def _is_there(seen: Presence) -> bool:
    return seen.kind in TRIGGER_KINDS and seen.channel in PRESENT_CHANNELS


def _clock(at_s: float, rules: Rules) -> str:
    return f"{rules.local(at_s):%Y-%m-%d %H:%M} ({rules.time_zone})"
