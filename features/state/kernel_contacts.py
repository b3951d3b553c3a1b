"""What was sent, and what the customer wishes, in; contacts, consents and preferences afterwards out. Compiled into the kernel.

An exposure is a product or campaign that the customer was contacted about, by a send or an impression on any channel. Every
send that follows no reaction counts as one more in a row, an impression only if the last contact is a day ago: whoever
looks at a page ten times did not refuse ten offers. Of a yes and a no at the same moment the no counts, whichever comes first.
"""

import math
from typing import Any, Final

import numpy as np

from features.events.payload import (
    BITS_PER_ANSWER,
    NO,
    NO_PREFERENCE,
    PREFERENCE_SHIFT,
    PROFILING_SHIFT,
    YES,
)
from features.state.jit import inlined
from features.state.layout import (
    CAMPAIGN_MARK,
    CONSENT,
    EXPOSURE_CHANNEL,
    EXPOSURE_EARLIER,
    EXPOSURE_IGNORED,
    EXPOSURE_LAST,
    EXPOSURES_UNTIL,
    LAST_CONTACT,
    N_CHANNELS,
    N_CONTACTS,
    N_EXPOSED,
    N_EXPOSURES,
    N_KINDS,
    PAIR_LAST,
    PREFERRED_CHANNEL,
    PROFILING,
    UNANSWERED,
)
from features.vocabulary import DAY_S, KIND_CODES, EventKind

_IMPRESSION: Final = KIND_CODES[EventKind.IMPRESSION]


@inlined
def note_contact(s: Any, t: float, channel: int) -> None:
    """The customer was contacted: one more unanswered, and the time for caps."""
    s.channels[channel, UNANSWERED] += 1.0
    s.channels[channel, LAST_CONTACT] = t
    s.contacts[channel, s.n_contacts[channel] % N_CONTACTS] = t
    s.n_contacts[channel] += 1


@inlined
def note_exposures(s: Any, t: float, channel: int, product: int, campaign: int, sent: bool) -> None:
    """The customer was contacted about a product, a campaign or both (0: none), by a message or by an impression."""
    for is_campaign in range(2):
        subject = product
        if is_campaign == 1:
            subject = campaign + CAMPAIGN_MARK if campaign != 0 else 0
        if subject == 0:
            continue
        row = s.exposures[expose(s, subject)]
        if sent or row[EXPOSURE_IGNORED] == 0.0 or t - row[EXPOSURE_LAST] >= DAY_S:
            row[EXPOSURE_IGNORED] += 1.0
        row[EXPOSURE_LAST] = t
        row[EXPOSURE_CHANNEL] = channel


@inlined
def expose(s: Any, subject: int) -> Any:
    """Where a product or campaign stands among the exposures; a full table forgets the one whose last contact is the oldest."""
    n = s.cursors[N_EXPOSED]
    for i in range(n):
        if s.exposure_codes[i] == subject:
            return i
    slot = n
    if n < N_EXPOSURES:
        s.cursors[N_EXPOSED] = n + 1
    else:
        slot = 0
        for i in range(n):
            if s.exposures[i, EXPOSURE_LAST] < s.exposures[slot, EXPOSURE_LAST]:
                slot = i
        if not s.scalars[EXPOSURES_UNTIL] >= s.exposures[slot, EXPOSURE_LAST]:
            s.scalars[EXPOSURES_UNTIL] = s.exposures[slot, EXPOSURE_LAST]
    s.exposure_codes[slot] = subject
    s.exposures[slot, EXPOSURE_IGNORED] = 0.0
    s.exposures[slot, EXPOSURE_EARLIER] = 0.0 if math.isnan(s.scalars[EXPOSURES_UNTIL]) else 1.0
    return slot


@inlined
def note_reaction(s: Any, channel: int, product: int, campaign: int, answers: bool) -> None:
    """The customer took up a product or campaign; one that names neither `answers` the newest contact on its channel."""
    n = s.cursors[N_EXPOSED]
    if product != 0 or campaign != 0:
        for i in range(n):
            code = s.exposure_codes[i]
            if code == product or code == campaign + CAMPAIGN_MARK:
                s.exposures[i, EXPOSURE_IGNORED] = 0.0
        return
    if not answers:
        return
    newest = s.channels[channel, LAST_CONTACT]
    slot = s.pair_slots[channel * N_KINDS + _IMPRESSION]
    if slot >= 0 and not s.pairs[slot, PAIR_LAST] <= newest:
        newest = s.pairs[slot, PAIR_LAST]
    for i in range(n):
        if s.exposures[i, EXPOSURE_CHANNEL] == channel and s.exposures[i, EXPOSURE_LAST] == newest:
            s.exposures[i, EXPOSURE_IGNORED] = 0.0


@inlined
def note_consent(s: Any, t: float, channel: int, agreed: bool) -> None:
    """The customer said yes or no to a channel."""
    if not agreed:
        s.channels[channel, CONSENT] = 0.0
        s.refused_at[channel] = t
    elif s.refused_at[channel] != t:
        s.channels[channel, CONSENT] = 1.0


@inlined
def note_profile(s: Any, t: float, detail: float) -> None:
    """Consents and preferences as events/payload.py packs them."""
    answers = np.int64(detail)
    for channel in range(N_CHANNELS):
        answer = answers >> BITS_PER_ANSWER * channel & 3
        if answer in (YES, NO):
            note_consent(s, t, channel, answer == YES)
    answer = answers >> PROFILING_SHIFT & 3
    if answer == NO:
        s.scalars[PROFILING] = 0.0
        s.refused_at[N_CHANNELS] = t
    elif answer == YES and s.refused_at[N_CHANNELS] != t:
        s.scalars[PROFILING] = 1.0
    preferred = answers >> PREFERENCE_SHIFT & 15
    if preferred == NO_PREFERENCE:
        s.scalars[PREFERRED_CHANNEL] = np.nan
    elif preferred > 0:
        s.scalars[PREFERRED_CHANNEL] = preferred - 1
