"""Feast's import: what it leaves out, and that nothing else notices."""

import subprocess
import sys

SHORTLY = """
import sys
import typeguard
before = typeguard.typechecked
from features.store.loading import load_feast
assert load_feast() is load_feast() is sys.modules["feast"]
assert typeguard.typechecked is before
assert "torch" not in sys.modules
from feast import Entity, ValueType
from feast.online_response import get_torch
assert Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING).join_key == "customer_id"
import torch
assert get_torch() is torch
"""


def test_feast_is_imported_without_torch_and_typeguard_is_as_it_was():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SHORTLY], capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")
