"""Every file under OMNI_HOME, damaged one at a time: right answers or one clear line, no crash, no hang, no wrong answer.

The plain run takes a few files and damages; `make chaos` all, and holds docs/damage.md against what came out.
"""

import itertools
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
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
    ("offline/build.json", "zeros"),
    ("offline/timeline.parquet", "cut in half"),
    ("offline/products.parquet", "a bit flipped"),
    ("identity.toml", "a folder instead"),
)
PAGE = Path(__file__).parents[2] / "docs" / "damage.md"
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
    assert commands == dict.fromkeys(commands, 0) | {"features check": 1}  # of ten hours' events, no other channel


@pytest.mark.parametrize(("file", "damage"), SHORT)
def test_a_damaged_file_is_answered_rightly_or_in_one_line(bench: Bench, file: str, damage: str) -> None:
    assert judge(bench.base, bench.use(Path(file), damage)).faults == ()


@pytest.mark.chaos
def test_every_file_and_damage_comes_to_what_the_page_says(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    rows: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    files = files_under(bench.home)
    for number, (file, damage) in enumerate(itertools.product(files, DAMAGES)):
        rows[kind_of(file), damage].append(judge(bench.base, bench.use(file, damage)))
        if number % 20 == 0:
            with capsys.disabled():
                print(f"{number} of {len(files) * len(DAMAGES)}", flush=True)  # noqa: T201  (an hour's work)
    faults = {f"{kind}, {damage}": v.faults for (kind, damage), vs in rows.items() for v in vs if v.faults}
    known = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    with capsys.disabled():
        print(table(rows))  # noqa: T201  (what the page is made of)
    assert faults == {}
    assert table(rows) == known


def table(rows: dict[tuple[str, str], list[Verdict]]) -> str:
    """What came out, for the page: damages of a kind that came to the same in one row."""
    merged: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for (kind, damage), verdicts in rows.items():
        words = [word for verdict in verdicts for word in verdict.outcomes]
        merged[kind, _served(words, "serve"), _refused(words), _served(words, "serve again")].append(damage)
    lines = [
        "| file | damage | a service answers | commands that say why and do nothing | after them |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {kind} | {', '.join(damages)} | {served} | {refused} | {again} |"
        for (kind, served, refused, again), damages in merged.items()
    ]
    return "\n".join(lines) + "\n"


def _served(words: list[str], step: str) -> str:
    found = {word.removeprefix(f"{step}: ") for word in words if word.startswith(f"{step}: ")}
    order = ("right", "marked", "refused", "refuses events", "does not start, and says why")
    return "; ".join(word for word in order if word in found)


def _refused(words: list[str]) -> str:
    return ", ".join(sorted({word.partition(":")[0] for word in words if word.endswith(": says why")})) or "none"
