"""Fingerprints of Omni's own code: the files behind the compiled fold, the signals and the network in, digests out."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

FOLD_CODE: Final = (
    "vocabulary.py",
    "events/hashing.py",
    "events/values.py",
    "events/hashing.py",
    "events/payload.py",
    "state/layout.py",
    "state/kernel_parts.py",
    "state/kernel_contacts.py",
    "state/kernel_products.py",
    "state/kernel_returns.py",
    "state/kernel.py",
    "state/packing.py",
    "state/kernel_batch.py",
)
"""The files under `features/` that are compiled into the fold."""
FEATURE_CODE: Final = (
    *FOLD_CODE,
    "state/event_arrays.py",
    "state/order.py",
    "state/fold.py",
    "state/batch.py",
    "state/scratch.py",
    "state/unpacking.py",
    "state/moment.py",
    "state/drawn.py",
    "state/kernel_signals.py",
    "state/kernel_agreement.py",
    "attributes/codes.py",
    "attributes/declared.py",
    "attributes/values.py",
    "attributes/rows.py",
    "attributes/columns.py",
    "signals.py",
)
"""The files under `features/` that make signals out of events."""
NETWORK_CODE: Final = tuple(f"scoring/network/{name}.py" for name in ("onnx_arrays", "halves", "kernel"))
"""The files under `features/` that read a next-product network from its graph, and score with it."""
TREE_CODE: Final = (
    *("scoring/tree_text.py", "scoring/tree_walk.py"),
    *("scoring/ranking/leaf_masks.py", "scoring/forest.py"),
)
"""The files under `features/` that read and walk a model's trees."""
FEATURE_CODE_TAG: Final = "feature_code"
"""The tag of a registered version that keeps `feature_code()` as it was at the training."""

_FOLDER: Final = Path(__file__).parent


def fold_code() -> str:
    """16 hexadecimal digits of the files whose words and numbers are compiled into the fold."""
    return _digest(FOLD_CODE)


def feature_code() -> str:
    """16 hexadecimal digits of the code that makes signals: a model answers from the code that it learned from."""
    return _digest(FEATURE_CODE)


def network_code() -> str:
    """16 hexadecimal digits of the code that scores in a graph's place."""
    return _digest(NETWORK_CODE)


def tree_code() -> str:
    """16 hexadecimal digits of the code that answers with a model's trees."""
    return _digest(TREE_CODE)


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256(b"".join((_FOLDER / name).read_bytes() for name in names)).hexdigest()[:16]
