"""A model's folder in, the SHA-256 of each of its files out; a folder that is not as it was recorded is refused.

Nothing here parses a file: native libraries end the whole process over some damaged ones, so this comes before them.
"""

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlparse
from urllib.request import url2pathname

from features.errors import ModelError
from features.scoring.model_files import COMPILED

DIGESTS_FILE: Final = "digests.json"
"""Where training writes the digests, beside the model's files."""
DIGEST_TAG: Final = "files_sha256"
"""The tag of a registered version that keeps `digest_of` its files."""
_WRITTEN_LATER: Final = frozenset({DIGESTS_FILE, "registered_model_meta"})
"""By us, and by MLflow when it hands a model out."""
_PICKLES: Final = frozenset({".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth"})
_MOST_FILES: Final = 1000
_BLOCK_BYTES: Final = 1 << 20
_REPAIR: Final = "Bring its files back from a backup, train it again, or go back to the one before with omni rollback."


@dataclass(frozen=True)
class FileDigest:
    """What a file holds: its length and the SHA-256 of its content, in hexadecimal."""

    size_bytes: int
    sha256: str


Digests = Mapping[str, FileDigest]
"""By the file's path in the model's folder, with `/`."""


def model_files(folder: Path, where: str) -> dict[str, Path]:
    """The files of a model, by their paths in its folder; `where` names the model.

    Raises ModelError for whatever is not a plain file or a plain folder (a link leads out of the folder, a pipe never
    ends), for pickles (they run what somebody put into them), and for more files than any model has.
    """
    files: dict[str, Path] = {}
    folders = [folder]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
            if stat.S_ISDIR(mode):
                folders += [path] if path.name != COMPILED else []
            elif not stat.S_ISREG(mode):
                kind = "a link" if stat.S_ISLNK(mode) else "no plain file"
                raise ModelError(f"{where}: {name} is {kind}, and is not read.", repair=_REPAIR)
            elif path.suffix.lower() in _PICKLES:
                raise ModelError(
                    f"{where}: {name} is a pickle, which may run anything when it is read.",
                    repair="Register it without: Omni reads LightGBM's text, ONNX, JSON and NumPy's arrays.",
                )
            else:
                files[name] = path
            if len(files) + len(folders) > _MOST_FILES:
                raise ModelError(
                    f"{where} has more than {_MOST_FILES} files, so it is no model of ours.", repair=_REPAIR
                )
    return files


def need_plain_files(place: str, where: str) -> None:
    """Look at a model's folder before it is copied from `place`, a URI: a link would be followed, a pipe waited for.

    What does not lie on this machine is looked at once it does. Raises ModelError as `model_files` does.
    """
    folder = local_folder(place)
    if folder is not None:
        if folder.is_symlink() or not folder.is_dir():
            raise ModelError(f"{where} has no folder {folder}.", repair=_REPAIR)
        model_files(folder, where)


def local_folder(place: str) -> Path | None:
    """The folder of a URI that is of this machine's files; None for another place."""
    address = urlparse(place)
    is_here = address.scheme in ("", "file") and address.netloc in ("", "localhost")
    return Path(url2pathname(address.path)) if is_here else None


def digest_files(folder: Path, where: str) -> dict[str, FileDigest]:
    """The digests of a model's files as they are. Raises ModelError as `model_files` does."""
    files = model_files(folder, where)
    return {name: _digest(path) for name, path in sorted(files.items()) if name not in _WRITTEN_LATER}


def digest_of(digests: Digests) -> str:
    """One SHA-256 for all files together: another one as soon as any name or any byte is."""
    plain = {name: asdict(digest) for name, digest in digests.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def write_digests(folder: Path, digests: Digests) -> Path:
    """Write DIGESTS_FILE into a folder; answers its path."""
    path = folder / DIGESTS_FILE
    plain = {name: asdict(digest) for name, digest in sorted(digests.items())}
    path.write_text(json.dumps(plain, indent=1), encoding="utf-8")
    return path


def check_files(folder: Path, recorded: str, where: str) -> dict[str, FileDigest]:
    """The digests of a model's files, which together have the digest `recorded`; empty: nothing was recorded of it.

    Raises ModelError, naming the file where DIGESTS_FILE knows it, for files that are not as they were recorded.
    """
    found = digest_files(folder, where)
    if recorded and digest_of(found) != recorded:
        raise ModelError(f"{where} is damaged: {_difference(found, folder, recorded)}.", repair=_REPAIR)
    return found


def plain_digests(digests: Digests) -> dict[str, Any]:
    """Digests as JSON can hold them."""
    return {name: asdict(digest) for name, digest in digests.items()}


def of_plain(plain: Mapping[str, Any]) -> dict[str, FileDigest]:
    """The inverse of `plain_digests`. Raises KeyError, TypeError or ValueError for anything else."""
    return {str(name): FileDigest(int(row["size_bytes"]), str(row["sha256"])) for name, row in plain.items()}


def differing_file(found: Digests, expected: Digests) -> str:
    """What differs first, in words; empty where nothing does."""
    for name in sorted({*found, *expected}):
        ours, theirs = found.get(name), expected.get(name)
        if ours is None:
            return f"{name} is missing"
        if theirs is None:
            return f"{name} does not belong to it"
        if ours.size_bytes != theirs.size_bytes:
            return f"{name} has {ours.size_bytes:,} bytes instead of {theirs.size_bytes:,}"
        if ours != theirs:
            return f"{name} has another content than was recorded"
    return ""


def _difference(found: Digests, folder: Path, recorded: str) -> str:
    try:
        expected = of_plain(json.loads((folder / DIGESTS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        expected = {}
    if digest_of(expected) != recorded:  # the list is damaged, too
        return f"its files have another digest than was recorded ({recorded[:12]}…)"
    return differing_file(found, expected)


def _digest(path: Path) -> FileDigest:
    content, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            content.update(block)
            size_bytes += len(block)
    return FileDigest(size_bytes, content.hexdigest())
