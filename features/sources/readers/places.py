"""A path, a folder, a pattern, a zip or the address of an object store comes in; the parts that lie there go out, in order."""

import glob
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from features.errors import InputError

_SCHEMES: Final = ("s3://", "s3a://", "gs://", "gcs://", "az://", "azure://", "abfs://", "abfss://")
_HIDDEN: Final = ("_", ".")
WILD: Final = "*?["
"""Marks of a pattern."""
_ZIP: Final = b"PK\x03\x04"


@dataclass(frozen=True)
class Part:
    """One file: its `name` for messages, `inside` (its path within the place, for what folders say), and how it is opened."""

    name: str
    inside: str
    open: Callable[[], AbstractContextManager[BinaryIO]]


def is_address(place: str) -> bool:
    """Whether it names an object store."""
    return place.startswith(_SCHEMES)


def exists(place: str) -> bool:
    """Whether anything lies there; of an object store that is only known when it is read."""
    return is_address(place) or Path(place).expanduser().exists() or bool(_matches(place))


def parts_of(place: str | Path) -> Iterator[Part]:
    """The files at a place, in the order of their names. Raises InputError where there are none.

    Names that begin with _ or . are no parts: they are what programs leave beside their files.
    """
    text = str(place)
    if is_address(text):
        from features.sources.readers.stores import store_parts

        yield from store_parts(text)
        return
    path = Path(text).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and is_part(str(file.relative_to(path))))
        if not files:
            raise InputError(f"The folder {path} holds no files.", repair="Check the path.")
        for file in files:
            yield from _of_file(file, str(file.relative_to(path)))
        return
    if path.exists():
        yield from _of_file(path, path.name)
        return
    matches = _matches(text)
    if not matches:
        raise InputError(f"There is no file {text!r}.", repair="Check the path.")
    for match in matches:
        yield from _of_file(Path(match), match)


def is_part(inside: str) -> bool:
    """Whether a path within a folder is that of a part."""
    return not any(step.startswith(_HIDDEN) for step in PurePosixPath(inside).parts)


def _of_file(file: Path, inside: str) -> Iterator[Part]:
    yield from unzipped(Part(str(file), inside, lambda: _opened(file)))


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        stream = file.open("rb")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.", repair="Check the path.") from error
    with stream:
        yield stream


def unzipped(part: Part) -> Iterator[Part]:
    """The files in a zip; anything else is one part, and so is a workbook, which is a zip too."""
    with part.open() as stream:
        is_zip = stream.read(len(_ZIP)) == _ZIP
    if not is_zip:
        yield part
        return
    try:
        with part.open() as stream, zipfile.ZipFile(stream) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except zipfile.BadZipFile as error:
        raise InputError(f"{part.name} is no whole zip ({error}).", repair="Bring it over again.") from error
    if "[Content_Types].xml" in names:
        yield part
        return
    names = sorted(name for name in names if is_part(name))
    if not names:
        raise InputError(f"{part.name} holds no files.", repair="Check the zip.")
    for name in names:
        yield Part(f"{part.name}/{name}", name, lambda name=name: _in_zip(part, name))  # type: ignore[misc]


@contextmanager
def _in_zip(part: Part, name: str) -> Iterator[BinaryIO]:
    with part.open() as stream, zipfile.ZipFile(stream) as archive, archive.open(name) as member:
        yield member  # type: ignore[misc]


def _matches(pattern: str) -> list[str]:
    """Files that a pattern names, without those that are no parts."""
    if not any(mark in pattern for mark in WILD):
        return []
    found = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207 - also absolute ones
    return sorted(match for match in found if Path(match).is_file() and not Path(match).name.startswith(_HIDDEN))
