"""What an answer costs over HTTP, beside what else could answer: builds side by side on one machine, in turn.

    python tests/benchmarks/bench_http.py --home .omni --against f4f4858                 # the whole table, an hour or so
    python tests/benchmarks/bench_http.py --home .omni --against f4f4858 --seconds 3 --rounds 2 --builds today,new

`new` is this checkout and `today` the revision that `--against` names, each `omni serve` on a copy of the home (as `omni
demo` leaves it); `straightforward` is written with Feast's SDK, a DataFrame and eager torch on the same champions; the
echoes answer with one of our answers: BentoML as it comes, tuned, and a mounted route. All of a table's builds run at
once and are asked in turn; ratios are medians over the rounds. Figures are of this machine at this hour; ratios are not.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from local_servers import postgres_server, redis_server  # noqa: E402
from over_http import load  # noqa: E402
from over_http.builds import (  # noqa: E402
    HERE,
    QUESTIONS,
    ROOT,
    Build,
    Running,
    bento_build,
    copy_home,
    omni_build,
    python_path,
    source_of,
)
from over_http.processes import memory, settle  # noqa: E402
from over_http.report import Report  # noqa: E402

from features.offline.timeline import read_timeline  # noqa: E402
from features.settings import Settings  # noqa: E402
from features.vocabulary import Columns  # noqa: E402
from serving.showcase import replay_start  # noqa: E402

BUILDS = ("echo", "echo-tuned", "echo-mounted", "straightforward", "today", "new")
ECHOES = {"echo": "AsItComes", "echo-tuned": "Tuned", "echo-mounted": "Mounted"}
BATCH_SENDERS = 4


def main() -> None:
    """Measure, print a table, and write JSON where `--out` says."""
    wanted = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    with tempfile.TemporaryDirectory(prefix="omni-bench-", dir=wanted.scratch) as name:
        folder = Path(name)
        settings = Settings.from_env({"OMNI_HOME": str(wanted.home)})
        clock_start, world = replay_start(settings).isoformat(), _world(settings, folder)
        report = Report(
            {
                "cores": os.cpu_count(),
                "load generator": "wrk" if load.has_wrk() else "our own client",
                "seconds a run, rounds": f"{wanted.seconds}, {wanted.rounds}",
                "today": wanted.against,
            }
        )
        trees = {}
        if "today" in wanted.builds:
            trees["today"] = source_of(wanted.against, folder / "today")
        if "new" in wanted.builds:
            trees["new"] = ROOT
        if "straightforward" in wanted.builds:
            made = {"OMNI_HOME": str(wanted.home), "OMNI_CLOCK_START": clock_start}
            command = [sys.executable, "-m", "over_http.straightforward_store", str(world.customers)]
            made["PYTHONPATH"] = python_path(HERE, ROOT)
            subprocess.run(
                [*command, str(folder / "straightforward")], env={**os.environ, **made}, cwd=HERE, check=True
            )
        try:
            for engines in wanted.engines:
                with ExitStack() as stack:
                    omni = {}
                    for name, tree in trees.items():
                        home = copy_home(wanted.home, folder / f"{name}-{engines}")
                        env = _servers(stack, home, tree) if engines == "servers" else {}
                        omni[name] = omni_build(name, tree, home, clock_start, env)
                    for workers in wanted.workers:
                        _measure(wanted, report, omni, world, folder, engines, workers)
        finally:  # an hour's work: what there is is told
            print(report.as_markdown("new"))
            if wanted.out:
                wanted.out.write_text(json.dumps(report.as_json(), indent=1))


def _measure(
    wanted: argparse.Namespace,
    report: Report,
    omni: Mapping[str, Build],
    world: load.World,
    folder: Path,
    engines: str,
    workers: int,
) -> None:
    """All builds up, everything asked of each in turn."""
    with ExitStack() as stack:
        running: dict[str, Running] = {}
        log = folder / "services.log"
        for name, build in omni.items():
            build.start(workers, log).stop()  # what a first start compiles, and migrates
            running[name] = stack.enter_context(_ended(build.start(workers, log)))
            _ask_first(running[name], world)
        for name, build in _others(wanted, folder, next(iter(running.values()))).items():
            running[name] = stack.enter_context(_ended(build.start(workers, log)))
            settle(running[name].process.pid)
        order = [running[name] for name in BUILDS if name in running]
        for one in order:
            for asked in set(wanted.ask) & set(QUESTIONS):
                load.warm_up(one, asked, world)
        for _ in range(wanted.rounds):
            for asked in wanted.ask:
                _round(wanted, report, order, world, asked, engines, workers)
        for one in order:
            parts = memory(one.process.pid)
            report.add_start(one.build.name, engines, workers, one.ready_s, one.first_ms, parts)


def _round(
    wanted: argparse.Namespace,
    report: Report,
    order: list[Running],
    world: load.World,
    asked: str,
    engines: str,
    workers: int,
) -> None:
    """One kind of load, on each build in turn."""
    for c in wanted.connections if asked in QUESTIONS else (BATCH_SENDERS if asked == "batches" else 0,):
        for one in order:
            if asked in QUESTIONS:
                sample = load.questions(one, asked, world, c, wanted.seconds)
            elif not one.build.is_omni:
                continue
            elif asked == "batches":
                sample = load.batches(one, world, c, wanted.seconds)
            else:
                sample = load.single_events(one, world, wanted.seconds)
            report.add((engines, asked, c, workers), one.build.name, sample)
            print(f"{engines} {workers} {asked} {c}: {one.build.name} {sample}", file=sys.stderr, flush=True)


def _ask_first(running: Running, world: load.World) -> None:
    """The first request of each kind, timed as soon as the service says that it is ready; answers are kept for the echoes."""
    customer, product = (file.read_text().split()[0] for file in (world.customers, world.products))
    who = {"customer_id": customer}
    answers = {name: running.time_first(name, f"/v1/{name}", who) for name in QUESTIONS}
    running.time_first("filtered", "/v1/next-products", who | {"min_price": 1.0, "exclude_recent_days": 7})
    running.time_first("explained", "/v1/churn", who | {"explain": True})
    running.time_first("customer", f"/v1/customers/{customer}")
    event = {"event_id": world.tag(), "kind": "view", "channel": "web"}
    running.time_first("event", "/v1/events", event | who | {"product_id": product})
    folder = world.customers.parent / "answers"
    folder.mkdir(exist_ok=True)
    for name, answer in answers.items():
        (folder / f"{name}.json").write_text(json.dumps(answer))


def _others(wanted: argparse.Namespace, folder: Path, first: Running) -> dict[str, Build]:
    """The services to compare with; the echoes answer with what the first build answered."""
    found = {}
    for name, target in ECHOES.items():
        env = {"OMNI_ECHO_ANSWERS": str(folder / "answers"), "OMNI_ECHO_WORKERS": "{workers}"}
        found[name] = bento_build(name, f"over_http.echo:{target}", env)
    env = {"OMNI_STRAIGHTFORWARD": str(folder / "straightforward"), "OMNI_STRAIGHTFORWARD_WORKERS": "{workers}"}
    found["straightforward"] = bento_build("straightforward", "over_http.straightforward:Straightforward", env)
    return {name: build for name, build in found.items() if name in wanted.builds}


def _servers(stack: ExitStack, home: Path, tree: Path) -> dict[str, str]:
    """Redis and PostgreSQL with what is in the home."""
    env = {
        "OMNI_EVENT_LOG": stack.enter_context(postgres_server()),
        "OMNI_ONLINE_STORE": "redis",
        "OMNI_REDIS": stack.enter_context(redis_server()),
    }
    source = f"sqlite:///{home / 'events.db'}"
    given = {"OMNI_HOME": str(home), "OMNI_BENCH_FROM": source, "PYTHONPATH": python_path(tree)}
    command = [sys.executable, str(HERE / "over_http" / "move_home.py")]
    subprocess.run(command, env={**os.environ, **env, **given}, cwd=tree, check=True)
    return env


def _world(settings: Settings, folder: Path) -> load.World:
    """Every customer and a thousand products, in an order that is always the same."""
    timeline = read_timeline(settings, [Columns.CUSTOMER_ID, Columns.PRODUCT_ID])
    rng = np.random.default_rng(3)
    for column, most in ((Columns.CUSTOMER_ID, 5_000), (Columns.PRODUCT_ID, 1_000)):
        names = sorted(timeline[column].drop_null().unique().to_pylist())
        chosen = rng.permutation(len(names))[:most]
        (folder / f"{column}.txt").write_text("\n".join(str(names[at]) for at in chosen))
    return load.World(folder / f"{Columns.CUSTOMER_ID}.txt", folder / f"{Columns.PRODUCT_ID}.txt")


@contextmanager
def _ended(running: Running) -> Iterator[Running]:
    try:
        yield running
    finally:
        running.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("OMNI_HOME", ".omni")))
    parser.add_argument("--against", default="f4f4858", help="the revision that is `today`")
    parser.add_argument("--builds", type=_words, default=BUILDS, help=",".join(BUILDS))
    parser.add_argument("--ask", type=_words, default=(*QUESTIONS, "single-events", "batches"))
    parser.add_argument("--connections", type=_counts, default=(1, 8, 32))
    parser.add_argument("--workers", type=_counts, default=(1, 2))
    parser.add_argument("--engines", type=_words, default=("sqlite", "servers"), help="servers: PostgreSQL and Redis")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="where homes are copied to; several times their size")
    parser.add_argument("--out", type=Path, help="write JSON there")
    wanted = parser.parse_args()
    wanted.home = wanted.home.resolve()
    if not {"today", "new"} & set(wanted.builds):
        parser.error("name today or new: the others answer with what they answer")
    return wanted


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


if __name__ == "__main__":
    main()
