"""Histories with held-out baskets in, the same dataset out that a feature store fills: the published protocols' moments.

A moment is one basket before each customer's end. Inputs are made of the lines before it as they are of a customer's state;
a long history is learned from in windows.
"""

import numpy as np
from numpy.typing import NDArray

from features.arrays import IntArray
from features.scoring.model_inputs import STORE, UNKNOWN_GAP_DAYS
from features.vocabulary import Columns
from training.data.held_out import HeldOut
from training.data.interactions import SECONDS_PER_DAY, Interactions
from training.evaluation.ranking import Targets
from training.models.next_product.config import NextProductConfig
from training.models.next_product.data import Examples, ProductVocabulary
from training.models.next_product.dataset import Dataset
from training.models.next_product.history import ProductHistory
from training.models.next_product.item_tables import CompanionBuilder

_HABIT_HALF_LIFE_DAYS = 90.0


def published_dataset(data: HeldOut, n_left: int, config: NextProductConfig) -> Dataset:
    """The dataset that validates on the baskets with `n_left` after them, and learns from all that lies before these."""
    lines = data.lines
    ids = tuple(str(row) for row in range(1, lines.n_items + 1))
    vocabulary = ProductVocabulary(ids, np.arange(1, lines.n_items + 1), lines.n_items)
    kind, channel = (lines.sides.get(name) for name in (Columns.KIND, Columns.CHANNEL))
    return Dataset(
        lines=lines,
        vocabulary=vocabulary,
        builder=CompanionBuilder(
            lines, vocabulary, ProductHistory.of_lines(lines, vocabulary.catalogue_rows), None, None
        ),
        train=learned_examples(data, n_left + 1, config.max_length),
        train_at=(data.at(n_left + 1),),
        valid=asked_examples(data, n_left, config.max_length),
        valid_at=data.at(n_left),
        n_kinds=1 if kind is None else kind.n_codes,
        n_channels=1 if channel is None else channel.n_codes,
        all_items=True,
    )


def asked_examples(data: HeldOut, n_left: int, max_length: int) -> Examples:
    """Everybody who is asked about, just before the basket with `n_left` after it."""
    customers, targets = data.targets(n_left)
    start, end = _borders(data.known(n_left + 1), customers)
    inputs = line_inputs(data.known(n_left + 1), start, end, max_length)
    return Examples(inputs, targets, customers, np.zeros(len(customers), np.int64))


def learned_examples(data: HeldOut, n_left: int, max_length: int) -> Examples:
    """Those, and the histories that are not their newest events: of others, and what lies further back, without targets."""
    asked = asked_examples(data, n_left, max_length)
    lines = data.known(n_left)
    others = np.setdiff1d(np.arange(lines.n_customers), asked.customers)
    customers, start, end = older_windows(lines, asked.customers, others, max_length, n_newest=1)
    inputs = line_inputs(lines, start, end, max_length)
    return Examples(
        {name: np.concatenate((array, inputs[name])) for name, array in asked.inputs.items()},
        Targets(
            np.concatenate((asked.targets.indptr, np.full(len(customers), asked.targets.indptr[-1]))),
            asked.targets.items,
        ),
        np.concatenate((asked.customers, customers)),
        np.zeros(len(asked) + len(customers), np.int64),
    )


def older_windows(
    lines: Interactions, asked: IntArray, others: IntArray, max_length: int, n_newest: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Customers, first and end lines of windows of at most `max_length`, each beginning with the last line of the one before.

    All of the `others`' histories, and the `asked` customers' before the window that their moment looks at, whose own
    basket of `n_newest` lines or more is left to that moment.
    """
    everybody = np.concatenate((asked, others))
    start, end = _borders(lines, everybody)
    end = end - np.where(np.arange(len(everybody)) < len(asked), n_newest + max_length - 1, 0)
    n_windows = -(-np.maximum(end - start - 1, 0) // (max_length - 1))
    owner = np.repeat(np.arange(len(everybody)), n_windows)
    back = np.arange(len(owner)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    ends = end[owner] - back * (max_length - 1)
    return everybody[owner], np.maximum(start[owner], ends - max_length), ends


def line_inputs(lines: Interactions, start: IntArray, end: IntArray, max_length: int) -> dict[str, NDArray[np.generic]]:
    """What `model_inputs` makes of a state, (n, max_length) each, of the lines [start, end), a day after the last of them."""
    n, sizes = len(start), end - start
    owner = np.repeat(np.arange(n), sizes)
    at = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + start[owner]
    age = (lines.time[end - 1][owner] - lines.time[at]) / SECONDS_PER_DAY + 1.0 if len(at) else np.empty(0)
    column = max_length - end[owner] + at
    kept = column >= 0

    def placed(values: NDArray[np.generic], dtype: type) -> NDArray[np.generic]:
        table: NDArray[np.generic] = np.zeros((n, max_length), dtype)
        table[owner[kept], column[kept]] = values[kept]
        return table

    inputs: dict[str, NDArray[np.generic]] = {
        "item": placed(lines.item[at], np.int32),
        "age_days": placed(age, np.float32),
        STORE: np.full(n, np.nan),
    }
    for name in (Columns.KIND, Columns.CHANNEL):
        side = lines.sides.get(name)
        inputs[str(name)] = placed(np.zeros(len(at)) if side is None else side.code[at], np.int16)
    return inputs | _habits(lines.item[at], age, owner, (n, max_length))


def _habits(
    item: IntArray, age: NDArray[np.floating], owner: IntArray, shape: tuple[int, int]
) -> dict[str, NDArray[np.generic]]:
    """The products of each customer, the latest last, with how often, how lately and how regularly they were taken."""
    width = int(item.max(initial=0)) + 1
    pair, place, count = np.unique(owner * width + item, return_inverse=True, return_counts=True)
    newest, oldest = np.full(len(pair), np.inf), np.zeros(len(pair))
    np.minimum.at(newest, place, age)
    np.maximum.at(oldest, place, age)
    weight = np.bincount(place, np.exp2(-age / _HABIT_HALF_LIFE_DAYS), len(pair))
    gap = np.where(count > 1, (oldest - newest) / np.maximum(count - 1, 1), UNKNOWN_GAP_DAYS)
    order = np.lexsort((newest, pair // width))
    row = pair[order] // width
    column = shape[1] - 1 - (np.arange(len(row)) - np.searchsorted(row, row))
    kept = column >= 0
    tables: dict[str, NDArray[np.generic]] = {}
    for name, values, dtype in (
        ("item", pair % width, np.int32),
        ("weight", weight, np.float32),
        ("age_days", newest, np.float32),
        ("gap_days", gap, np.float32),
        ("count", count, np.float32),
    ):
        table = np.full(shape, UNKNOWN_GAP_DAYS if name == "gap_days" else 0, dtype)
        table[row[kept], column[kept]] = values[order][kept]
        tables[f"habit_{name}"] = table
    return tables


def _borders(lines: Interactions, customers: IntArray) -> tuple[IntArray, IntArray]:
    """Where the customers' lines (n,) begin and end."""
    return np.searchsorted(lines.customer, customers), np.searchsorted(lines.customer, customers, side="right")
