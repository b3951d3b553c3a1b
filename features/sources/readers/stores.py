"""The address of an object store (S3, Google Cloud, Azure) comes in; the objects that lie there go out as parts.

Keys, region and another server's address are taken from the environment, as the clouds' own tools do: AWS_ACCESS_KEY_ID,
AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, …
"""

import fnmatch
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final
from urllib.parse import urlsplit

from features.errors import InputError
from features.sources.readers.places import WILD, Part, is_part, unzipped

_BUFFER_BYTES: Final = 4 * 2**20


def store_parts(address: str) -> Iterator[Part]:
    """The objects at an address: the one of that name, those below it, or those that its pattern names, in order.

    Raises InputError where there are none, or where the store cannot be reached.
    """
    try:
        import obstore
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError as error:
        raise InputError(f"{address} needs the package obstore.", repair="Install it: pip install obstore.") from error
    scheme, bucket, path, _, _ = urlsplit(address.replace("gcs://", "gs://"))
    path = path.lstrip("/")
    fixed = path[: min((path.find(mark) for mark in WILD if mark in path), default=len(path))]
    try:
        store = from_url(f"{scheme}://{bucket}")
        prefix = fixed.rpartition("/")[0] if fixed != path else path.rstrip("/")
        paths = sorted(meta["path"] for batch in obstore.list(store, prefix or None) for meta in batch if meta["size"])
        if not paths and fixed == path and path:
            paths = [obstore.head(store, path)["path"]]  # an object, and no folder: lists begin at whole steps
    except (BaseError, ValueError, FileNotFoundError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{address} cannot be read: {reason}", repair="Check the address and the keys in the environment."
        ) from error
    if fixed != path:
        paths = [each for each in paths if fnmatch.fnmatchcase(each, path)]
    start = len(prefix) + 1 if prefix and paths != [path] else 0
    paths = [each for each in paths if is_part(each[start:])]
    if not paths:
        raise InputError(f"There is nothing at {address}.", repair="Check the address.")
    for each in paths:
        inside = each[start:] if start else PurePosixPath(each).name
        yield from unzipped(Part(f"{scheme}://{bucket}/{each}", inside, lambda each=each: _opened(store, each)))  # type: ignore[misc]


@contextmanager
def _opened(store: Any, path: str) -> Iterator[BinaryIO]:
    import obstore

    with io.BufferedReader(
        _Remote(obstore.open_reader(store, path, buffer_size=_BUFFER_BYTES)), _BUFFER_BYTES
    ) as stream:
        yield stream


class _Remote(io.RawIOBase):
    """An object of a store as Python's files are: what is read is fetched."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = memoryview(self._reader.read(len(buffer)))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())
