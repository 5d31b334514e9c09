"""The command that stays: `lakeray up`."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lakeray.cli import interrupts, lakes, views
from lakeray.cli.options import Json
from lakeray.cli.reply import Reply
from lakeray.cli.run import LogFormat
from lakeray.observability.figures import counted
from lakeray.observability.visible import visible
from lakeray.reports.documents import plain


def up(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Workflow files whose schedules and triggers begin runs."),
    ] = None,
    *,
    orchestrators: Annotated[
        int | None,
        typer.Option(
            "--orchestrators",
            min=1,
            max=16,
            metavar="N",
            help="How many share the runs; more than one needs Redis. Default: 1 for a file, 2 for Redis.",
        ),
    ] = None,
    grace: Annotated[
        float, typer.Option("--grace", min=0.0, metavar="SECONDS", help="Work has so long to end when it shall stop.")
    ] = 20.0,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="Lines for people, or log records as JSON lines.")
    ] = LogFormat.text,
    json: Json = False,
) -> Reply:
    """Drive all runs of the state until Ctrl-C or SIGTERM.

    Runs that earlier commands left unfinished are carried on. What this one leaves, the next one carries on.

    [dim]lakeray up orders.yaml[/dim]
    [dim]LAKERAY_STATE=redis://host:6379/0 lakeray up --orchestrators 3[/dim]
    """
    say = _speaker(log_format)
    with lakes.opened() as lake:
        summary = interrupts.result_of(
            lambda: lake.up(*(files or []), orchestrators=orchestrators, grace_s=grace, say=say)
        )
    left = counted(len(summary.left), "run is", "runs are")
    view = views.quiet(f"Stopped. {left} not over: `lakeray up` carries them on.")
    return Reply(document={"up": plain(summary)}, view=view)


def _speaker(log_format: LogFormat) -> Callable[[dict[str, Any]], None]:
    """Writes what goes on to standard error."""
    from lakeray.observability import logs

    if log_format is LogFormat.json:
        logs.configure(format="json")
        import structlog

        log = structlog.get_logger("lakeray.up")
        return lambda said: log.info(**said)
    logs.configure(format="text", level="warning")
    return _say


def _say(said: dict[str, Any]) -> None:
    about = " ".join(str(said[name]) for name in ("workflow", "run", "step") if name in said)
    line = f"{about}: {said['event']}" if about else said["event"]
    sys.stderr.write(f"{visible(line)}\n")
    sys.stderr.flush()
