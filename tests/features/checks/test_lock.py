"""The lock with hashes: what is kept of a resolution, and that the file in the repository is what constraints.txt pins."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from features.checks.lock import OWN_INDEX, dump_lock, lock_of, read_pins

ROOT = Path(__file__).parents[3]
NOT_INSTALLED = {"obp", "seaborn", "pyspark", "py4j"}
"""Pins of extras that `make install` leaves out."""
SHA256 = "0123456789abcdef" * 4


def package(name: str, version: str, *files: str, **more: Any) -> dict[str, Any]:
    listed = [{"url": f"https://host/{file}", "size": 5, "hashes": {"sha256": SHA256}} for file in files]
    return {"name": name, "version": version, "wheels": listed, "sdist": listed[0], **more}


def resolved(*packages: dict[str, Any]) -> dict[str, Any]:
    return {"lock-version": "1.0", "requires-python": ">=3.11.5", "packages": list(packages)}


@pytest.mark.parametrize(
    ("file", "fits"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("a-1-cp39-abi3-manylinux_2_17_aarch64.whl", True),
        ("a-1-cp310-abi3-manylinux_2_28_x86_64.whl", True),
        ("a-1-py3-none-manylinux_2_28_x86_64.whl", True),
        ("a-1-cp313-cp313-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp313-abi3-manylinux_2_28_x86_64.whl", False),
        ("a-1-cp312-cp312-musllinux_1_2_x86_64.whl", False),
        ("a-1-cp312-cp312-macosx_11_0_arm64.whl", False),
        ("a-1-py3-none-win_amd64.whl", False),
    ],
)
def test_a_wheel_is_kept_where_it_can_be_installed(file: str, fits: bool) -> None:
    (kept,) = lock_of(resolved(package("a", "1", file)), {"a": "1"})["packages"]
    assert ("wheels" in kept) is fits
    assert ("sdist" in kept) is not fits


def test_what_is_not_pinned_is_left_out_and_another_version_is_refused() -> None:
    wheel = "x-py3-none-any.whl"
    packages = resolved(
        package("A_b", "1", wheel), package(OWN_INDEX, "2", wheel), package("cuda-toolkit", "13", wheel)
    )
    lock = lock_of(packages, {"a-b": "1", OWN_INDEX: "2"})
    assert [kept["name"] for kept in lock["packages"]] == ["a-b"]
    with pytest.raises(ValueError, match="a-b is at 1"):
        lock_of(packages, {"a-b": "2"})


def test_the_text_says_what_the_lock_does() -> None:
    marker = "python_full_version == '3.11.*'"
    packages = (package("a", "1", "a-py3-none-any.whl", marker=marker), package("b", "2", "b.tar.gz"))
    lock = lock_of(resolved(*packages), {"a": "1", "b": "2"})
    assert tomllib.loads(dump_lock(lock)) == lock
    with pytest.raises(ValueError, match="cannot stand in a lock"):
        dump_lock({**lock, "created-by": 'a "quote"'})


def test_the_lock_holds_what_constraints_pins_and_a_hash_of_every_file() -> None:
    lock = tomllib.loads((ROOT / "pylock.toml").read_text(encoding="utf-8"))
    pins = read_pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    locked = {package["name"]: package["version"] for package in lock["packages"]}
    assert locked == {name: version for name, version in pins.items() if name not in {OWN_INDEX, *NOT_INSTALLED}}
    for kept in lock["packages"]:
        files = [*kept.get("wheels", []), *([kept["sdist"]] if "sdist" in kept else [])]
        assert files, kept["name"]
        assert {len(bytes.fromhex(file["hashes"]["sha256"])) for file in files} == {32}, kept["name"]
