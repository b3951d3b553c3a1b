"""What was sent, and what the customer wishes, in; contacts, consents and preferences afterwards out. Compiled into the kernel.

Of a yes and a no at the same moment the no counts, whichever comes first.
"""

from typing import Any

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
    CONSENT,
    LAST_CONTACT,
    N_CHANNELS,
    N_CONTACTS,
    PREFERRED_CHANNEL,
    PROFILING,
    UNANSWERED,
)


@inlined
def note_contact(s: Any, t: float, channel: int) -> None:
    """The customer was contacted: one more unanswered, and the time for caps."""
    s.channels[channel, UNANSWERED] += 1.0
    s.channels[channel, LAST_CONTACT] = t
    s.contacts[channel, s.n_contacts[channel] % N_CONTACTS] = t
    s.n_contacts[channel] += 1


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
