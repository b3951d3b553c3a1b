"""All events of one customer in, every product and campaign that they were contacted about out: what a state has no room for.

The rule is the fold's (kernel_contacts.py), over as many of them as there are.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from features.arrays import FloatArray, IntArray
from features.state.layout import CAMPAIGN_MARK, EventArrays
from features.vocabulary import CONTACT_KINDS, DAY_S, KIND_CODES, KINDS, REACTION_KINDS, EventKind

_SEND: Final = KIND_CODES[EventKind.SEND]
_CONTACTS: Final = frozenset(KIND_CODES[kind] for kind in CONTACT_KINDS)
_ANSWERS: Final = frozenset({KIND_CODES[EventKind.CLICK], KIND_CODES[EventKind.OUTCOME]})
_MATTERS: Final = np.isin(np.arange(len(KINDS)), [KIND_CODES[kind] for kind in (*CONTACT_KINDS, *REACTION_KINDS)])


@dataclass(frozen=True)
class Exposures:
    """Products and, with CAMPAIGN_MARK, campaigns that a customer was contacted about, in order of the first contact."""

    code: IntArray  # (n,)
    last_s: FloatArray  # (n,) the last contact, seconds since the epoch
    ignored: IntArray  # (n,) contacts in a row without a reaction
    channel: IntArray  # (n,) of the last one


@dataclass
class _Exposure:
    last_s: float
    ignored: int
    channel: int


def all_exposures(events: EventArrays) -> Exposures:
    """The exposures after all events of one customer, which are in order."""
    states: dict[int, _Exposure] = {}
    newest_s: dict[int, float] = {}
    rows = np.flatnonzero(_MATTERS[events.kind])
    columns = (events.time, events.kind, events.channel, events.product, events.campaign)
    for t, kind, channel, product, campaign in zip(*(column[rows].tolist() for column in columns), strict=True):
        subjects = [code for code in (product, campaign and campaign + CAMPAIGN_MARK) if code]
        if kind in _CONTACTS:
            newest_s[channel] = t
            for code in subjects:
                _contact(states, code, t, channel, sent=kind == _SEND)
        else:
            if not subjects and kind in _ANSWERS:
                subjects = _of_moment(states, channel, newest_s.get(channel))
            for code in subjects:
                if code in states:
                    states[code].ignored = 0
    return Exposures(
        np.array(list(states), np.int64),
        np.array([state.last_s for state in states.values()]),
        np.array([state.ignored for state in states.values()], np.int64),
        np.array([state.channel for state in states.values()], np.int64),
    )


def _contact(states: dict[int, _Exposure], code: int, t: float, channel: int, *, sent: bool) -> None:
    state = states.setdefault(code, _Exposure(-math.inf, 0, channel))
    if sent or not state.ignored or t - state.last_s >= DAY_S:
        state.ignored += 1
    state.last_s, state.channel = t, channel


def _of_moment(states: dict[int, _Exposure], channel: int, at_s: float | None) -> list[int]:
    """What the contact on a channel at that moment was about; nothing where it does not say."""
    return [code for code, state in states.items() if state.channel == channel and state.last_s == at_s]
