"""Files of a registered model: its local folder in; what a task needs and what training wrote into MLmodel out."""

from pathlib import Path
from typing import Any, Final

import yaml

from features.errors import ModelError, StoreError

COMPILED: Final = "__pycache__"
"""A folder that Python makes beside a model's code, when somebody runs that."""


def find_file(folder: Path, pattern: str, where: str) -> Path:
    """The first file of that name anywhere below; `where` names the model. Raises StoreError where there is none."""
    found = find_optional(folder, pattern)
    if found is None:
        raise StoreError(f"{where} holds no file {pattern}.", repair="Train it again.")
    return found


def find_optional(folder: Path, pattern: str) -> Path | None:
    """The same, or None where there is none."""
    return next(iter(find_all(folder, pattern)), None)


def find_all(folder: Path, pattern: str) -> list[Path]:
    """All of them; not what Python compiled of a model's code, which does not belong to the model."""
    found = sorted(folder.rglob(plain_name(pattern)))
    return [path for path in found if path.is_file() and COMPILED not in path.relative_to(folder).parts]


def plain_name(name: str) -> str:
    """A file's name as a model's own files may give it. Raises ModelError for one that leads to another folder."""
    if not name or "/" in name or "\\" in name or "\0" in name or name in (".", ".."):
        raise ModelError(
            f"A model's file names {name!r}, which is no name of a file beside it.", repair="Train it again."
        )
    return name


def read_metadata(folder: Path) -> dict[str, Any]:
    """What training wrote into MLmodel beside the model; empty where the folder has none."""
    file = find_optional(folder, "MLmodel")
    described = {} if file is None else yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return dict(described.get("metadata") or {})
