"""However states came into memory, they are of the same types: nothing is compiled again while somebody waits."""

from typing import Any

import numpy as np
import pytest
from numba import typeof

from features.scoring import model_inputs
from features.scoring.model_inputs import CodeRows
from features.signals import compute_signals
from features.state import kernel_signals
from features.state.batch import StateBatch
from features.state.drawn import drawn_states
from features.state.encoding import decode, decode_one, encode


@pytest.mark.parametrize(("module", "function"), [(kernel_signals, "_fill"), (model_inputs, "_fill")])
def test_states_are_of_one_type(module: Any, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, as_of = drawn_states(5, np.random.default_rng(0))
    compute_signals(drawn, as_of)  # so that what is compared once has been
    states, products = encode(drawn, [str(i) for i in range(5)])
    stored = {"state": states["state"][3].as_py(), "products": products["products"][3].as_py(), "last_seq": 7}
    one, rows = decode_one(stored), CodeRows(["milk"])
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(module, function, lambda *arguments: seen.append(tuple(map(typeof, arguments))))
    for batch in (one, decode(states, products), drawn, StateBatch.empty(1), StateBatch.concat([one, one])):
        for moments in (as_of[: len(batch)], np.full(len(batch), 1e9)):
            compute_signals(batch, moments)
            model_inputs.model_inputs(batch, moments, rows)
    assert len(seen) == 10 and len(set(seen)) == 1
