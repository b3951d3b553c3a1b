"""The first page convinces and works: short, every call valid, and the pasted five minutes give what they promise."""

import os
import re
import subprocess
import sys
import tomllib
from datetime import UTC, datetime

import pyarrow as pa
from pages import PAGES, ROOT, fences, read, section

from features.ingest import ingest
from features.log.engines import open_log

README = read("README.md")
FIVE_MINUTES = section(README, "## Bring your own data, in five minutes")


def test_the_first_page_stays_short():
    assert len(README.split()) <= 1300


def test_the_first_screen_has_two_commands_the_page_for_people_and_the_picture():
    first = README.split("\n## ")[0]

    assert [line.split()[:2] for line in fences(first, "sh")[0].splitlines()] == [["make", "demo"], ["make", "test"]]
    shown = re.findall(r"!\[[^\]]{40,}\]\((docs/images/\S+)\)", first)
    assert shown == ["docs/images/console.png", "docs/images/flow.svg"]
    assert all((ROOT / name).stat().st_size < 64 * 1024 for name in shown)


def test_the_badges_say_what_the_project_says():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    pythons = [line.rsplit(" ", 1)[1] for line in project["classifiers"] if re.search(r"Python :: 3\.\d+$", line)]
    badges = dict(re.findall(r"!\[(\w+): ([^\]]+)\]\(docs/images/\w+\.svg\)", README))

    assert badges == {"licence": project["license"], "Python": ", ".join(pythons)}
    for name, said in badges.items():
        assert f"<title>{name}: {said}</title>" in read(f"docs/images/{name.lower()}.svg")


def test_it_ends_with_few_links():
    assert 4 <= len(re.findall(r"^- \[", section(README, "## Read on"), flags=re.M)) <= 6


def test_the_mapping_example_works(settings, tmp_path):
    """The shop's file and its mapping, as they stand on the page: four rows are four events of one customer."""
    for name, text in re.findall(r"cat > (shop\.\w+) <<'END'\n(.*?)END\n", FIVE_MINUTES, flags=re.S):
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


def test_the_five_minutes_work_when_pasted(tmp_path):
    """Into a shell, as they stand there; `make install` is stood for by a command that runs this checkout."""
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "activate").write_text(f'export PATH="{bin_folder}:$PATH"\n')
    (bin_folder / "omni").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "omni.py"}" "$@"\n')
    (bin_folder / "omni").chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMNI_", "MLFLOW_"))}

    pasted = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=fences(FIVE_MINUTES, "sh")[0],
        cwd=tmp_path,
        env={**env, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert pasted.returncode == 0, pasted.stderr
    assert (tmp_path / "shop" / ".omni" / "events.db").exists()
    said = re.sub(r" +", " ", pasted.stdout)
    assert "\nappended 4" in said
    assert "\nstate rows 3" in said
    assert "loyalty_card:C-77 and email:ana@example.org came together at 2024-10-25 12:30" in said


def test_the_requests_on_the_pages_are_valid():
    """Each JSON body after a curl line is accepted by the schema of the call it is sent to."""
    shown = [call for text in PAGES.values() for call in calls(text)]

    assert {name for name, _ in shown} == set(shapes())
    for name, body in shown:
        shapes()[name].model_validate_json(body)


def test_every_call_with_a_body_is_shown():
    assert {name for page in ("http-api", "offers") for name, _ in calls(read(f"docs/{page}.md"))} == set(shapes())


def calls(text: str) -> list[tuple[str, str]]:
    return re.findall(r"/v1/([a-z-]+) -H 'content-type: application/json' -d '(.+?)'\n", text, flags=re.S)


def shapes():
    from serving import schemas
    from serving.schemas import kept, lists

    return {
        "similar": lists.SimilarRequest,
        "bought-together": lists.BoughtTogetherRequest,
        "popular": lists.PopularRequest,
        "products": kept.ProductsRequest,
        "stock": kept.StockRequest,
        "next-products": schemas.NextProductsRequest,
        "churn": schemas.ChurnRequest,
        "best-channel": schemas.BestChannelRequest,
        "decide": schemas.DecideRequest,
        "events": schemas.EventsRequest,
    }
