"""A fit's state in, a file out, and back: a fit that was killed goes on where it was and ends where it would have ended."""

import copy
import hashlib
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features import atomic
from training.benchmarks.hybrid.sasrec import CausalTransformer
from training.data.interactions import Interactions

logger = logging.getLogger(__name__)


class FitCheckpoint:
    """Reads and writes the state of one fit; without a path it does neither."""

    def __init__(self, path: Path | None, key: str, net: CausalTransformer, *parts: Any) -> None:
        """`key` names data and settings; `parts` are the optimizer, the schedule and numpy's generator."""
        self._path, self._key, self._net = path, key, net
        self._optimizer, self._schedule, self._rng = parts

    def load(self) -> tuple[int, tuple[int, float], dict[str, Any]]:
        """The epoch to begin with, the best epoch with its value, and its weights."""
        fresh = (0, (0, -math.inf), copy.deepcopy(self._net.state_dict()))
        if self._path is None or not self._path.exists():
            return fresh
        saved = torch.load(self._path, weights_only=False)
        if saved["key"] != self._key:
            return fresh
        self._net.load_state_dict(saved["net"])
        self._optimizer.load_state_dict(saved["optimizer"])
        self._schedule.load_state_dict(saved["schedule"])
        self._rng.bit_generator.state = saved["rng"]
        torch.set_rng_state(saved["torch_rng"])
        logger.info("going on from epoch %d of %s", saved["epoch"], self._path)
        return saved["epoch"], saved["best"], saved["kept"]

    def store(self, epoch: int, best: tuple[int, float], kept: dict[str, Any]) -> None:
        """Write everything that the next epoch needs, all or nothing."""
        if self._path is None:
            return
        state = {
            "key": self._key,
            "epoch": epoch,
            "best": best,
            "kept": kept,
            "net": self._net.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "rng": self._rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
        }
        with atomic.replacing(self._path) as part:
            torch.save(state, part)


def fingerprint(data: Interactions, settings: str) -> str:
    """A key that changes with what is learned from and how."""
    digest = hashlib.blake2b(settings.encode(), digest_size=16)
    for column in (data.customer, data.item, *(side.code for side in data.sides.values())):
        digest.update(np.ascontiguousarray(column, dtype=np.int64).data)
    return digest.hexdigest()
