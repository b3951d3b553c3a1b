"""The installed environment comes in; a software bill of materials goes out: CycloneDX 1.6, as JSON.

`python -m features.checks.sbom FILE` writes it. What is listed is what Omni needs, directly or not, as far as installed.
"""

import json
import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Any, Final

from features import atomic

_ROOT: Final = "omni"
_LONGEST_LICENCE: Final = 120
"""A licence field that is longer is the licence's text, not its name."""


def bill_of_materials(installed: Iterable[Distribution]) -> dict[str, Any]:
    """One component per package, in the order of their names, without its place or the time: the same for the same packages."""
    packages = {_name(package): package for package in installed if _name(package)}
    components = [_component(name, packages[name]) for name in sorted(packages) if name != _ROOT]
    root = packages.get(_ROOT)
    depends = [
        {"ref": _ref(name, package.version), "dependsOn": sorted(_needs(package, packages))}
        for name, package in sorted(packages.items())
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _component(_ROOT, root, "application")} if root else {},
        "components": components,
        "dependencies": depends,
    }


def _component(name: str, package: Distribution, kind: str = "library") -> dict[str, Any]:
    licence = _licence(package)
    return {
        "type": kind,
        "bom-ref": _ref(name, package.version),
        "name": name,
        "version": package.version,
        "purl": _ref(name, package.version),
        **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
    }


def _licence(package: Distribution) -> str:
    fields: Any = package.metadata  # a message of the module email, of which its type says too little
    said: str = fields.get("License-Expression") or fields.get("License") or ""
    if not said or len(said) > _LONGEST_LICENCE or "\n" in said:
        classifiers = fields.get_all("Classifier") or []
        said = next((line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::")), "")
    return said


def _needs(package: Distribution, packages: dict[str, Distribution]) -> set[str]:
    names = {_normal(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]) for line in package.requires or []}
    return {_ref(name, packages[name].version) for name in names & set(packages)}


def _name(package: Distribution) -> str:
    fields: Any = package.metadata
    return _normal(fields.get("Name") or "")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _ref(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        distribution(_ROOT)
    except PackageNotFoundError:
        raise SystemExit("omni is not installed here: run make install.") from None
    atomic.write_text(file, json.dumps(bill_of_materials(distributions()), indent=2) + "\n")
