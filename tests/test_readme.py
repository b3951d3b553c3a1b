"""The README, and the page of what was measured, say what is true: commands, make targets, files, settings and calls exist."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from typer.main import get_command

import omni
from features.ingest import ingest
from features.log.sqlite import open_log

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MEASURED_FILE = ROOT / "tests" / "benchmarks" / "README.md"
MEASURED = MEASURED_FILE.read_text(encoding="utf-8")
COMMAND_TABLE = README.split("<!-- commands: begin -->")[1].split("<!-- commands: end -->")[0]


def commands() -> set[str]:
    def walk(group, words):
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, (*words, name))
            else:
                yield " ".join((*words, name))

    return set(walk(get_command(omni.app), ()))


def test_every_command_is_in_the_table_and_nothing_else():
    named = set(re.findall(r"`omni ([a-z -]+?)`", COMMAND_TABLE))

    assert named == commands()


@pytest.mark.parametrize("line", sorted(set(re.findall(r"omni ((?:[a-z]+)(?: [a-z-]+)?)", README + MEASURED))))
def test_every_command_that_is_mentioned_exists(line):
    """`omni features build …` or `omni train churn …`: the first words name a command or a group of commands."""
    known = commands() | {command.split()[0] for command in commands()}

    assert line in known or line.split()[0] in known


def test_every_make_target_is_mentioned_and_exists():
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))

    mentioned = set(re.findall(r"make ([a-z]+)", README)) - {"help"}
    listed = set(re.findall(r"`([a-z]+)`", README.split("`make help` explains the rest:")[1].split("\n")[0]))

    assert mentioned <= targets
    assert listed == targets - {"help"}


def test_every_file_that_is_mentioned_exists():
    paths = re.findall(r"`((?:features|training|serving|mlflow|notebooks|tests)/[^`*<>$ ]*)`", README + MEASURED)
    paths += re.findall(r"python (tests/[\w/.]+\.py)", README + MEASURED)
    paths += [f"tests/benchmarks/{name}" for name in re.findall(r"`(bench_\w+\.py)", README + MEASURED)]

    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_setting_is_in_the_table():
    source = (ROOT / "features" / "settings.py").read_text(encoding="utf-8")

    read = set(re.findall(r'env\.get\("([A-Z_]+)"', source))

    assert read
    assert read <= set(re.findall(r"`([A-Z_]+)`", README))


def anchors(page: str) -> set[str]:
    return {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", page, re.M)
    }


@pytest.mark.parametrize("file", [ROOT / "README.md", MEASURED_FILE], ids=["README", "measured"])
def test_links_lead_somewhere(file):
    page = file.read_text(encoding="utf-8")

    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= anchors(page)
    for target in re.findall(r"\]\(([^#)][^):]*)\)", page):
        path, _, anchor = target.partition("#")
        assert (file.parent / path).exists(), target
        assert not anchor or anchor in anchors((file.parent / path).read_text(encoding="utf-8")), target


def test_the_mapping_example_works(settings, tmp_path):
    """The shop's file and its mapping, as they stand on the page: four rows are four events of one customer."""
    blocks = dict(re.findall(r"`(shop\.\w+)`.*?```\w+\n(.*?)```", README, flags=re.S))
    for name, text in blocks.items():
        (tmp_path / name).write_text(text, encoding="utf-8")

    report = ingest(str(tmp_path / "shop.csv"), settings, mapping=tmp_path / "shop.toml")

    assert (report.rows, report.appended, report.rejected) == (4, 4, 0)
    log = open_log(settings)
    events = pa.concat_tables(log.read()).to_pylist()
    log.close()
    assert [event["kind"] for event in events] == ["purchase", "purchase", "view", "return"]
    assert [event["channel"] for event in events] == ["store", "store", "web", "store"]
    assert [event["value"] for event in events] == [25.0, 49.0, None, 49.0]
    assert events[0]["occurred_at"] == datetime(2024, 10, 25, 12, 30, tzinfo=UTC)
    assert len({event["resolved_customer_id"] for event in events}) == 1


def test_the_requests_in_the_readme_are_valid():
    """Each JSON body after a curl line is accepted by the schema of the call it is sent to."""
    import json

    from serving import schemas

    kinds = {
        "next-products": schemas.NextProductsRequest,
        "churn": schemas.ChurnRequest,
        "best-channel": schemas.BestChannelRequest,
        "decide": schemas.DecideRequest,
        "events": schemas.EventsRequest,
    }

    calls = re.findall(r"/v1/([a-z-]+) -H 'content-type: application/json' -d '(.+?)'\n", README, flags=re.S)

    assert {name for name, _ in calls} >= set(kinds)
    for name, body in calls:
        kinds[name].model_validate(json.loads(body))
