"""What the log tells of messages with offers and of their responses in, how well each offer does on each channel out.

A message with an offer is expected to bring as many responses as the model of ways says; how many it brings for each one
expected is the offer's lift. So an offer that goes to those who answer anyway is not taken for a good one. Lifts are gammas,
each shrunk to the mean of what is more general (all -> channel -> category or tag -> offer -> offer on a channel), so that a
new offer begins where others like it stand, and is as uncertain as they differ.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Final

import numpy as np

from features.arrays import FloatArray
from features.vocabulary import Channel
from serving.offers.choice import Draws

N_DRAWS: Final = 64
"""Draws that stand for what is not known: each is a policy, and one of them is taken for each decision."""
STRENGTH: Final = 5.0
"""Expected responses that what is more general counts for at every step: lifts are taken to differ by 1 / sqrt(5), or 45 %."""
Cell = tuple[str, str]
"""An offer's id and a channel."""


@dataclass(frozen=True)
class Tally:
    """Messages of one cell: the responses that the model expected of them by now, and those that came."""

    expected: float = 0.0
    responses: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.expected + other.expected, self.responses + other.responses)

    def times(self, lift: float) -> "Tally":
        """The same, where the model would have expected so many times as much."""
        return Tally(self.expected * lift, self.responses)

    def mean(self, prior: float, strength: float) -> float:
        """The lift, shrunk to a `prior` that counts as much as `strength` expected responses."""
        return (strength * prior + self.responses) / (strength + self.expected)


@dataclass(frozen=True)
class Counts:
    """The tallies of all cells that the log tells of, up to a moment of the log's own time."""

    tallies: Mapping[Cell, Tally] = field(default_factory=dict)
    until_s: float = 0.0

    @cached_property
    def version(self) -> str:
        """Twelve hexadecimal digits that are others whenever a tally is."""
        rows = (f"{cell} {tally.expected:.9g} {tally.responses:.9g}" for cell, tally in sorted(self.tallies.items()))
        return hashlib.blake2b("\n".join(rows).encode(), digest_size=6).hexdigest()


NOTHING_COUNTED: Final = Counts()
"""Before the log tells of anything."""


@dataclass(frozen=True, eq=False)
class Lifts:
    """The lifts of O offers on P channels, each a gamma (P, O)."""

    offer_ids: tuple[str, ...]
    shape: FloatArray
    rate: FloatArray

    @cached_property
    def mean(self) -> FloatArray:
        """What each is expected to be (P, O)."""
        return np.asarray(self.shape / self.rate)

    def draws(self, seed: str, n_draws: int = N_DRAWS) -> Draws:
        """`n_draws` of all lifts together (P, O, n_draws), the same for the same seed whatever other offers there are.

        Each lift takes every n-th of its quantiles once, so that few draws tell its spread; which go together is by chance.
        Quantiles are Wilson and Hilferty's (1931).
        """
        normal = NormalDist()
        levels = np.array([normal.inv_cdf((i + 0.5) / n_draws) for i in range(n_draws)])
        z = np.empty((len(self.offer_ids), n_draws))
        for row, offer_id in enumerate(self.offer_ids):
            digest = hashlib.blake2b(f"{seed}\x1f{offer_id}".encode(), digest_size=8).digest()
            z[row] = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big"))).permutation(levels)
        small = 1.0 / (9.0 * self.shape[:, :, None])
        cubes = np.maximum(0.0, 1.0 - small + z * np.sqrt(small)) ** 3
        return Draws(self.mean[:, :, None] * cubes)


def lifts_of(
    counts: Counts,
    offer_ids: Sequence[str],
    keys: Mapping[str, Collection[str]],
    channels: Sequence[Channel],
    strength: float = STRENGTH,
) -> Lifts:
    """The lifts of offers (O) on channels (P); `keys` are the categories and tags of these offers, and of others."""
    everything, of_channel, of_key = Tally(), dict[str, Tally](), dict[tuple[str, str], Tally]()
    for (offer_id, channel), tally in sorted(counts.tallies.items()):
        everything += tally
        of_channel[channel] = of_channel.get(channel, Tally()) + tally
        for key in sorted(keys.get(offer_id, ())):
            of_key[key, channel] = of_key.get((key, channel), Tally()) + tally
    overall = everything.mean(1.0, strength)
    shape, rate = np.empty((len(channels), len(offer_ids))), np.empty((len(channels), len(offer_ids)))
    on_channel = {
        channel: of_channel.get(channel, Tally()).mean(overall, strength) for channel in [*of_channel, *channels]
    }
    for column, offer_id in enumerate(offer_ids):
        own = sorted(keys.get(offer_id, ()))

        def like_it(channel: str, own: Sequence[str] = own) -> float:
            """What offers like this one do on a channel: the mean over its categories and tags."""
            general = on_channel[channel]
            means = [of_key.get((key, channel), Tally()).mean(general, strength) for key in own]
            return sum(means) / len(means) if means else general

        whole = Tally()
        for channel in sorted(on_channel):
            whole += counts.tallies.get((offer_id, channel), Tally()).times(like_it(channel))
        for row, channel in enumerate(channels):
            tally = counts.tallies.get((offer_id, channel), Tally())
            prior = like_it(channel) * whole.mean(1.0, strength)
            shape[row, column] = strength * prior + tally.responses
            rate[row, column] = strength + tally.expected
    return Lifts(tuple(offer_ids), shape, rate)
