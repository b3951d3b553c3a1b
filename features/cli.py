"""The commands that bring data in and keep the feature stores: `omni ingest`, `omni features …`, `omni doctor`."""

import os
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from features.console import JsonOption, emit, say, step, to_plain
from features.errors import InputError
from features.settings import Settings
from features.vocabulary import TableName


def register(app: typer.Typer) -> None:
    """Add this package's commands to the front door."""
    app.command("ingest")(ingest)
    mappings = typer.Typer(help="What somebody's own columns mean.")
    mappings.command("suggest")(suggest_mapping)
    app.add_typer(mappings, name="mapping", no_args_is_help=True)
    group = typer.Typer(help="Fold the event log into the feature stores, and prove that they agree.")
    group.command("build")(build)
    group.command("parity")(parity)
    group.command("check")(check)
    app.add_typer(group, name="features", no_args_is_help=True)
    identity = typer.Typer(help="Who is whom: customers as they come about from identifiers that were seen together.")
    identity.command("explain")(identity_explain)
    identity.command("report")(identity_report)
    app.add_typer(identity, name="identity", no_args_is_help=True)
    app.command("backup")(backup)
    app.command("restore")(restore)
    app.command("simulate")(simulate)
    app.command("doctor")(doctor)


def register_benchmarks(group: typer.Typer) -> None:
    """Add this package's part of `omni benchmark`."""
    group.command("features")(benchmark_features)


def ingest(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A built-in source (complete-journey, starbucks-offers, online-retail-2,"
            " shopify-orders, ga4, segment, messages, contacts, orders), or where your data lies: a file, a"
            " folder, a pattern, a zip, or an address such as s3://bucket/folder."
        ),
    ] = None,
    path: Annotated[
        str | None, typer.Option(help="Where a built-in source's own files are, if it does not bring them along.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(help="A TOML file that says which of your columns means what.")
    ] = None,
    sample: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Take this share of the customers, the same ones every time."),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(help="FILE:KEY, a second file with more columns of the same rows, and the column that both have."),
    ] = None,
    sql: Annotated[str | None, typer.Option(help="Instead of a source: a query whose rows are read.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="The database to ask: postgresql://…, sqlite:///FILE or duckdb:///FILE."),
    ] = None,
    table: Annotated[
        TableName | None,
        typer.Option(
            help="The file is one of products or of stock: merge its rows into that table, under our column names."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Keep nothing: show the first events, sums, and what would not come in and why."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring events into the log, each once; rows that cannot be used go to a file with the reason; exit 1 if none can.

    Values are counted in one currency (OMNI_CURRENCY, or that of the first value); others are converted by
    OMNI_HOME/rates.csv (date,currency,rate), or rejected. Of the first values of all, in several currencies, every
    one is kept; the commonest currency counts, others count as no money until they have a rate.
    """
    from features.ingest import dry_run as look
    from features.ingest import ingest as run
    from features.ingest_table import ingest_table

    if (sql is None) is not (from_ is None) or (source is None) is (sql is None):
        raise InputError(
            "Say what to read.",
            repair="Give a source or a file, or else --sql with a query and --from with a database.",
        )
    if table is not None:
        if source is None or dry_run or (path, mapping, sample, join) != (None, None, None, None):
            raise InputError(
                "--table takes a file, and no --path, --mapping, --sample, --join or --dry-run.",
                repair="Name the columns of the file as the table's.",
            )
        with step(f"Merging {source} into {table}") as progress:
            emit(ingest_table(source, table, Settings.from_env(os.environ), progress), as_json)
        return
    settings, what = Settings.from_env(os.environ), source or "the query"
    asked: dict[str, Any] = {"sample": sample, "path": path, "mapping": mapping, "join": join, "database": from_}
    if dry_run:
        with step(f"Looking at {what}") as progress:
            preview = look(str(source or sql), settings, progress=progress, **asked)
        emit(preview, as_json)
        if preview.problem is not None or preview.nothing_usable:
            raise typer.Exit(1)
        return
    with step(f"Ingesting {what}") as progress:
        report = run(str(source or sql), settings, progress=progress, **asked)
    emit(report, as_json)
    if report.nothing_usable:
        say(f"omni: every row of {what} was rejected: {'; '.join(report.rejected_reasons)}.")
        raise typer.Exit(1)


def suggest_mapping(
    file: Annotated[str, typer.Argument(help="Where your data lies, as for omni ingest.")],
    out: Annotated[Path, typer.Option(help="The file to write; one that is there already stays as it is.")] = Path(
        "mapping.toml"
    ),
    as_json: JsonOption = False,
) -> None:
    """Write a first mapping.toml from a file's columns and values, with a comment for each guess, and show it."""
    from features.sources.suggesting.suggestion import suggest, write

    with step(f"Looking at {file}"):
        found = suggest(file)
    written = write(found, out)
    if as_json:
        emit({"mapping": str(out) if written else None, **to_plain(found)}, as_json=True)
    else:
        typer.echo(found.text, nl=False)
    say(f"{out} is written." if written else f"{out} is there already and stays; the mapping is on stdout.")
    say(found.verdict)


def build(
    force: Annotated[bool, typer.Option("--force", help="Build even if the stores are level with the log.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fold the log into customer states and product tables, and write both of Feast's stores."""
    from features.build import build_features

    with step("Building features") as progress:
        report = build_features(Settings.from_env(os.environ), progress, force)
    emit(report, as_json)


def parity(
    customers: Annotated[int, typer.Option(min=1, help="How many customers to replay, drawn at random.")] = 200,
    seed: Annotated[int, typer.Option(help="Which ones.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Replay customers event by event and compare every feature with the batch build; exit 1 if any differs."""
    from features.checks.parity import check_parity

    with step(f"Replaying {customers} customers") as progress:
        report = check_parity(Settings.from_env(os.environ), customers=customers, seed=seed, progress=progress)
    emit(report, as_json)
    if not report.equal:
        raise typer.Exit(1)


def check(
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with limits, instead of OMNI_HOME/quality.toml; see QualityConfig.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Check as of this moment, for data that ends in the past: 2018-01-01.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Are the stores there and level with the log, and is the data sound? Exit 1 if not, with a finding per rule."""
    from features.checks.quality import check_all, parse_as_of

    settings = Settings.from_env(os.environ)
    with step("Checking") as progress:
        report = check_all(settings, config, parse_as_of(as_of, settings), progress)
    emit(report, as_json)
    if report.failed:
        raise typer.Exit(1)


def identity_explain(
    name: Annotated[
        str, typer.Argument(help="A customer id, an identifier such as email:ada@example.org, or its bare value.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Why somebody is who they are: what was seen together and when, and what was kept apart."""
    from features.checks import identity as words
    from features.log.engines import open_log

    with closing(open_log(Settings.from_env(os.environ))) as log:
        emit(words.explain(log, name), as_json)


def identity_report(as_json: JsonOption = False) -> None:
    """How many customers were put together from identifiers, and which identifiers are shared and join nobody."""
    from features.checks import identity as words
    from features.online.trust import open_known_log

    with closing(open_known_log(Settings.from_env(os.environ))) as log:
        emit(words.report(log), as_json)


def backup(
    folder: Annotated[Path, typer.Argument(help="The folder to make, outside OMNI_HOME.")],
    as_json: JsonOption = False,
) -> None:
    """Copy what cannot be computed again (log, models, tables, rules, receipts), also while the service runs."""
    from features.backup.backup import back_up

    with step("Backing up") as progress:
        report = back_up(Settings.from_env(os.environ), folder, progress)
    emit(report, as_json)


def restore(
    folder: Annotated[Path, typer.Argument(help="A folder that `omni backup` made.")],
    log_only: Annotated[bool, typer.Option("--log-only", help="Restore the event log and leave all else.")] = False,
    discard: Annotated[bool, typer.Option("--discard", help="Do not keep what is replaced.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Put a backup back, with every erasure that was made since; what is replaced is put aside. Nothing may run meanwhile."""
    from features.backup.restore import restore as run
    from features.erasure.erase import finish_erasure, pending_erasures
    from features.log.engines import open_log

    settings = Settings.from_env(os.environ)
    with step("Restoring") as progress:
        report = run(settings, folder, progress, discard=discard, log_only=log_only)
        with closing(open_log(settings)) as log:
            for receipt in pending_erasures(log):
                finish_erasure(settings, log, receipt, progress=progress)
    emit(report, as_json)


def benchmark_features(
    events: Annotated[
        list[float] | None, typer.Option(min=1, help="How many simulated events; repeatable. Default: 1e6 and 1e7.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="50 million events too: some minutes.")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="Write the report here as one JSON object.")] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated events.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Fold simulated events through the complete state: events/s and memory, beside SQL and pandas; exit 1 if values differ."""
    from features.benchmarks import fold

    numbers = [*(events or (1e6, 1e7)), *((5e7,) if full else ())]
    result = fold.benchmark_features([int(number) for number in numbers], seed)
    if report is not None:
        result.write(report)
    emit(result, as_json)
    if not result.equal:
        raise typer.Exit(1)


def simulate(
    out: Annotated[Path, typer.Option(help="The folder to write the world's files into.")],
    customers: Annotated[int, typer.Option(min=1, help="How many customers.")] = 2_000,
    days: Annotated[int, typer.Option(min=1, help="How many days.")] = 120,
    seed: Annotated[int, typer.Option(help="Which world: the same seed gives the same one.")] = 0,
    world: Annotated[
        str, typer.Option(help="strong, weak or null differences between customers; retention.")
    ] = "strong",
    predictability: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the differences that behaviour tells about.")
    ] = 0.8,
    as_json: JsonOption = False,
) -> None:
    """Make an omnichannel world whose true answers are known: events, products, stock, logged decisions and the truth."""
    from features.simulator.world import simulate as run
    from features.simulator.world import world_config

    config = world_config(world, n_customers=customers, n_days=days, seed=seed, predictability=predictability)
    with step(f"Simulating {customers:,} customers over {days} days"):
        rows = run(config).write(out)
    emit({"out": str(out), "rows": rows}, as_json)


def doctor(as_json: JsonOption = False) -> None:
    """Check the installation, the stores and the models, and say what to do; exit 1 if something is broken."""
    from features.checks.doctor import examine

    with step("Examining"):
        report = examine(Settings.from_env(os.environ))
    emit(report, as_json)
    if report.failed:
        raise typer.Exit(1)
