"""Commands about quarantine: the rows that were refused."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import typer

from lakeray.cli import lakes, views
from lakeray.cli.options import File, Json, Limit, Step
from lakeray.cli.reply import Reply
from lakeray.cli.run import LogFormat, ReportFormat, observer_for, reply_to, watched
from lakeray.observability.figures import counted
from lakeray.reports.documents import plain

app = typer.Typer(no_args_is_help=True, help="Refused rows with reason and origin: look, try again, throw away.")
# Which version of which object in which run is in --json; on a terminal it would push the reason away.
_FOR_PROGRAMS = (
    *("object_etag", "object_version_id", "pipeline", "step", "batch", "run_id", "quarantined_at", "masked"),
)
_WIDEST_CELL = 72

Table = Annotated[str | None, typer.Option("--table", metavar="NAME", help="Only rows refused on the way into it.")]
Rule = Annotated[
    str | None,
    typer.Option("--rule", metavar="NAME", help="Only this rule, such as positive, expect:positive, malformed."),
]
Batch = Annotated[int | None, typer.Option("--batch", min=1, metavar="N", help="Only rows that this batch refused.")]
Uri = Annotated[str | None, typer.Option("--uri", metavar="GLOB", help="Only rows of objects whose uri matches.")]
Since = Annotated[
    datetime | None, typer.Option("--since", metavar="TIME", help="Only rows refused since then (UTC), as 2024-05-01.")
]
Before = Annotated[
    datetime | None, typer.Option("--before", metavar="TIME", help="Only rows refused before then (UTC).")
]
_ROWS: dict[str, Any] = {"rule": Rule, "batch": Batch, "object_glob": Uri, "since": Since, "before": Before}
"""The options that choose rows, by their names in ``Chosen``."""


def _choosing(*names: str) -> Callable[[Callable[..., Reply]], Callable[..., Reply]]:
    """Give a command these options of ``_ROWS``, which it gets together as ``chosen``."""

    def decorated(command: Callable[..., Reply]) -> Callable[..., Reply]:
        @wraps(command)
        def run(**given: Any) -> Reply:
            return command(chosen={name: given.pop(name) for name in names}, **given)

        options = [Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=_ROWS[name]) for name in names]
        file, _, *others = signature(command, eval_str=True).parameters.values()
        run.__signature__ = Signature([file, *options, *others])  # type: ignore[attr-defined]  # what typer reads
        run.__annotations__ = {item.name: item.annotation for item in (file, *options, *others)}
        return run

    return decorated


@app.command("list")
@_choosing(*_ROWS)
def list_rows(
    file: File,
    *,
    chosen: Any,
    table: Table = None,
    step: Step = None,
    limit: Limit = 100,
    json: Json = False,
) -> Reply:
    """List refused rows with their reason and where they came from.

    [dim]lakeray quarantine list orders.yaml --limit 20[/dim]
    """
    with lakes.opened() as lake:
        rows = plain(lake.quarantine(file, table=table, step=step).show(limit=limit, **chosen))
    view = views.grid(rows, hidden=_FOR_PROGRAMS, limit=_WIDEST_CELL) if rows else _nothing()
    return Reply(document={"rows": rows}, view=view)


@app.command()
@_choosing(*_ROWS)
def show(
    file: File,
    *,
    chosen: Any,
    table: Table = None,
    step: Step = None,
    limit: Limit = 3,
    json: Json = False,
) -> Reply:
    """Count refused rows by batch and rule, and show the newest of them whole.

    [dim]lakeray quarantine show orders.yaml --rule positive[/dim]
    """
    with lakes.opened() as lake:
        quarantine = lake.quarantine(file, table=table, step=step)
        counts, rows = plain(quarantine.count(**chosen)), plain(quarantine.show(limit=limit, **chosen))
    parts = [views.grid(counts), *(views.facts(row.items()) for row in rows)] if rows else [_nothing()]
    return Reply(document={"counts": counts, "rows": rows}, view=views.stacked(parts))


@app.command()
@_choosing(*_ROWS)
def reprocess(
    file: File,
    *,
    chosen: Any,
    step: Step = None,
    report: Annotated[ReportFormat, typer.Option("--report", help="Format of the report.")] = ReportFormat.text,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="Progress for people, or log records as JSON lines.")
    ] = LogFormat.text,
    json: Json = False,
) -> Reply:
    """Send refused rows through their step once more, after the rule or the code was corrected.

    What passes moves into the table exactly once and leaves quarantine;
    what is refused again stays there with its new reason.

    [dim]lakeray quarantine reprocess orders.yaml --rule positive[/dim]
    """
    observer = observer_for(log_format)
    with lakes.opened(observer) as lake:
        workflow, quarantine = lake.validate(file), lake.quarantine(file, step=step)
        summary = watched(observer, workflow.workflow, lambda: quarantine.reprocess(**chosen))
    return reply_to(summary, report=report, output=None, continuous=False)


@app.command()
@_choosing("rule", "batch", "object_glob", "before")
def purge(
    file: File,
    *,
    chosen: Any,
    table: Table = None,
    step: Step = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="DURATION", help="Only rows refused so long ago, such as 30d.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it the rows are only counted.")] = False,
    json: Json = False,
) -> Reply:
    """Delete refused rows for good; without --yes only count them.

    [dim]lakeray quarantine purge orders.yaml --older-than 90d --yes[/dim]
    """
    if older_than is not None:
        chosen["before"] = datetime.now(UTC) - timedelta(seconds=_seconds(older_than))
    if not any(value is not None for value in chosen.values()):
        raise typer.BadParameter("choose rows with --rule, --batch, --uri, --before or --older-than")
    with lakes.opened() as lake:
        number = lake.quarantine(file, table=table, step=step).purge(dry_run=not yes, **chosen)
    told = f"{counted(number, 'row')} {'deleted' if yes else 'can go: --yes deletes them'}"
    view = views.good(told) if number else views.quiet("No row matches.")
    return Reply(document={"deleted": yes, "rows": number}, view=view)


def _nothing() -> Any:
    return views.quiet("Nothing is in quarantine.")


def _seconds(text: str) -> float:
    from lakeray.spec.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong), param_hint="--older-than") from wrong
