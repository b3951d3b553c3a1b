"""All events of one customer in, every product and campaign that they were contacted about out: what a state has no room for.

The rule is the fold's (kernel_contacts.py), over as many of them as there are.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from features.arrays import FloatArray, IntArray
from features.state.jit import in_place, inlined
from features.state.layout import CAMPAIGN_MARK, EventArrays
from features.vocabulary import CHANNELS, CONTACT_KINDS, DAY_S, KIND_CODES, KINDS, REACTION_KINDS, EventKind

_SEND: Final = KIND_CODES[EventKind.SEND]
_IMPRESSION: Final = KIND_CODES[EventKind.IMPRESSION]
_CLICK: Final = KIND_CODES[EventKind.CLICK]
_OUTCOME: Final = KIND_CODES[EventKind.OUTCOME]
_CONTACTS: Final = np.isin(np.arange(len(KINDS)), [KIND_CODES[kind] for kind in CONTACT_KINDS])
_MATTERS: Final = np.isin(np.arange(len(KINDS)), [KIND_CODES[kind] for kind in (*CONTACT_KINDS, *REACTION_KINDS)])


@dataclass(frozen=True)
class Exposures:
    """Products and, with CAMPAIGN_MARK, campaigns that a customer was contacted about, in order of the first contact."""

    code: IntArray  # (n,)
    last_s: FloatArray  # (n,) the last contact, seconds since the epoch
    ignored: IntArray  # (n,) contacts in a row without a reaction
    channel: IntArray  # (n,) of the last one


def all_exposures(events: EventArrays) -> Exposures:
    """The exposures after all events of one customer, which are in order."""
    rows = np.flatnonzero(_MATTERS[events.kind])
    time, kind, channel, product, campaign = (
        column[rows] for column in (events.time, events.kind, events.channel, events.product, events.campaign)
    )
    campaign = np.where(campaign != 0, campaign + CAMPAIGN_MARK, 0)
    most = 2 * int(np.count_nonzero(_CONTACTS[kind]))
    code, ignored, on_channel = (np.zeros(most, np.int64) for _ in range(3))
    last_s, newest_s = np.zeros(most), np.full(len(CHANNELS), np.nan)
    place = np.full(2 ** (2 * most).bit_length(), -1, np.int64)
    n = _note(time, kind, channel, product, campaign, newest_s, place, code, last_s, ignored, on_channel)
    return Exposures(code[:n], last_s[:n], ignored[:n], on_channel[:n])


@in_place
def _note(
    time: Any,
    kind: Any,
    channel: Any,
    product: Any,
    campaign: Any,
    newest_s: Any,
    place: Any,
    code: Any,
    last_s: Any,
    ignored: Any,
    on_channel: Any,
) -> int:
    """Go through events (m,), fill what follows `place`, a hash table of where each code stands, and say how many there are."""
    n = 0
    for i in range(len(time)):
        is_contact, is_nameless = kind[i] == _SEND or kind[i] == _IMPRESSION, True
        for about in (product[i], campaign[i]):
            if about == 0:
                continue
            is_nameless = False
            slot = _slot(about, place, code)
            at = place[slot]
            if not is_contact:
                if at >= 0:
                    ignored[at] = 0
                continue
            if at < 0:
                at = place[slot] = n
                code[at] = about
                n += 1
            if kind[i] == _SEND or ignored[at] == 0 or time[i] - last_s[at] >= DAY_S:
                ignored[at] += 1
            last_s[at], on_channel[at] = time[i], channel[i]
        if is_contact:
            newest_s[channel[i]] = time[i]
        elif is_nameless and (kind[i] == _CLICK or kind[i] == _OUTCOME):  # it answers the newest contact on its channel
            for at in range(n):
                if on_channel[at] == channel[i] and last_s[at] == newest_s[channel[i]]:
                    ignored[at] = 0
    return n


@inlined
def _slot(about: int, place: Any, code: Any) -> int:
    """Where a code lies in the table, or would; codes are hashes already."""
    mask = len(place) - 1
    slot = about & mask
    while place[slot] >= 0 and code[place[slot]] != about:
        slot = (slot + 1) & mask
    return slot
