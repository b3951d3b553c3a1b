"""The pages say what is true: links lead somewhere; commands, options, files, keys, calls and metrics are those of the code."""

import os
import re
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import numpy as np
import pytest
from pages import (
    CURRENT,
    FOLDERS,
    PAGES,
    ROOT,
    anchors,
    code,
    commands,
    fences,
    name_of,
    names,
    options,
    prose,
    read,
    table,
)

from features.attributes.declared import Attribute, AttributesConfig
from features.checks.quality import QualityConfig
from features.events.rules import EVENT_COLUMNS
from features.identity.resolution import IdentityConfig
from features.money.limits import LimitsConfig
from features.sources import SOURCES
from features.sources.mapping_config import MappingConfig
from features.vocabulary import CHANNELS, KINDS, Task
from serving.decision.rules import Rules
from training.report.config import ReportConfig


def test_links_lead_somewhere():
    links = [(page, target) for page, text in PAGES.items() for target in re.findall(r"\]\(([^)\s]+)\)", prose(text))]
    inside = [(page, target) for page, target in links if not target.startswith(("http://", "https://"))]

    assert len(inside) > 50
    assert [(name_of(page), target) for page, target in inside if not is_there(page, target)] == []


def is_there(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    goal = page.parent / path if path else page
    return goal.exists() and (not anchor or anchor in anchors(goal.read_text(encoding="utf-8")))


def test_every_page_is_in_the_index_and_within_two_clicks_of_the_first():
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")} - {"README.md"}

    assert "](docs/README.md)" in read("README.md")
    assert pages - set(re.findall(r"\]\(([\w/-]+\.md)\)", read("docs/README.md"))) == set()


def test_every_row_of_a_table_has_the_cells_of_its_heading():
    rows = [
        (page, line, len(re.findall(r"(?<!\\)\|", heading)))
        for page, text in PAGES.items()
        for heading, body in re.findall(r"^ *(\|.+)\n *\|[-|: ]+\|\n((?: *\|.*\n?)+)", prose(text), flags=re.M)
        for line in body.splitlines()
    ]

    assert len(rows) > 200
    assert [(name_of(page), line) for page, line, n in rows if len(re.findall(r"(?<!\\)\|", line)) != n] == []


def test_every_command_is_in_the_table_with_its_options_and_nothing_else():
    text = read("docs/commands.md")
    rows = table(text.split("<!-- commands: begin -->")[1], "| command |")

    documented = {
        re.sub(r" [A-Z]+$", "", row[0].strip("`").removeprefix("omni ")): {
            name for name in names([row], 2) if name.startswith("--")
        }
        for row in rows
    }

    assert documented == {words: options(command) for words, command in commands().items()}


def test_commands_and_options_on_the_pages_exist():
    """`omni train churn --set …` names a command, and each of its options is one."""
    known = commands()
    groups = {words.split()[0] for words in known if " " in words}
    said = [
        (page, rest.removeprefix("--verbose ").split(), rest)
        for page, text in CURRENT.items()
        for line in code(text)
        for rest in re.findall(r"(?:^|[\s(])omni ([^|&;]+)", line)
    ]
    unknown, seen = [], set()
    for page, first, rest in said:
        words = " ".join(first[:2]) if first[0] in groups else first[0]
        if words in groups or not re.match(r"[a-z]", words) or words.endswith("…"):
            continue  # a group as a whole; `omni --help`, `omni COMMAND`
        seen.add(words)
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest)) - {"--json", "--help"}
        if words not in known or not named <= options(known[words]):
            unknown.append((name_of(page), rest))

    assert unknown == []
    assert seen == set(known)


def test_options_that_are_named_alone_are_options_of_some_command():
    known = set().union(*(options(command) for command in commands().values())) | {"--json", "--help"}
    named = {line.split()[0] for text in CURRENT.values() for line in code(text) if line.startswith("--")}

    assert len(named) > 20
    assert named - known == set()


def test_settings_of_models_on_the_pages_are_accepted():
    from training.pipeline import load_config

    pattern = r"omni train ([a-z-]+) --set (?:'([^']+)'|\"([^\"]+)\"|(\S+))"
    said = {
        (task, single or double or plain)
        for text in CURRENT.values()
        for line in code(text)
        for task, single, double, plain in re.findall(pattern, line)
    }

    assert len(said) > 3
    for task, setting in said - {("churn", "key=value")}:
        load_config(Task(task), overrides=[setting])


def test_every_make_target_is_listed_and_those_mentioned_exist():
    targets = set(re.findall(r"^([a-z]+):.*## ", read("Makefile"), flags=re.M))
    listed = names([[read("docs/commands.md").split("`make help` lists them:")[1].split("\n")[0]]])

    mentioned = {
        target
        for text in CURRENT.values()
        for line in code(text)
        for target in re.findall(r"(?:^|\s)make ([a-z]+)", line)
    }

    assert listed == targets - {"help"}
    assert mentioned <= targets
    assert {"demo", "test", "install"} <= mentioned


def test_every_file_on_the_pages_exists():
    """From the root, or from the page's own folder: a package's page names its wings from there."""
    paths = [(page, path) for page, text in CURRENT.items() for path in paths_in(text)]

    assert len(paths) > 50
    assert [
        (name_of(page), path) for page, path in paths if not any((at / path).exists() for at in (ROOT, page.parent))
    ] == []


def paths_in(text: str) -> list[str]:
    return [
        *re.findall(rf"`((?:{'|'.join(FOLDERS)}|notebooks)/[^`*<>$… ]*)`", text),
        *re.findall(r"python (tests/[\w/.]+\.py)", text),
        *(f"tests/benchmarks/{name}" for name in re.findall(r"`(bench_\w+\.py)", text)),
        *re.findall(r"--config (?:\.\./)?((?:training|mlflow)/\S+\.toml)", text),
    ]


def test_every_setting_is_in_the_table():
    source = read("features/settings.py")

    assert names(table(read("docs/operations.md"), "| variable |")) == set(re.findall(r'env\.get\("([A-Z_]+)"', source))


KEYS = {
    "mapping": ("docs/your-data.md", "| key | default | what it says |", MappingConfig),
    "rules": ("docs/decisions.md", "| key | default | what it says |", Rules),
    "identity": ("docs/identity.md", "| key | default | |", IdentityConfig),
    "quality": ("docs/features.md", "| key | default | |", QualityConfig),
    "report": ("docs/report.md", "| key | default | |", ReportConfig),
}


@pytest.mark.parametrize(("page", "heading", "config"), KEYS.values(), ids=KEYS)
def test_every_key_of_a_file_is_in_its_table(page: str, heading: str, config):
    keys = {name.strip("[]") for name in names(table(read(page), heading))}

    assert keys == set(config.model_fields)


def test_every_key_of_an_attribute_is_in_its_table():
    section = read("docs/features.md").split("## Attributes of customers")[1]
    assert set(names(table(section, "| key | |"))) == set(Attribute.model_fields)


def test_the_tables_of_keys_name_the_defaults():
    """Where a default is a plain number or text, the table shows that one."""
    for page, heading, config in KEYS.values():
        shown = {row[0]: row[1] for row in table(read(page), heading) if row[0].count("`") == 2}
        for cell, text in shown.items():
            default = config.model_fields[cell.strip("`[]")].default
            if isinstance(default, bool):
                assert text.strip("`") == str(default).lower(), cell
            elif isinstance(default, (int, float)):
                assert float(text.replace("`", "").replace(",", "")) == default, cell
            elif isinstance(default, str) and default:
                assert text.strip("`") == f'"{default}"', cell


def test_a_file_that_a_page_shows_is_accepted():
    """A block of TOML that begins with the name of a file under OMNI_HOME."""
    kinds = {
        "rules": Rules,
        "identity": IdentityConfig,
        "quality": QualityConfig,
        "report": ReportConfig,
        "limits": LimitsConfig,
        "attributes": AttributesConfig,
    }
    shown = [
        (named[1], block)
        for text in CURRENT.values()
        for block in fences(text, "toml")
        if (named := re.match(r"# \.omni/(\w+)\.toml\n", block))
    ]

    assert shown
    for name, block in shown:
        kinds[name].model_validate(tomllib.loads(block))


def test_the_event_is_described_whole():
    page = read("docs/your-data.md")
    kinds = table(page, "| kind | what it is")

    assert names(table(page, "| column | type |")) == set(EVENT_COLUMNS)
    assert names(kinds) == {kind.value for kind in KINDS}
    assert set(re.findall(r"`(\w+)`", page.split("**Channels**:")[1].split("\n")[0])) == set(CHANNELS)


def test_every_source_is_described():
    shown = {name.split()[2] for name in names(table(read("docs/your-data.md"), "| source | what it is |"))}

    assert shown == set(SOURCES)


def test_every_task_is_described():
    assert names(table(read("docs/models.md"), "| task | what it answers")) == set(Task)


def test_every_call_is_in_the_table():
    from starlette.routing import Route

    from serving.api import create_app

    app = create_app(lambda: pytest.fail("nobody opens it"))
    routes = {
        f"{method} {route.path.replace(':path}', '}')}"
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }

    assert names(table(read("docs/http-api.md"), "| call | answers |")) == routes


def test_every_field_of_a_question_is_described():
    from serving import schemas

    page = read("docs/http-api.md")
    for shape in (schemas.NextProductsRequest, schemas.ChurnRequest, schemas.BestChannelRequest, schemas.DecideRequest):
        for field in shape.model_fields:
            assert f"`{field}`" in page or f'"{field}"' in page, field


def test_error_codes_are_those_of_the_service():
    rows = table(read("docs/http-api.md"), "| status | code | when |")
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "serving").rglob("*.py"))

    for status, cell, _ in rows:
        for error_code in names([[cell]]):
            assert f'"{error_code}"' in source, (status, error_code)


def test_every_metric_is_in_the_table():
    # A process of its own: feast 0.67, once imported, sets a folder in the environment that prometheus-client then writes to.
    code = "from serving.metrics import Metrics; print(Metrics().render().decode())"
    env = {name: value for name, value in os.environ.items() if not name.lower().startswith("prometheus_multiproc")}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    rendered = run.stdout

    made = set(re.findall(r"^# TYPE (\w+) ", rendered, flags=re.M))
    assert names(table(read("docs/operations.md"), "| metric | |")) == {
        name for name in made if not name.endswith("_created")
    }


def test_bulk_decisions_have_the_columns_that_are_named():
    from serving.campaigns.bulk import DECISION_SCHEMA

    row = read("docs/decisions.md").split("One row per customer:")[1].split(". The summary")[0]
    assert re.findall(r"`(\w+)`", row) == DECISION_SCHEMA.names


def test_audiences_have_the_columns_that_are_named():
    from features.online.live import LiveState, state_version
    from features.signals import compute_signals
    from features.state.batch import StateBatch
    from serving.campaigns.segments import CHURN_COLUMNS, add_deciles, segment_table
    from serving.campaigns.taste_columns import TasteColumns
    from serving.products.catalogue import Catalogue

    nobody = StateBatch.empty(1)
    live = LiveState("c", nobody, None, 0, state_version(nobody))
    tastes = TasteColumns(Catalogue(), ())
    tastes.add([live], np.zeros(1))
    told = tastes.beside(add_deciles(segment_table([live], compute_signals(nobody, 0.0), None)))
    columns = set(told) | set(CHURN_COLUMNS)

    named = names(table(read("docs/audiences.md"), "| column | |"))
    assert {name for name in columns if not name.startswith("consent_")} - named == set()
    assert {"consent_email", "lifecycle"} <= named & columns


def test_what_changed_states_the_layouts_as_they_are():
    from features import views
    from features.log import portable_sql
    from features.offline import build_note
    from serving import openapi

    layouts = {row[0]: row[1] for row in table(read("CHANGELOG.md"), "| what is stored |")}
    contracts = {row[0]: row[1] for row in table(read("CHANGELOG.md"), "| contract |")}

    assert layouts["event log, SQLite and PostgreSQL"].startswith(f"{portable_sql.CURRENT_LAYOUT},")
    assert layouts["customer states, offline and online"].startswith(f"{build_note.LAYOUT_VERSION},")
    assert names([[layouts["Feast's FeatureServices"]]]) == {views.feature_service_name(task) for task in Task}
    assert contracts["HTTP under `/v1`"].startswith(openapi.VERSION)


def test_the_new_names_of_modules_that_moved_exist():
    for wing, moves in table(read("CHANGELOG.md"), "| wing | before → now |"):
        folder = ROOT / wing.strip("`")
        for new in re.findall(r"`([\w.]+)`", ", ".join(move.partition("→")[2] for move in moves.split(", `"))):
            assert (folder / f"{new}.py").exists() or new == "open_log", f"{wing}: {new}"


def test_the_map_of_the_code_shows_every_wing():
    page = read("docs/architecture.md")
    wings = {
        folder.name
        for package in ("features", "training", "serving")
        for folder in (ROOT / package).iterdir()
        if folder.is_dir() and list(folder.glob("*.py"))
    }

    assert {name for name in wings if f"`{name}/`" not in page} == set()


def test_the_recipe_for_a_signal_works():
    """As it is printed, put above GROUPS, it makes a signal with the value and the words that it promises."""
    import types

    import numpy as np

    from features import signals
    from features.state.drawn import drawn_states

    recipe = textwrap.dedent(fences(read("CONTRIBUTING.md"), "python")[0])
    source = Path(signals.__file__).read_text(encoding="utf-8")
    changed = types.ModuleType(signals.__name__)
    exec(compile(source.replace("GROUPS: Final[", f"{recipe}\nGROUPS: Final[", 1), "changed", "exec"), changed.__dict__)

    (name,) = set(changed.SIGNAL_NAMES) - set(signals.SIGNAL_NAMES)
    states, as_of = drawn_states(20, np.random.default_rng(1))
    bought, active = states.scalar("n_occasions"), states.scalar("n_action_occasions")
    expected = np.divide(bought, active, out=np.full(20, np.nan), where=active > 0)
    np.testing.assert_allclose(changed.signals_frame(states, as_of)[name], expected, rtol=1e-6)
    assert np.isfinite(expected).any()
    assert changed.describe(name) == "share of the active moments in which something was bought"
    others = changed.signals_frame(states, as_of)[list(signals.SIGNAL_NAMES)].to_numpy()
    np.testing.assert_array_equal(others, signals.compute_signals(states, as_of))
