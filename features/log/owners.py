"""Whose the events of an append are: distinct customers and each event's number among them, in the forms that writers take."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features.arrays import IntArray
from features.log.sightings import NO_SIGHTING


@dataclass(frozen=True)
class Owners:
    """Whose each event is, `codes` (n,) numbering the customers that they are of.

    Of a duplicate that names identifiers it is -1: it is not kept, and teaches nothing.
    """

    customer_keys: Sequence[int] | IntArray
    names: Sequence[str]
    codes: Sequence[int] | IntArray

    @property
    def keys(self) -> list[int]:
        """Keys of the log's `customers` rows, (n,); -1 for none."""
        if isinstance(self.codes, np.ndarray):
            many: list[int] = self.key_array.tolist()
            return many
        keys = [*self.customer_keys, NO_SIGHTING]
        return [keys[code] for code in self.codes]

    @property
    def key_array(self) -> IntArray:
        """The same, made faster where they are many."""
        keys: IntArray = np.append(np.array(self.customer_keys, np.int64), NO_SIGHTING)[np.array(self.codes, np.int64)]
        return keys

    @property
    def ids(self) -> pa.Array:
        """Customers' names, (n,); null for none."""
        names = pa.array([*self.names, None], pa.string())
        return names.take(pa.array(np.array(self.codes) % len(names)))
