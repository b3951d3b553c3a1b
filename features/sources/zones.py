"""Times that name their zone, as 2025-01-01 10:00 CET, come in; the times without it, and the zones, go out."""

import re
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

_OFFSETS: Final = {
    "UTC": "UTC", "GMT": "UTC", "Z": "UTC", "UT": "UTC", "WET": "+00:00", "WEST": "+01:00", "CET": "+01:00", "CEST": "+02:00",
    "MEZ": "+01:00", "MESZ": "+02:00", "EET": "+02:00", "EEST": "+03:00", "MSK": "+03:00", "EST": "-05:00", "EDT": "-04:00",
    "MST": "-07:00", "MDT": "-06:00", "PST": "-08:00", "PDT": "-07:00", "CDT": "-05:00", "AKST": "-09:00", "AKDT": "-08:00",
    "HST": "-10:00", "JST": "+09:00", "KST": "+09:00", "AEST": "+10:00", "AEDT": "+11:00", "ACST": "+09:30", "ACDT": "+10:30",
    "AWST": "+08:00", "NZST": "+12:00", "NZDT": "+13:00", "BRT": "-03:00", "ART": "-03:00", "SGT": "+08:00", "HKT": "+08:00",
    "SAST": "+02:00", "WIB": "+07:00", "PKT": "+05:00", "TRT": "+03:00",
}  # fmt: skip
"""Short names of one meaning. CST, BST and IST have several: they are read where `time_zone` is one that uses them."""
_DIRECTIVE: Final = re.compile(r"%(.)")


def split_zone_names(
    column: pa.ChunkedArray, time_format: str, time_zone: str | None
) -> tuple[pa.ChunkedArray, str, np.ndarray]:
    """Texts (n,) and their pattern without the zone, and each row's zone (n,); None for the one that all have.

    The zone that is written counts; a text with a name that nobody knows, or with none, is null, and so is unread.
    """
    zone_pattern = r"(?P<zone>[A-Za-z][A-Za-z0-9_+\-/]*)"
    pieces, place = [], 0
    for match in _DIRECTIVE.finditer(time_format):
        pieces += [re.escape(time_format[place : match.start()]), zone_pattern if match[1] == "Z" else r"[^\s]+?"]
        place = match.end()
    pattern = re.compile(r"\s*" + "".join(pieces) + re.escape(time_format[place:]) + r"\s*")
    known: dict[str, str | None] = {}
    texts: list[str | None] = []
    zones: list[Any] = []
    for text in column.to_pylist():
        match_ = None if text is None else pattern.fullmatch(text)
        if match_ is None:
            texts.append(text)
            zones.append(None)
            continue
        name = match_["zone"]
        if name not in known:
            known[name] = _zone(name, time_zone)
        start, end = match_.span("zone")
        texts.append(text[:start].rstrip() + text[end:] if known[name] is not None else text)
        zones.append(known[name])
    plain = re.sub(r"\s*%Z", "", time_format)
    return pa.chunked_array([pa.array(texts, pa.string())]), plain, np.array([*zones, None], dtype=object)[:-1]


def _zone(name: str, time_zone: str | None) -> str | None:
    """A zone as pandas knows it; None for a name that nobody knows."""
    if time_zone is not None:
        for month in (1, 7):
            moment = datetime(2024, month, 1, tzinfo=ZoneInfo(time_zone))
            if moment.tzname() == name:
                return f"UTC{moment.strftime('%z')[:3]}:{moment.strftime('%z')[3:5]}"
    if name.upper() in _OFFSETS:
        offset = _OFFSETS[name.upper()]
        return offset if offset == "UTC" else f"UTC{offset}"
    try:
        return ZoneInfo(name).key if "/" in name else None
    except (KeyError, ValueError, OSError):
        return None
