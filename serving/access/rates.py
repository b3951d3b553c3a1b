"""How often each key may ask: a moment per key in shared memory in, the seconds to wait out, the same for all workers.

A token bucket, kept as the one moment at which it would be full again (the generic cell rate algorithm, ITU-T I.371): one
number per key, which every process of this machine can read and move, because they share one monotonic clock. Two that move
it at the same instant let one request too many through, and nobody waits for a lock.
"""

import mmap
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

BURST_S: Final = 2.0
"""A key that was quiet may ask at once what it may otherwise ask in this time, and at least one request."""
_N_SLOTS: Final = 65_536
"""Keys, and visitors' addresses: two that fall on one slot share its rate."""


class Rates:
    """Buckets of tokens by name, shared by every process that opens the same file."""

    def __init__(self, file: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Without a file the buckets are this process's own."""
        self._clock = clock
        if file is None:
            self._memory = mmap.mmap(-1, 8 * _N_SLOTS)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                os.ftruncate(descriptor, 8 * _N_SLOTS)
                self._memory = mmap.mmap(descriptor, 8 * _N_SLOTS)
            finally:
                os.close(descriptor)
        self._full_at = memoryview(self._memory).cast("d")

    def take(self, name: str, per_s: float) -> float:
        """Take a token of a bucket that gets `per_s` of them a second: 0 where there was one, else the seconds until then."""
        slot = zlib.crc32(name.encode()) % _N_SLOTS
        now, each_s = self._clock(), 1.0 / per_s
        # no bucket is emptier than empty: what says so is left over from before the machine started
        full_at = min(max(self._full_at[slot], now), now + max(BURST_S, each_s))
        early_s = full_at - now - max(BURST_S - each_s, 0.0)
        is_early = early_s > 1e-9  # sums of floats are not exact
        self._full_at[slot] = full_at if is_early else full_at + each_s
        return early_s if is_early else 0.0
