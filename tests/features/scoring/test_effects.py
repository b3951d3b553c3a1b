"""Effects as files: what was written is read again and gives the same gains, in each form that it may have."""

import json
from pathlib import Path

import lightgbm
import numpy as np
import pytest

from features.errors import StoreError
from features.scoring.effects import EFFECTS_FILE, EffectScorer, LinearEffects, TreeEffects, load_effects
from features.signals import SIGNAL_NAMES, signal_index
from features.vocabulary import NOTHING

NAMES = ("spend_90d", "n_occasions")
RNG = np.random.default_rng(0)
ROWS = RNG.random((300, len(SIGNAL_NAMES))).astype(np.float32)
ROWS[:40, signal_index(NAMES)[0]] = np.nan


def booster() -> lightgbm.Booster:
    x = ROWS[:, signal_index(NAMES)]
    settings = {"objective": "l2", "num_leaves": 4, "verbosity": -1, "num_threads": 1}
    return lightgbm.train(settings, lightgbm.Dataset(x, np.nan_to_num(x[:, 0]) - x[:, 1]), 5)


def scorer(model: LinearEffects | TreeEffects | None) -> EffectScorer:
    return EffectScorer(
        arms=(NOTHING, "email", "post"),
        seen=(True, True, True),
        population=np.array([0.0, 0.5, 0.25]),
        columns=signal_index(NAMES),
        history_prior=3.0,
        slope=0.5,
        centre=np.array([0.0, 0.1, 0.2]),
        base=1,
        model=model,
    )


FORMS = {
    "nobody differs": None,
    "linear": LinearEffects(
        np.array([0.5, 0.0]), np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]]), np.array([0.0, 0.1, 0.2])
    ),
    "trees": TreeEffects((None, booster().model_to_string(), None), np.array([0.25, 0.0, 0.75])),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_what_was_written_is_read_again(form: str, tmp_path: Path) -> None:
    written = scorer(FORMS[form])
    written.write(tmp_path, "somebody")
    again = load_effects(tmp_path, "The model")
    assert again is not None
    np.testing.assert_array_equal(again.gains(ROWS), written.gains(ROWS))
    assert again.personal == (form != "nobody differs")
    assert (np.ptp(again.gains(ROWS)[:, 1]) > 0) == again.personal
    assert json.loads((tmp_path / EFFECTS_FILE).read_text())["learner"] == "somebody"


def test_trees_answer_what_lightgbm_does_and_a_level_where_there_are_none() -> None:
    x, trees = ROWS[:, signal_index(NAMES)], FORMS["trees"]
    assert isinstance(trees, TreeEffects)
    expected = np.column_stack([np.full(300, 0.25), booster().predict(x), np.full(300, 0.75)])
    np.testing.assert_allclose(trees(x), expected, rtol=1e-12)


def test_a_folder_without_effects_has_none_and_an_unknown_signal_is_refused(tmp_path: Path) -> None:
    assert load_effects(tmp_path, "The model") is None
    scorer(None).write(tmp_path, "")
    file = tmp_path / EFFECTS_FILE
    file.write_text(file.read_text().replace("spend_90d", "spend_of_late"))
    with pytest.raises(StoreError, match="The model learned effects from the signal 'spend_of_late'"):
        load_effects(tmp_path, "The model")
