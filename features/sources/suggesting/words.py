"""The words of a file's columns come in; what they say of the kind and the channel of events goes out."""

import re

from features.sources.suggesting.columns import Column, Table
from features.sources.suggesting.draft import Draft
from features.sources.suggesting.names import CHANNELS, COLUMNS, KINDS, NOT_SOLD, STATUSES
from features.vocabulary import CHANNEL_CODES, KIND_CODES, Channel, EventKind

MOST_WORDS = 60
"""A column of more different words is none of kinds or channels."""


def plain_word(word: str) -> str:
    """A word in small letters, its parts joined by _."""
    return re.sub(r"[^a-z0-9]+", "_", word.lower()).strip("_")


def guess_kind(table: Table, draft: Draft) -> None:
    """Put what happened into the draft: a column of words, the status of orders, or one kind for every row."""
    free = [column for column in table.find(COLUMNS["kind"]) if column.path not in draft.used()]
    kinds = next((column for column in free if _kinds(column)), None)
    pair = _pair(free)
    if pair is not None:
        _words_of_pair(pair, draft)
        return
    statuses = [column for column in table.find(STATUSES) if column.path not in draft.used() and _kinds(column)]
    if kinds is None and statuses and not draft.properties and not draft.consent:
        kinds = statuses[0]
    if kinds is not None:
        _words_of_kind(kinds, draft, is_status=kinds in statuses)
        return
    constant, why = _constant_kind(draft)
    draft.constants["kind"] = (constant.value, why)


def _pair(columns: list[Column]) -> Column | None:
    """Two columns of which the second says more of what the first only names, as one; None where one column says it all."""
    for first in columns:
        for second in columns:
            alone = [text for text, other in zip(first.values, second.values, strict=True) if other is not None]
            if first is second or first.share != 1.0 or not 0 < second.share < 1.0 or len(set(alone)) > 3:
                continue
            joined = tuple(
                "/".join(str(part) for part in parts if part is not None)
                for parts in zip(first.values, second.values, strict=True)
            )
            both = Column(f"{first.path}\n{second.path}", "", joined)
            if _known(both) > max(_known(first), _known(second)) or _known(both) == _known(second) > _known(first):
                return both
    return None


def _known(column: Column) -> int:
    """How many rows have a word that is known; of none where there are too many words."""
    if len(column.counts) > MOST_WORDS:
        return 0
    return sum(count for word, count in column.counts.items() if _kind_of(word.split("/")[-1]) is not None)


def _lacks(kind: EventKind, draft: Draft) -> bool:
    """Whether events of a kind need what the file does not say."""
    if kind is EventKind.IDENTIFY:
        return not draft.identifiers
    needs_product = kind in (EventKind.VIEW, EventKind.ADD_TO_CART, EventKind.REMOVE_FROM_CART)
    return needs_product and "product_id" not in draft.columns


def _words_of_pair(pair: Column, draft: Draft) -> None:
    draft.top["kind_from"] = (pair.path.split("\n"), "together they say what happened")
    unknown: list[str] = []
    for word, count in pair.counts.most_common():
        kind = _kind_of(word.split("/")[-1])
        if kind is None or _lacks(kind, draft):
            unknown.append(word)
        else:
            draft.kinds[word] = (kind.value, f"{count:,} rows")
    if unknown:
        draft.skip["kind"] = (unknown, "CHECK: words that are no kind of ours; their rows are counted and left out")


def _kinds(column: Column) -> dict[str, EventKind]:
    """What the words of a column mean, those that mean anything; empty where it is no column of kinds."""
    if not 0 < len(column.counts) <= MOST_WORDS:
        return {}
    meant = {word: kind for word in column.counts if (kind := _kind_of(word)) is not None}
    known = sum(column.counts[word] for word in meant)
    return meant if known >= 0.3 * len(column.texts) else {}


def _kind_of(word: str) -> EventKind | None:
    plain = plain_word(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word))
    if plain in KIND_CODES:
        return EventKind(plain)
    return next((kind for kind, words in KINDS.items() if plain in words), None)


def _words_of_kind(column: Column, draft: Draft, is_status: bool) -> None:
    draft.columns["kind"] = (
        column.path,
        ", ".join(f"{word} {count:,}" for word, count in column.counts.most_common(5)),
    )
    unknown: list[str] = []
    for word, count in column.counts.most_common():
        plain = plain_word(word)
        kind = None if is_status and plain in NOT_SOLD else _kind_of(word)
        if kind is None or _lacks(kind, draft):
            unknown.append(word)
        elif word != kind.value:
            draft.kinds[word] = (kind.value, f"{count:,} rows")
    if unknown:
        draft.skip["kind"] = (unknown, "CHECK: words that are no kind of ours; their rows are counted and left out")


def _constant_kind(draft: Draft) -> tuple[EventKind, str]:
    if draft.consent:
        return EventKind.PROFILE, "people and what they agreed to"
    if "rating" in draft.properties:
        return EventKind.FEEDBACK, "every row is a rating"
    if {"value", "unit_price", "quantity"} & draft.columns.keys():
        return EventKind.PURCHASE, "every row is something that was sold"
    if "query" in draft.properties:
        return EventKind.SEARCH, "every row is a search"
    if "product_id" in draft.columns:
        return EventKind.VIEW, "CHECK: nothing says what happened to the product"
    return EventKind.VISIT, "CHECK: nothing says what happened"


def guess_channel(table: Table, draft: Draft) -> None:
    """Put where it happened into the draft: a column whose words all are channels, and one channel for the rest."""
    for column in table.find(COLUMNS["channel"]):
        if column.path in draft.used() or len(column.counts) > MOST_WORDS:
            continue
        meant = {word: channel for word in column.counts if (channel := _channel_of(word)) is not None}
        if len(meant) < len(column.counts):
            continue
        draft.columns["channel"] = (column.path, ", ".join(column.counts))
        for word, channel in meant.items():
            if word != channel.value:
                draft.channels[word] = (channel.value, "")
        if column.share == 1.0:
            return
        break
    is_store = "store_id" in draft.columns and draft.constants.get("kind", ("", ""))[0] == EventKind.PURCHASE
    guessed = Channel.STORE if is_store else Channel.WEB
    draft.constants["channel"] = (guessed.value, f"CHECK: no column says where; one of {', '.join(Channel)}")


def _channel_of(word: str) -> Channel | None:
    plain = plain_word(word)
    if plain in CHANNEL_CODES:
        return Channel(plain)
    return next((channel for channel, words in CHANNELS.items() if plain in words), None)
