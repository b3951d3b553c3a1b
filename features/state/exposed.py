"""All events of one customer in, every product and campaign that they were contacted about out: what a state has no room for.

The rule is the fold's (kernel_contacts.py), over as many of them as there are.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from features.arrays import FloatArray, IntArray
from features.state.jit import in_place
from features.state.layout import CAMPAIGN_MARK, EventArrays
from features.vocabulary import CHANNELS, CONTACT_KINDS, DAY_S, KIND_CODES, KINDS, REACTION_KINDS, EventKind

_SEND: Final = KIND_CODES[EventKind.SEND]
_IMPRESSION: Final = KIND_CODES[EventKind.IMPRESSION]
_CLICK: Final = KIND_CODES[EventKind.CLICK]
_OUTCOME: Final = KIND_CODES[EventKind.OUTCOME]
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
    codes, place = np.unique(np.stack([product, campaign]), return_inverse=True)
    last_s = np.full(len(codes), -np.inf)
    first, ignored, on_channel = (np.zeros(len(codes), np.int64) for _ in range(3))
    newest_s = np.full(len(CHANNELS), np.nan)
    _note(time, kind, channel, codes, place.reshape(2, -1), newest_s, first, last_s, ignored, on_channel)
    contacted = np.flatnonzero(first)
    order = contacted[np.argsort(first[contacted])]
    return Exposures(codes[order], last_s[order], ignored[order], on_channel[order])


@in_place
def _note(
    time: Any,
    kind: Any,
    channel: Any,
    codes: Any,
    place: Any,
    newest_s: Any,
    first: Any,
    last_s: Any,
    ignored: Any,
    on_channel: Any,
) -> None:
    """Go through events (m,) about the codes at `place` (2, m), and fill what follows; `first` counts contacts from 1."""
    n_contacts = 0
    for i in range(len(time)):
        is_contact, is_nameless = kind[i] == _SEND or kind[i] == _IMPRESSION, True
        for about in range(2):
            at = place[about, i]
            if codes[at] == 0:
                continue
            is_nameless = False
            if not is_contact:
                ignored[at] = 0
                continue
            n_contacts += 1
            if first[at] == 0:
                first[at] = n_contacts
            if kind[i] == _SEND or ignored[at] == 0 or time[i] - last_s[at] >= DAY_S:
                ignored[at] += 1
            last_s[at], on_channel[at] = time[i], channel[i]
        if is_contact:
            newest_s[channel[i]] = time[i]
        elif is_nameless and (kind[i] == _CLICK or kind[i] == _OUTCOME):  # it answers the newest contact on its channel
            for at in range(len(codes)):
                if on_channel[at] == channel[i] and last_s[at] == newest_s[channel[i]]:
                    ignored[at] = 0
