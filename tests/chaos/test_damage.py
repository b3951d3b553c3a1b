"""Every file under OMNI_HOME, damaged one at a time: right answers or one clear line, no crash, no hang, no wrong answer.

The plain run takes a few files and damages; `make chaos` all, or those that OMNI_CHAOS_DAMAGES names (`zeros,deleted`), and
holds docs/operations.md against what came out.
"""

import itertools
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from chaos.damages import DAMAGES, copy_damaged, files_under, kind_of
from chaos.judging import Verdict, judge
from chaos.probe import Prober
from chaos.whole_home import clock_start, make_whole_home

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # within MLflow
SHORT = (
    ("events.db", "cut in half"),
    ("feast/stream.db", "cut in half"),
    ("offline/timeline.parquet", "cut in half"),
    ("identity.toml", "a folder instead"),
)
WITHDRAWN = ("product table", "stock", "rules.toml")
"""What is a retailer's own: where such a file is deleted, what it said is withdrawn, and answers are other ones."""
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BEGIN, END = "<!-- damages: begin -->\n", "<!-- damages: end -->"


@dataclass
class Bench:
    """A good home, what it answers, and who uses copies of it."""

    home: Path
    scratch: Path
    prober: Prober
    base: dict[str, Any]

    def use(self, file: Path, damage: str) -> dict[str, Any]:
        """What comes of a copy in which a file is damaged."""
        copy_damaged(self.home, self.scratch / "home", file, damage)
        try:
            return self.prober.do("use", self.scratch / "home", self.scratch, clock_start(self.home))
        finally:
            for left in self.scratch.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("damage")
    home, scratch = folder / "home", folder / "scratch"
    scratch.mkdir()
    make_whole_home(home, folder / "beside")
    left = (home / "run").rename(folder / "run")
    prober = Prober()
    try:
        prober.do("ask", home, scratch, clock_start(home))  # copies of models that passed lie there now
        shutil.copytree(left, home / "run", dirs_exist_ok=True)
        bench = Bench(home, scratch, prober, {})
        bench.base = bench.use(Path(), "")
        assert judge(bench.base, bench.base).faults == ()
        yield bench
    finally:
        prober.close()


def test_what_is_used_of_the_undamaged_home_works(bench: Bench) -> None:
    steps = bench.base["answer"]
    answers = {**steps["serve"], **steps["serve again"]}
    assert {status for question, (status, _) in answers.items() if question.endswith(" c0")} == {200}
    commands = {name: step[0] for name, step in steps.items() if isinstance(step, list) and name != "out"}
    assert commands.pop("features check") in (0, 1)  # what is sound depends on the hour that it is
    assert commands == dict.fromkeys(commands, 0)


@pytest.mark.parametrize(("file", "damage"), SHORT)
def test_a_damaged_file_is_answered_rightly_or_in_one_line(bench: Bench, file: str, damage: str) -> None:
    assert judge(bench.base, bench.use(Path(file), damage)).faults == ()


@pytest.mark.chaos
def test_every_file_and_damage_comes_to_what_the_page_says(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes: dict[tuple[str, str], Outcome] = defaultdict(Outcome)
    faults: list[tuple[str, str, tuple[str, ...]]] = []
    files, damages = files_under(bench.home), os.environ.get("OMNI_CHAOS_DAMAGES", ",".join(DAMAGES)).split(",")
    for number, (file, damage) in enumerate(itertools.product(files, damages)):
        if damage == "deleted" and kind_of(file) in WITHDRAWN:
            continue
        verdict = judge(bench.base, bench.use(file, damage))
        outcomes[kind_of(file), damage].add(verdict)
        faults += [(str(file), damage, verdict.faults)] if verdict.faults else []
        if number % 20 == 0 or verdict.faults:
            with capsys.disabled():
                print(f"{number} of {len(files) * len(damages)}", *faults[-1:], flush=True)  # noqa: T201  (an hour's work)
    with capsys.disabled():
        print(table(outcomes))  # noqa: T201  (what the page is made of)
    assert faults == []
    page = {key: outcome for key, outcome in on_the_page().items() if key[1] in damages}
    assert set(page) <= set(outcomes)
    assert {key: outcomes[key] for key in page if not outcomes[key].is_part_of(page[key])} == {}


@dataclass
class Outcome:
    """What a service does, and which commands say why they do nothing."""

    service: set[str] = field(default_factory=set)
    commands: set[str] = field(default_factory=set)

    def add(self, verdict: Verdict) -> None:
        """Another file of the same kind."""
        for step, _, word in (outcome.partition(": ") for outcome in verdict.outcomes):
            if step.startswith("serve"):
                self.service.add(SERVICE.get(word, word))
            elif word == "says why":
                self.commands.add(step)
            elif step == "doctor" and word == "exit 1":
                self.commands.add("doctor")

    def is_part_of(self, other: "Outcome") -> bool:
        """Whether nothing is here that is not there."""
        return self.service <= other.service and self.commands <= other.commands


SERVICE = {
    "right": "right",
    "takes events": "right",
    "marked": "marked",
    "refused": "503",
    "refuses events": "503",
    "does not start, and says why": "no start",
}


def table(outcomes: dict[tuple[str, str], Outcome]) -> str:
    """The page's rows: damages of a kind that came to the same are in one."""
    merged: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for (kind, damage), outcome in outcomes.items():
        merged[kind, ", ".join(sorted(outcome.service)), ", ".join(sorted(outcome.commands)) or "none"].append(damage)
    rows = [f"| {kind} | {', '.join(names)} | {service} | {told} |" for (kind, service, told), names in merged.items()]
    return "\n".join(rows)


def on_the_page() -> dict[tuple[str, str], Outcome]:
    """What the page says."""
    text = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    return {
        (kind, damage): Outcome(set(service.split(", ")), set(commands.split(", ")) - {"none"})
        for kind, damages, service, commands in rows
        for damage in damages.split(", ")
    }
