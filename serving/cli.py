"""The commands that answer: `omni serve` over HTTP, `omni decide` for every customer at once."""

import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from features.console import JsonOption, emit, say, set_up_logging, step
from features.errors import InputError
from features.processes.json_lines import log_json_lines
from features.settings import Settings
from serving.access.cli import key_commands
from serving.keeping.cli import offer_commands, suppress_commands

ReplayOption = Annotated[
    bool,
    typer.Option("--replay", help="For data that ends in the past: start the clock just after its last event."),
]


class When(StrEnum):
    """When a decision is to be sent."""

    NOW = "now"
    BEST = "best"


class Earned(StrEnum):
    """What a decision earned."""

    ENGAGEMENT = "engagement"
    PURCHASE = "purchase"
    MARGIN = "margin"


class LogFormat(StrEnum):
    """What a log's lines are."""

    TEXT = "text"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add this package's commands to the front door."""
    app.add_typer(key_commands(), name="key", no_args_is_help=True)
    app.add_typer(offer_commands(), name="offers", no_args_is_help=True)
    app.add_typer(suppress_commands(), name="suppress", no_args_is_help=True)
    app.command("serve")(serve)
    app.command("decide")(decide)
    app.command("audience")(audience)
    app.command("whatif")(whatif)
    app.command("erase")(erase)


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes any free one.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on; only this machine unless you say so.")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="After SIGTERM: how long to say 'not ready' before stopping.")
    ] = 1.0,
    applier: Annotated[
        bool, typer.Option(help="Also run the process that brings new events into the online store.")
    ] = True,
    replay: ReplayOption = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Ask nobody for a key, also where others than this machine reach it.")
    ] = False,
    log_format: Annotated[
        LogFormat | None, typer.Option(help="Words, or a line of JSON for each record and each request.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Write where each worker's time went when it stops; it answers slower.")
    ] = False,
) -> None:
    """Answer over HTTP until stopped (Ctrl-C): the contract is at /docs.json, the console at /."""
    from serving.supervisor import run_until_stopped, start_service

    settings = _settings(replay)
    if insecure:
        settings = replace(settings, access="open")
    if log_format is not None:
        settings = replace(settings, log_format=log_format.value)
    set_up_logging()
    if settings.log_format == "json":
        log_json_lines()
    service = start_service(settings, host=host, port=port, workers=workers, with_applier=applier, profile=profile)
    say(f"Starting on {service.url} (ready when {service.url}/readyz says so; Ctrl-C stops it)")
    raise typer.Exit(run_until_stopped(service, drain_seconds))


def decide(
    out: Annotated[Path, typer.Option(help="The file to write, Parquet or CSV by its ending: one row per customer.")],
    everybody: Annotated[bool, typer.Option("--all", help="Decide for every customer.")] = False,
    keep: Annotated[
        bool, typer.Option("--log/--no-log", help="Put the decisions into the event log, to learn from their outcomes.")
    ] = True,
    when: Annotated[
        When, typer.Option(help="Send at everybody's likeliest hour, or only what may be sent at once.")
    ] = When.BEST,
    campaign: Annotated[
        str | None, typer.Option(help="The campaign that they are for: customers for whom it rests get nothing.")
    ] = None,
    replay: ReplayOption = False,
    as_json: JsonOption = False,
) -> None:
    """One decision per customer, in bulk: product, channel, hour and reasons, as a table."""
    if not everybody:
        raise InputError("Nobody was named.", repair="Pass --all; for one customer ask POST /v1/decide.")
    from serving.campaigns.bulk import decide_all

    with step("Deciding for every customer") as progress:
        report = decide_all(_settings(replay), out, keep=keep, when=when.value, campaign_id=campaign, progress=progress)
    for warning in report.warnings:
        say(f"warning: {warning}")
    emit(report, as_json)


def audience(
    where: Annotated[
        str,
        typer.Option(help="A condition on the columns, in SQL, for example: churn_probability > 0.6 AND consent_email"),
    ],
    out: Annotated[Path, typer.Option(help="The file to write, Parquet or CSV by its ending.")],
    likely_to_buy: Annotated[
        str | None,
        typer.Option(help="Add the column likely_to_buy of product:ID, category:NAME or brand:NAME, likeliest first."),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the text of a CSV as it is, not guarded against spreadsheets.")
    ] = False,
    replay: ReplayOption = False,
    as_json: JsonOption = False,
) -> None:
    """Choose customers by segment, value, churn and consent, and write them as a table for campaign tools."""
    from serving.campaigns.audience import export_audience

    with step("Choosing the audience") as progress:
        report = export_audience(_settings(replay), where, out, likely_to_buy=likely_to_buy, raw=raw, progress=progress)
    emit(report, as_json)


def whatif(
    rules: Annotated[Path, typer.Option(help="The other rules: a whole rules.toml.")],
    sample: Annotated[
        int, typer.Option(min=1, help="Customers that are decided for both ways, drawn by chance.")
    ] = 20_000,
    where: Annotated[str | None, typer.Option(help="Only customers of this condition, as in `omni audience`.")] = None,
    decisions: Annotated[
        int, typer.Option(min=0, help="Logged decisions that are looked at for what both earn; 0: none.")
    ] = 20_000,
    reward: Annotated[Earned, typer.Option(help="What a logged decision earned.")] = Earned.ENGAGEMENT,
    window_days: Annotated[float, typer.Option(min=0.01, help="Days after a decision in which that counts.")] = 7.0,
    replay: ReplayOption = False,
    as_json: JsonOption = False,
) -> None:
    """What other rules would do: who gets what instead, contacts, cost, value, and what the log's own decisions say of it.

    Nothing is logged, reserved or sent.
    """
    from serving.decision.rules import load_rules
    from serving.whatif.told import Told
    from serving.whatif.what_if import Sampled, what_if

    other = load_rules(rules)
    asked = Sampled(sample, where, decisions, reward.value, window_days)
    with step("Deciding both ways") as progress:
        answer = what_if(_settings(replay), other, asked, progress)
    emit(answer if as_json else Told(answer), as_json)


def erase(
    customer: Annotated[
        str | None, typer.Argument(help="The customer's id, or an identifier of theirs: email:ada@example.org")
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="Finish the erasures that were begun and cut short, over HTTP or here.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Erase a customer everywhere, for good, and print the receipt; it is also kept under OMNI_HOME/erasures."""
    from features.log.engines import open_log
    from serving import erasure

    settings = Settings.from_env(os.environ)
    if (customer is None) is not finish:
        raise InputError("Name a customer or pass --finish, not both.", repair="Try: omni erase CUSTOMER")
    if customer is not None:
        with step("Erasing") as progress:
            receipt = erasure.erase(settings, customer, progress)
        emit(receipt, as_json)
        return
    log = open_log(settings)
    try:
        with step("Finishing erasures") as progress:
            receipts = erasure.finish_all(settings, log, progress)
    finally:
        log.close()
    emit({"finished": [receipt.receipt_id for receipt in receipts]}, as_json)


def _settings(replay: bool) -> Settings:
    settings = Settings.from_env(os.environ)
    if not replay:
        return settings
    from serving.showcase import replay_start

    return replace(settings, clock_start=replay_start(settings))
