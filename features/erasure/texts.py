"""Names of erased customers in free text: a text as it was stored in, whether it names one of them out.

Rejected rows keep what came as it came: bytes of another encoding, halves of characters, lines that are no JSON. Whatever
it is, it is read as far as it can be; a name counts where it stands alone: as a value, between separators or in quotes.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

from features.log.tombstones import Matcher

_LONGEST_NAME: Final = 256
"""Characters; what is longer is kept as no name."""
_SPAN_TOKENS: Final = 6
"""A name may hold separators itself (`Lovelace, Ada`): so many tokens that follow each other are read as one, too."""
_KEPT_ANSWERS: Final = 200_000
_APART: Final = r"""\s\x00-\x1f\x7f\ufeff\ufffd,;|{}\[\]()<>"'`=:&?\\\ud800-\udfff"""
_TOKEN: Final = re.compile(f"[^{_APART}]+(?::(?=\\d)[^{_APART}]+)*")
"""What no separator and no broken byte interrupts; a colon before a digit is one of a time of day or of an address."""
_CELL: Final = re.compile(r"[,;\t]")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_REPR_QUOTED: Final = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_ESCAPED_HALF: Final = re.compile(r"\\u(d[89a-f][0-9a-f]{2})", re.IGNORECASE)
_HALF: Final = re.compile("[\ud800-\udfff]+")
_NO_BYTE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Halves of characters that stand for no byte: they part names, as every half does."""
_MARKS: Final = "\ufeff\x00"
_ONE_BYTE: Final = ("cp1252", "latin-1")
_TWO_BYTES: Final = ("utf-16-le", "utf-16-be")
_DISTINCT: Final = 6
"""Letters and digits of which a part of a longer text has to have so many to count as a name."""


class Mentions:
    """Tells whether a text names an erased customer; what was asked before is answered from memory."""

    def __init__(self, matcher: Matcher) -> None:
        self._is_name: Callable[[str], bool] = lru_cache(_KEPT_ANSWERS)(lambda text: matcher.has_value((text,)))

    def in_row(self, text: str) -> bool:
        """Of a row as it came: JSON, or whatever it was instead."""
        value, is_json = _parse(text)
        if is_json:
            return any(self.in_value(part) for part in _texts(value))
        text = _with_halves(text)
        readings = [text, *_readings(text)]
        return self.in_value(text) or any(self._any(_quoted(each)) or self._any(_spans(each)) for each in readings)

    def in_value(self, text: str) -> bool:
        """Of one value of a row: the whole of it, or a part of it that can hardly be anything but a name."""
        for reading in (text, *_readings(text)):
            if self._any((reading,)) or self._any(span for span in _spans(reading) if _is_distinct(span)):
                return True
        return bool(_HALF.search(text)) and self._any(_HALF.split(text))

    def in_line(self, text: str) -> bool:
        """Of a line of an export or of a program's log: a cell, or one word that can hardly be anything but a name.

        There may be millions of them, so they are not read as closely as rejected rows are.
        """
        words = {match.group() for match in _TOKEN.finditer(text)}
        return self._any(cell.strip(' "') for cell in _CELL.split(text)) or self._any(filter(_is_distinct, words))

    def in_reason(self, text: str) -> bool:
        """Of the reason why a row was refused, which quotes the value that was wrong."""
        return any(self.in_value(_with_halves(first or second)) for first, second in _REPR_QUOTED.findall(text))

    def _any(self, texts: Iterable[str]) -> bool:
        stripped = (text.strip().strip(_MARKS).strip() for text in texts)
        return any(self._is_name(text) for text in stripped if text and len(text) <= _LONGEST_NAME)


def _parse(text: str) -> tuple[Any, bool]:
    """The JSON value and true; or false, where it is none that can be read."""
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):
        return None, False


def _texts(value: Any) -> Iterator[str]:
    """Every key, text and number in a JSON value, as text; without recursion, as nesting may be deep."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list):
            waiting += part
        elif isinstance(part, str):
            yield part
        elif isinstance(part, float) and part.is_integer():
            yield from (str(part), str(int(part)))  # a spreadsheet's 12.0 is customer 12
        elif part is not None:
            yield str(part)


def _readings(text: str) -> Iterator[str]:
    """A text as the encodings have it that its bytes may be of; nothing where it is plain."""
    has_nul, has_half = "\x00" in text, bool(_HALF.search(text))
    if has_nul:
        plain = text.replace("\x00", "")
        yield plain
        yield from _readings(plain)
    if has_half:
        yield text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")  # two halves that belong together
    if not (has_nul or has_half):
        return
    raw = _NO_BYTE.sub(" ", text).encode("utf-8", "surrogateescape")
    for encoding in _ONE_BYTE if has_half else ():
        yield raw.decode(encoding, "ignore")
    for encoding in _TWO_BYTES if has_nul else ():
        yield from (raw[start:].decode(encoding, "ignore") for start in (0, 1))


def _spans(text: str) -> Iterator[str]:
    """Tokens, and several that follow each other, with what stands between them."""
    tokens = [match.span() for match in _TOKEN.finditer(text)]
    for place, (start, _) in enumerate(tokens):
        for _, end in tokens[place : place + _SPAN_TOKENS]:
            if end - start <= _LONGEST_NAME:
                yield text[start:end]


def _quoted(text: str) -> Iterator[str]:
    """What stands in quotes in a line that is not JSON as a whole."""
    for match in _QUOTED.finditer(text):
        value, is_json = _parse(match.group())
        yield value if is_json else match.group(1)


def _with_halves(text: str) -> str:
    """Text with its broken bytes, which a rejected row keeps written out, put back."""
    return _ESCAPED_HALF.sub(lambda match: chr(int(match.group(1), 16)), text)


def _is_distinct(part: str) -> bool:
    """Whether a part of a value is a name where it is one: `7` and `2024` in a date are not customer 7."""
    return "@" in part or sum(map(str.isalnum, part)) >= _DISTINCT
