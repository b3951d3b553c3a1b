"""Files of a registered model: its local folder in; what a task needs and what training wrote into MLmodel out."""

from pathlib import Path
from typing import Any

import yaml

from features.errors import StoreError


def find_file(folder: Path, pattern: str, where: str) -> Path:
    """The first file of that name anywhere below; `where` names the model. Raises StoreError where there is none."""
    found = find_optional(folder, pattern)
    if found is None:
        raise StoreError(f"{where} holds no file {pattern}.", repair="Train it again.")
    return found


def find_optional(folder: Path, pattern: str) -> Path | None:
    """The same, or None where there is none."""
    return next(iter(sorted(folder.rglob(pattern))), None)


def read_metadata(folder: Path) -> dict[str, Any]:
    """What training wrote into MLmodel beside the model; empty where the folder has none."""
    file = find_optional(folder, "MLmodel")
    described = {} if file is None else yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return dict(described.get("metadata") or {})
