"""Bytes of a text in any encoding come in; blocks of UTF-8 go out, in which wrong bytes can still be told and shown."""

import codecs
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Final

from features.errors import InputError

_BOM: Final = codecs.BOM_UTF8
_WIDE: Final = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_UTF8: Final = ("utf-8", "utf8", "utf-8-sig")


def utf8_blocks(stream: BinaryIO, name: str, encoding: str, block_bytes: int) -> Iterator[bytes]:
    """The stream in blocks, as UTF-8 without a byte order mark; lone bytes of another encoding stay as they are.

    Raises InputError for an unknown encoding, for UTF-16 that nobody spoke of and for half a gzip file.
    """
    is_utf8 = encoding.lower().replace("_", "-") in _UTF8
    try:
        decoder = None if is_utf8 else codecs.getincrementaldecoder(encoding)("surrogateescape")
    except LookupError as error:
        raise InputError(f"There is no encoding {encoding!r}.", repair="Use utf-8, cp1252, latin-1, ...") from error
    at_start = True
    try:
        while block := stream.read(block_bytes):
            if at_start:
                at_start = False
                if is_utf8:
                    refuse_wide(block, name)
                    block = block.removeprefix(_BOM)
            if decoder is not None:
                block = decoder.decode(block).encode("utf-8", "surrogateescape")
            if block:
                yield block
        if decoder is not None:
            yield decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")
    except UnicodeError as error:
        raise InputError(f"{name} is not {encoding} ({error}).", repair="Say its encoding in the mapping.") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{name} is no whole gzip file ({error}).", repair="Bring it over again.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}.", repair="Check the path.") from error


def refuse_wide(start: bytes, name: str) -> None:
    """Raises InputError where the first bytes of a text are UTF-16, whose every other byte is a zero."""
    wide = next((label for bom, label in _WIDE.items() if start.startswith(bom)), None)
    if wide is None and len(start) >= 4:
        head = start[:1024]
        if head[1::2].count(0) > 0.4 * len(head) / 2:
            wide = "utf-16-le"
        elif head[::2].count(0) > 0.4 * len(head) / 2:
            wide = "utf-16-be"
    if wide is not None:
        raise InputError(
            f"{name} is written in UTF-16.", repair=f'Say encoding = "{wide}" in the mapping, or save it as UTF-8.'
        )


def is_broken(text: str) -> bool:
    """Whether a text holds bytes that are no characters of its encoding."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def wrong_bytes(text: str, encoding: str) -> str:
    """What is wrong with such a text."""
    return (
        f"holds bytes that are not {encoding} ({show(text)[:60]!r}): save the file in one encoding, or say which it has"
        ' with encoding in the mapping, for example encoding = "cp1252".'
    )


def show(text: str) -> str:
    """Text with its wrong bytes written out as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
