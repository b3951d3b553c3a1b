"""What an experiment may be."""

import pytest
from pydantic import ValidationError

from features.experiments.experiment import Experiment

RANDOM = {"name": "b", "share": 0.5, "control": "random_allowed"}


def test_what_variants_change_is_told_by_key() -> None:
    found = Experiment(
        name="spring",
        variants=[
            {"name": "a", "share": 0.5},
            {"name": "b", "share": 0.2, "rules": {"temperature": 0.3}, "models": {"best-channel": 3}},
            {"name": "c", "share": 0.1, "control": "random_allowed"},
        ],
    )
    assert found.changes == {"rules.temperature", "models.best-channel", "rules.exploration"}
    assert Experiment.model_validate_json(found.text) == found


@pytest.mark.parametrize(
    ("variants", "complaint"),
    [
        ([{"name": "a", "share": 0.5}], "at least 2"),
        ([{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}], "the same name"),
        ([{"name": "a", "share": 0.6}, {"name": "b", "share": 0.5}], "more than 1"),
        ([{"name": "a", "share": 0}, {"name": "b", "share": 0.5}], "greater than 0"),
        ([{"name": "a b", "share": 0.5}, {"name": "b", "share": 0.5}], "match pattern"),
        ([{"name": "a", "share": 0.5, "model": {}}, {"name": "b", "share": 0.5}], "Extra inputs"),
        (
            [{"name": "a", "share": 0.5}, {**RANDOM, "rules": {"exploration": 0}}],
            "of its own",
        ),
    ],
)
def test_a_bad_one_is_refused(variants: list[dict[str, object]], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Experiment(name="spring", variants=variants)
