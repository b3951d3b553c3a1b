"""Which models passed their trial in a home: the digest of their files in, yes or no out; so that each is tried once.

`omni promote` tries a version before it may serve, and the service need not do it again. What passed did so with certain
libraries and certain code; with others it is tried anew.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Final

from features import atomic
from features.fingerprint import feature_code, network_code, tree_code
from features.vocabulary import Task

_KEPT: Final = 10
_READ_WITH: Final = ("onnxruntime", "numpy", "numba")


def tried_with() -> str:
    """What a trial is good for: the libraries that read the files, and the code that asks and answers."""
    code = f"features {feature_code()}", f"network {network_code()}", f"trees {tree_code()}"
    return " ".join([*(f"{name} {version(name)}" for name in _READ_WITH), *code])


class Passed:
    """The digests of a home that passed."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def knows(self, task: Task, digest: str) -> bool:
        """Whether files of this digest passed, as they would be read now."""
        return _entry(digest) in self._entries(task)

    def note(self, task: Task, digest: str) -> None:
        """They did. Raises OSError where the home cannot be written to."""
        path = self._path(task)
        with atomic.locked(path):
            entries = [entry for entry in self._entries(task) if entry != _entry(digest)]
            atomic.write_text(path, json.dumps([*entries, _entry(digest)][-_KEPT:], indent=1))

    def _entries(self, task: Task) -> list[str]:
        try:
            entries = json.loads(self._path(task).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return []
        return [str(entry) for entry in entries] if isinstance(entries, list) else []

    def _path(self, task: Task) -> Path:
        return self._home / "models" / task.value / "passed.json"


def _entry(digest: str) -> str:
    return f"{digest} {tried_with()}"
