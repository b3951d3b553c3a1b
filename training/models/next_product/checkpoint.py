"""A fit's state in, a file out, and back: a fit that was killed goes on where it was and ends where it would have ended."""

import copy
import hashlib
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features import atomic
from training.models.next_product.data import Examples
from training.models.next_product.network import NextProductNet

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FitState:
    """Loss and validation value per epoch so far, the best epoch (from 0) and its weights."""

    losses: list[float]
    values: list[float]
    best: int
    kept: dict[str, Any]


class FitCheckpoint:
    """Reads and writes the state of one fit; without a path it does neither."""

    def __init__(self, path: Path | None, key: str, net: NextProductNet, *parts: Any) -> None:
        """`key` names data and settings; `parts` are the optimizer, the schedule and numpy's generator."""
        self._path, self._key, self._net = path, key, net
        self._optimizer, self._schedule, self._rng = parts

    def load(self) -> FitState:
        """How far the fit had come; everything that it goes on with is set back to that."""
        fresh = FitState([], [], 0, copy.deepcopy(self._net.state_dict()))
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
        state = FitState(**saved["state"])
        logger.info("going on from epoch %d of %s", len(state.losses), self._path)
        return state

    def store(self, state: FitState) -> None:
        """Write everything that the next epoch needs, all or nothing."""
        if self._path is None:
            return
        saved = {
            "key": self._key,
            "state": asdict(state),
            "net": self._net.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "rng": self._rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
        }
        with atomic.replacing(self._path) as part:
            torch.save(saved, part)


def fingerprint(train: Examples, settings: str) -> str:
    """A key that changes with what is learned from and how."""
    digest = hashlib.blake2b(settings.encode(), digest_size=16)
    for column in (*train.inputs.values(), train.targets.indptr, train.targets.items, train.moment):
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()
