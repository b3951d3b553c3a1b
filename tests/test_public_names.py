"""What a notebook imports: `from omni import …` gives each public name from where it lies, and says which there are."""

import importlib

import pytest

import omni


def test_every_public_name_is_there():
    for module, names in omni.PUBLIC.items():
        for name in names:
            found = getattr(omni, name)
            there = importlib.import_module(module)
            assert found is getattr(there, name)


def test_a_name_that_is_not_public_is_told():
    with pytest.raises(AttributeError, match=r"omni has no 'nonsense'; PUBLIC in omni\.py says what there is"):
        getattr(omni, "nonsense")  # noqa: B009
