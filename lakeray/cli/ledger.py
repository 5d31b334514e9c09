"""Commands about the ledger: what happened to every object version."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

from typing import Annotated

import typer
from rich.console import RenderableType

from lakeray.cli import acceptances, lakes, unbuilt, views
from lakeray.cli.options import File, Json, Limit, Step
from lakeray.cli.reply import Reply
from lakeray.observability.figures import counted
from lakeray.reports.documents import plain

app = typer.Typer(no_args_is_help=True, help="What happened to every object version: show it, replay, repair.")

_NAMES = (
    *("loaded", "partly_loaded", "failed", "superseded", "skipped", "poison", "kept"),
    *("replaced", "deleted", "withdrawn", "compensated", "reset"),
)
_OUTCOMES = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
# What tells versions or runs apart is in --json; on a terminal it would push the outcome away.
_FOR_PROGRAMS = (
    *("etag", "version_id", "modified_at", "size", "run_id", "recorded_at", "table_version", "pipeline", "step"),
    *(
        "takes",
        "provenance",
        "rows_generated",
        "rows_dropped",
        "rows_filtered",
        "rows_deduplicated",
        "rows_rescued",
        "error_code",
    ),
)
_WIDEST_CELL = 72
Uri = Annotated[
    str | None, typer.Option("--uri", metavar="GLOB", help="Only objects whose uri matches, such as '*/2024/*'.")
]


@app.command()
def show(
    file: File,
    *,
    step: Step = None,
    outcome: Annotated[str | None, typer.Option("--outcome", metavar="NAME", help=f"Only {_OUTCOMES}.")] = None,
    uri: Uri = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, metavar="N", help="Only this batch.")] = None,
    limit: Limit = 100,
    json: Json = False,
) -> Reply:
    """List objects with outcome, rows, first error.

    [dim]lakeray ledger show orders.yaml --outcome failed[/dim]
    """
    _known(outcome)
    with lakes.opened() as lake:
        found = lake.ledger(file, step=step).show(outcome=outcome, uri_glob=uri, batch=batch, limit=limit)
        rows = plain(found)
    return Reply(document={"objects": rows}, view=_listing(rows, limit))


def _known(*outcomes: str | None) -> None:
    for name in outcomes:
        if name is not None and name not in _NAMES:
            raise typer.BadParameter(f"{name!r} is none of {_OUTCOMES}", param_hint="--outcome")


def _listing(rows: list[dict[str, object]], limit: int) -> RenderableType:
    if not rows:
        return views.quiet("No object matches.")
    more = [views.quiet(f"Only the first {limit}: --limit shows more.")] if len(rows) == limit else []
    return views.stacked([views.grid(rows, hidden=_FOR_PROGRAMS, limit=_WIDEST_CELL), *more])


@app.command()
def reset(
    file: File,
    *,
    step: Step = None,
    uri: Uri = None,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", min=1, metavar="N", help="Only this batch; give it again for more.")
    ] = None,
    outcome: Annotated[
        list[str] | None, typer.Option("--outcome", metavar="NAME", help=f"Only {_OUTCOMES}; give it again for more.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All objects, when no other option chooses some.")] = False,
    json: Json = False,
) -> Reply:
    """Forget chosen objects, so that the next run imports them again.

    Rows that they wrote before stay in the table: choose objects that
    failed, or delete their rows first.

    [dim]lakeray ledger reset orders.yaml --outcome poison[/dim]
    """
    if not (uri or batch or outcome or everything):
        raise typer.BadParameter("choose objects with --uri, --batch or --outcome, or say --all")
    _known(*(outcome or ()))
    with lakes.opened() as lake:
        number = lake.ledger(file, step=step).reset(uri_glob=uri, batches=batch or None, outcomes=outcome or None)
    told = f"{counted(number, 'object')} reset; the next run imports them again" if number else "No object matches."
    return Reply(document={"reset": number}, view=views.good(told) if number else views.quiet(told))


@app.command()
def abandon(
    file: File,
    *,
    step: Step = None,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm: the open batch is closed without its rows.")] = False,
    json: Json = False,
) -> Reply:
    """Close a batch that cannot be finished, without its rows.

    Its objects count as not imported. Where it helps, correct the workflow
    file and run again instead.

    [dim]lakeray ledger abandon orders.yaml --step ingest --yes[/dim]
    """
    if not yes:
        raise typer.BadParameter("say --yes: the open batch is closed without its rows")
    with lakes.opened() as lake:
        number = lake.ledger(file, step=step).abandon()
    return Reply(document={"abandoned": number}, view=views.good(f"batch {number} is closed without its rows"))


@app.command()
def withdraw(
    file: File,
    *,
    step: Step = None,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", min=1, metavar="N", help="This batch; give it again for more.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="All batches of this run.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Confirm: the rows leave the table.")] = False,
    json: Json = False,
) -> Reply:
    """Take exactly the rows of some batches out of the table again.

    Whatever was written since stays. Their objects are not imported again
    until `lakeray ledger reset --outcome withdrawn`.

    [dim]lakeray ledger withdraw orders.yaml --batch 7 --yes[/dim]
    """
    if not (batch or run):
        raise typer.BadParameter("choose rows with --batch or --run")
    if not yes:
        raise typer.BadParameter("say --yes: the rows leave the table")
    with lakes.opened() as lake:
        done = lake.withdraw(file, step=step, batches=batch or None, run_id=run)
    if done is None:
        return Reply(document={"withdrawn": 0, "batch": None}, view=views.quiet("Nothing of that is in the table."))
    told = f"{counted(done.rows_removed, 'row')} withdrawn, as batch {done.number}"
    return Reply(document={"withdrawn": done.rows_removed, "batch": done.number}, view=views.good(told))


@app.command()
def claims(
    file: File,
    *,
    step: Step = None,
    end: Annotated[
        int | None, typer.Option("--end", min=1, metavar="N", help="End this claim: the next run imports what is left.")
    ] = None,
    json: Json = False,
) -> Reply:
    """List the parts of the source that backfills have claimed, or end a claim that nobody works for any more.

    A claim ends by itself when its partition is imported. Until then no run
    takes its objects.

    [dim]lakeray ledger claims orders.yaml[/dim]
    [dim]lakeray ledger claims orders.yaml --end 17[/dim]
    """
    with lakes.opened() as lake:
        ledger = lake.ledger(file, step=step)
        if end is not None:
            ledger.end_claim(end)
            return Reply(document={"ended": end}, view=views.good(f"claim {end} is over"))
        found = ledger.claims()
    view = views.grid(plain(found)) if found else views.quiet("Nothing is claimed.")
    return Reply(document={"claims": plain(found)}, view=view)


@app.command()
def rebuild(
    file: File,
    *,
    step: Step = None,
    accept_table: Annotated[
        bool, typer.Option("--accept-table", help="Results or manifests are lost for good: take the table as it is.")
    ] = False,
    start_over: Annotated[
        bool, typer.Option("--start-over", help="Likewise, but have every object imported again; rows stay.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do what these two otherwise only tell.")] = False,
    json: Json = False,
) -> Reply:
    """Write a lost ledger anew from manifests, results and the table's history.

    Where these are lost too and no backup helps, --accept-table or
    --start-over is the way out: both tell what is known of each batch and
    what would be assumed, and change nothing without --yes. Let no run of
    the workflow go on meanwhile.

    [dim]lakeray ledger rebuild orders.yaml --step ingest[/dim]
    [dim]lakeray ledger rebuild orders.yaml --accept-table[/dim]
    """
    if accept_table and start_over:
        raise typer.BadParameter("choose one of --accept-table and --start-over")
    with lakes.opened() as lake:
        ledger = lake.ledger(file, step=step)
        if accept_table:
            return acceptances.reply_to(ledger.accept_table(dry_run=not yes), start_over=False, done=yes)
        if start_over:
            return acceptances.reply_to(ledger.start_over(dry_run=not yes), start_over=True, done=yes)
        number = ledger.rebuild()
    return Reply(document={"rows": number}, view=views.good(f"the ledger is rebuilt: {counted(number, 'row')}"))


unbuilt.register(app, group="ledger")
