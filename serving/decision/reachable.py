"""What is known of a customer in, on which channels they can be reached out: an address, a device, a cookie; pure.

A rule that is not about what the customer wants, but about what the shop has: nobody is posted a letter because a cookie came
by. What counts as a way to somebody is `[reachable]` of rules.toml, channel by channel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from pydantic import field_validator

from features.arrays import BoolArray, IntArray
from features.config import Config
from features.events.contact_points import ADDRESS, kind_bits
from features.identity.resolution import ANONYMOUS
from features.state import layout
from features.state.batch import StateBatch
from features.vocabulary import CHANNEL_CODES, CHANNELS, CUSTOMER_KINDS, KINDS, Channel, EventKind, IdType

ALWAYS: Final = "always"
"""Everybody can be reached there: a shop's own counter."""
CONSENT: Final = "consent"
"""A yes to the channel of a customer with an id of the shop's own: where that came from there is the address, too."""
PURCHASE: Final = "purchase"
"""Anything bought, or a contract: it was delivered, or billed, to somewhere."""
ACTIVITY: Final = "activity"
"""Something that the customer did there, or that reached them there."""
_OF_CHANNEL: Final = {f"{channel} {ACTIVITY}": channel for channel in CHANNELS}
"""Activity on another channel: who uses the app can be sent a push message."""
_SAID_ELSEWHERE: Final = (EventKind.SUBSCRIBE, EventKind.UNSUBSCRIBE, EventKind.PROFILE)
_DELIVERED: Final = (EventKind.DELIVER, EventKind.IMPRESSION)
_TRIED: Final = (EventKind.SEND, EventKind.IGNORE)
"""Of a customer without an id it proves nothing: what was sent may have reached nobody."""


class Reachable(Config):
    """What a channel can reach a customer by: any one of its words is enough; without words it reaches nobody.

    A word is a kind of identifier (cookie, device, email, phone, loyalty_card, address, or another that events name), or
    always, consent, purchase, activity (on that channel), or another channel's activity, such as "app activity".
    """

    web: tuple[str, ...] = (IdType.COOKIE, IdType.DEVICE, ACTIVITY)
    app: tuple[str, ...] = (IdType.DEVICE, ACTIVITY)
    email: tuple[str, ...] = (IdType.EMAIL, CONSENT, ACTIVITY)
    sms: tuple[str, ...] = (IdType.PHONE, CONSENT, ACTIVITY)
    push: tuple[str, ...] = (IdType.DEVICE, "app activity", CONSENT, ACTIVITY)
    social: tuple[str, ...] = (IdType.EMAIL, IdType.PHONE, CONSENT, ACTIVITY)
    ads: tuple[str, ...] = (IdType.COOKIE, IdType.DEVICE, IdType.EMAIL, IdType.PHONE, CONSENT, ACTIVITY)
    chat: tuple[str, ...] = (IdType.PHONE, CONSENT, ACTIVITY)
    call_center: tuple[str, ...] = (IdType.PHONE, CONSENT, ACTIVITY)
    post: tuple[str, ...] = (ADDRESS, IdType.LOYALTY_CARD, PURCHASE, CONSENT, ACTIVITY)
    store: tuple[str, ...] = (ALWAYS,)

    @field_validator("*")
    @classmethod
    def _are_words(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            if not word.strip() or (" " in word and word not in _OF_CHANNEL):
                raise ValueError(
                    f"{word!r} is no way to reach a customer: write a kind of identifier, {ALWAYS}, {CONSENT},"
                    f" {PURCHASE}, {ACTIVITY}, or a channel's activity like 'app {ACTIVITY}'"
                )
        return tuple(map(str, words))

    @cached_property
    def ways(self) -> "dict[Channel, _Ways]":
        """The words of each channel, as they are compared with what is known."""
        return {channel: _Ways.of(channel, getattr(self, channel.value)) for channel in CHANNELS}


@dataclass(frozen=True)
class Reach:
    """What is known of a customer: kinds of identifier (bits), channels on which there was something (bits), purchases."""

    identified: int = 0
    active: int = 0
    named: bool = False
    """Whether they have an id of the shop's own."""
    bought: bool = False


def reach(state: StateBatch, customer_id: str) -> Reach:
    """The same, from a state (n = 1) and the customer's name."""
    named = _is_named(customer_id)
    channel_bits, active, bought = _BITS[named], 0, state.scalar("n_contracts")[0] > 0
    for code in state.pair_codes.values.tolist():
        active |= channel_bits[code]
        bought = bought or code % layout.N_KINDS == _PURCHASE
    return Reach(int(state.scalar("identified")[0]), active, named, bool(bought))


def unreachable(channel: Channel, known: Reach, consent: bool | None, rules: Reachable) -> list[str]:
    """Why a channel does not reach a customer; nothing where it does."""
    ways = rules.ways[channel]
    if (
        ways.always
        or known.identified & ways.identifiers
        or known.active & ways.channels
        or (ways.purchase and known.bought)
        or (ways.consent and consent is True and known.named)
    ):
        return []
    return [ways.refusal]


def reached(states: StateBatch, customer_ids: Sequence[str], consent: IntArray, rules: Reachable) -> BoolArray:
    """Where `unreachable` has nothing to say (n, channels) of n customers; `consent` (n, channels) is 1 for yes."""
    named = np.array([_is_named(name) for name in customer_ids], np.bool_)
    rows, codes = states.pair_codes.rows(), states.pair_codes.values
    active = np.zeros(len(states), np.int64)
    np.bitwise_or.at(active, rows, np.array([_BITS[False], _BITS[True]], np.int64)[named[rows].astype(np.int64), codes])
    bought = states.scalar("n_contracts") > 0
    bought[rows[codes % layout.N_KINDS == _PURCHASE]] = True
    identified = states.scalar("identified").astype(np.int64)
    found = np.zeros((len(states), len(CHANNELS)), np.bool_)
    for place, ways in enumerate(rules.ways.values()):
        found[:, place] = (
            ways.always
            | (identified & ways.identifiers != 0)
            | (active & ways.channels != 0)
            | (ways.purchase & bought)
            | (ways.consent & named & (consent[:, place] == 1))
        )
    return found


def _is_named(customer_id: str) -> bool:
    return bool(customer_id) and not customer_id.startswith(ANONYMOUS)


@dataclass(frozen=True)
class _Ways:
    """A channel's words."""

    always: bool
    consent: bool
    purchase: bool
    identifiers: int
    channels: int
    refusal: str

    @classmethod
    def of(cls, channel: Channel, words: tuple[str, ...]) -> "_Ways":
        others = {ALWAYS, CONSENT, PURCHASE, ACTIVITY, *_OF_CHANNEL}
        on = [_OF_CHANNEL[word] for word in words if word in _OF_CHANNEL] + ([channel] if ACTIVITY in words else [])
        return cls(
            always=ALWAYS in words,
            consent=CONSENT in words,
            purchase=PURCHASE in words,
            identifiers=kind_bits(word for word in words if word not in others),
            channels=sum({1 << CHANNEL_CODES[other] for other in on}),
            refusal=f"not reachable on {channel}: no {' or '.join(words)} is known"
            if words
            else f"not reachable on {channel}: rules.toml names no way",
        )


def _channel_bits(kinds: tuple[EventKind, ...]) -> tuple[int, ...]:
    """The channel's bit of every (channel, kind) pair of these kinds, 0 of others."""
    return tuple(1 << place if kind in kinds else 0 for place in range(layout.N_CHANNELS) for kind in KINDS)


_PURCHASE: Final = KINDS.index(EventKind.PURCHASE)
_DONE: Final = (*(kind for kind in CUSTOMER_KINDS if kind not in _SAID_ELSEWHERE), *_DELIVERED)
_BITS: Final = {False: _channel_bits(_DONE), True: _channel_bits((*_DONE, *_TRIED))}
