"""A unit's name and an experiment in, the variant that it gets out; pure."""

import hashlib

from features.experiments.experiment import SHARES_END, Experiment


def place_of(unit: str, experiment: str) -> float:
    """Where a unit's hash, keyed with the experiment's name, falls in [0, 1).

    The same on every machine and after every restart, and independent of the hash of every other experiment, and of the
    hold-out's.
    """
    key = hashlib.blake2b(experiment.encode(), digest_size=32).digest()
    digest = hashlib.blake2b(unit.encode(), digest_size=8, key=key, person=b"omni-experiment").digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def variant_of(unit: str, experiment: Experiment) -> int | None:
    """The number of the variant that a unit gets; None for one that is not in the experiment."""
    place, end = place_of(unit, experiment.name), 0.0
    for number, variant in enumerate(experiment.variants):
        end += variant.share
        if place < end or end >= 1 - SHARES_END:
            return number
    return None
