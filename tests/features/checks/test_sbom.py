"""The bill of materials: every installed package once, with its version, licence and needs."""

from importlib.metadata import distributions, version
from pathlib import Path

import jsonschema_rs

from features.checks.sbom import bill_of_materials


class Package:
    """As much of a distribution as the bill looks at."""

    def __init__(self, name: str, version: str, requires: tuple[str, ...] = (), **said: object) -> None:
        self.version, self.requires = version, list(requires)
        self.metadata = Fields(Name=name, **said)


class Fields(dict[str, object]):
    def get_all(self, name: str) -> object:
        return self.get(name)


def test_packages_are_listed_by_name_with_what_they_need() -> None:
    bill = bill_of_materials(
        [
            Package("omni", "0.1", ("Zope_Thing>=1", "absent; extra == 'x'")),  # type: ignore[list-item]
            Package("zope.thing", "1.0", License="MIT"),  # type: ignore[list-item]
            Package("long", "2", License="x" * 500, Classifier=["License :: OSI Approved :: BSD License"]),  # type: ignore[list-item]
        ]
    )
    assert [(row["name"], row["version"], row.get("licenses")) for row in bill["components"]] == [
        ("long", "2", [{"license": {"name": "BSD License"}}]),
        ("zope-thing", "1.0", [{"license": {"name": "MIT"}}]),
    ]
    assert bill["metadata"]["component"]["purl"] == "pkg:pypi/omni@0.1"
    assert bill["dependencies"][1] == {"ref": "pkg:pypi/omni@0.1", "dependsOn": ["pkg:pypi/zope-thing@1.0"]}


def test_the_bill_of_this_environment_holds_every_pin_that_is_installed() -> None:
    bill = bill_of_materials(distributions())
    listed = {row["name"]: row["version"] for row in bill["components"]}
    assert listed["pyarrow"] == version("pyarrow")
    assert len(listed) == len(bill["components"]) > 100
    refs = {row["bom-ref"] for row in (*bill["components"], bill["metadata"]["component"])}
    assert {ref for row in bill["dependencies"] for ref in (row["ref"], *row["dependsOn"])} <= refs
    shape = {
        "type": "object",
        "required": ["bomFormat", "specVersion", "components"],
        "properties": {
            "bomFormat": {"const": "CycloneDX"},
            "components": {"items": {"required": ["type", "name", "version"]}},
        },
    }
    assert jsonschema_rs.is_valid(shape, bill)
    assert str(Path.home()) not in str(bill)
