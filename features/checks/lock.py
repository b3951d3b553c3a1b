"""A lock of every package for every machine comes in; the lock of what Omni runs on goes out, with the SHA-256 of each file.

`python -m features.checks.lock FROM TO` reads and writes `pylock.toml` as PEP 751 has it; `make lock` makes both. Kept are
the packages that constraints.txt pins, and of their files those that CPython 3.11 and 3.12 take on Linux. Left out is torch,
with the libraries of graphics cards that its common build brings: each of its builds has an index and hashes of its own.
"""

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from features import atomic

OWN_INDEX: Final = "torch"
"""Comes as several builds of the same version."""
_FITS: Final = re.compile(
    r"-(?:[\w.]*py3[\w.]*-none|cp31[12]-(?:cp31[12]|none)|cp3(?:\d|1[012])-abi3)"
    r"-(?:any|[\w.]*manylinux[\w.]*_(?:x86_64|aarch64)|linux_(?:x86_64|aarch64))\.whl$"
)
"""The ends of wheels' names (the tags of PEP 425) that fit."""
_ALWAYS: Final = "python_full_version >= '3.11'"
_HEAD: Final = """\
# What constraints.txt pins, with the SHA-256 of every file that may be installed: written by `make lock`.
# For CPython 3.11 and 3.12 on Linux (x86_64, aarch64), without torch: docs/security.md says how to install from it.
"""


def normal_name(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_pins(constraints: str) -> dict[str, str]:
    """Version by normal name of what a file of constraints pins."""
    pairs = (line.strip().partition("==") for line in constraints.splitlines())
    return {normal_name(name): version for name, _, version in pairs if version}


def lock_of(resolved: Mapping[str, Any], pins: Mapping[str, str]) -> dict[str, Any]:
    """The lock of the packages that are pinned, each with the wheels that fit, or its source where none does.

    Raises ValueError for a package that is at another version than its pin, or has no file that fits.
    """
    packages = []
    for package in resolved["packages"]:
        name = normal_name(package["name"])
        if name == OWN_INDEX or name not in pins:
            continue
        if package["version"] != pins[name]:
            raise ValueError(f"{name} is at {package['version']}, and constraints.txt pins {pins[name]}")
        wheels = [_file(file) for file in package.get("wheels", ()) if _FITS.search(file["url"])]
        if not wheels and "sdist" not in package:
            raise ValueError(f"{name} {pins[name]} has no file that fits")
        files = {"wheels": wheels} if wheels else {"sdist": _file(package["sdist"])}
        marker = package.get("marker", _ALWAYS)
        where = {} if marker == _ALWAYS else {"marker": marker}
        packages.append({"name": name, "version": pins[name], **where, **files})
    return {
        "lock-version": resolved["lock-version"],
        "created-by": "omni",
        "requires-python": resolved["requires-python"],
        "packages": packages,
    }


def dump_lock(lock: Mapping[str, Any]) -> str:
    """A lock as TOML, a line for each file."""
    lines = [_HEAD, *(f"{key} = {_text(lock[key])}" for key in ("lock-version", "created-by", "requires-python"))]
    for package in lock["packages"]:
        lines += ["", "[[packages]]", f"name = {_text(package['name'])}", f"version = {_text(package['version'])}"]
        if "marker" in package:
            lines.append(f"marker = {_text(package['marker'])}")
        if "sdist" in package:
            lines.append(f"sdist = {_inline(package['sdist'])}")
        if "wheels" in package:
            lines += ["wheels = [", *(f"  {_inline(file)}," for file in package["wheels"]), "]"]
    return "\n".join(lines) + "\n"


def _file(file: Mapping[str, Any]) -> dict[str, Any]:
    return {"url": file["url"], "size": file["size"], "hashes": {"sha256": file["hashes"]["sha256"]}}


def _inline(file: Mapping[str, Any]) -> str:
    sha256 = _text(file["hashes"]["sha256"])
    return f"{{ url = {_text(file['url'])}, size = {file['size']}, hashes = {{ sha256 = {sha256} }} }}"


def _text(value: str) -> str:
    if any(letter in value for letter in '"\\\n'):
        raise ValueError(f"{value!r} cannot stand in a lock")
    return f'"{value}"'


def main(arguments: Sequence[str]) -> None:
    """`FROM TO`, beside constraints.txt."""
    source, target = map(Path, arguments)
    pins = read_pins(Path("constraints.txt").read_text(encoding="utf-8"))
    atomic.write_text(target, dump_lock(lock_of(tomllib.loads(source.read_text(encoding="utf-8")), pins)))


if __name__ == "__main__":
    main(sys.argv[1:])
