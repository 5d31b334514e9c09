"""The command that imports history: `lakeray backfill`."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from lakeray.cli import lakes, views
from lakeray.cli.options import File, Json
from lakeray.cli.reply import Reply
from lakeray.observability.figures import duration
from lakeray.reports.documents import plain

if TYPE_CHECKING:
    from lakeray.runtime.durable.triggers.backfill_runs import BackfillRun
    from lakeray.runtime.durable.triggers.progress import BackfillSummary

_LOOK_S = 1.0
_PARTITIONS_SHOWN = 10


class _StartsOne(TyperGroup):
    """`lakeray backfill FILE` is `lakeray backfill start FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["start", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_StartsOne,
    no_args_is_help=True,
    help="Run a workflow for each partition of its past: `lakeray backfill FILE --start ... --end ... --every ...`",
)


class Reprocess(StrEnum):
    """What is done again of what an earlier backfill has ended."""

    none = "none"
    failed = "failed"
    all = "all"


Id = Annotated[str, typer.Argument(metavar="BACKFILL", help="The backfill's id.", show_default=False)]


@app.command()
def start(
    file: File,
    *,
    step: Annotated[str | None, typer.Option("--step", metavar="NAME", help="Only this step.")] = None,
    begin: Annotated[str | None, typer.Option("--start", metavar="TIME", help="Where the range begins.")] = None,
    end: Annotated[str | None, typer.Option("--end", metavar="TIME", help="Its end; a date as a whole day.")] = None,
    every: Annotated[
        str | None, typer.Option("--every", metavar="INTERVAL", help="Of a partition: '1 day', '6 hours', '1 month'.")
    ] = None,
    values: Annotated[
        str | None, typer.Option("--values", metavar="A,B,...", help="Partitions as a list, instead of a range.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="COLUMNS", help="Path columns that say an object's partition. Default: its time of change."
        ),
    ] = None,
    timezone: Annotated[str, typer.Option("--timezone", metavar="ZONE", help="Of times without an offset.")] = "UTC",
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, max=1_000, help="Partitions at once.")] = 4,
    reprocess: Annotated[
        Reprocess, typer.Option("--reprocess", help="Which partitions are done again that an earlier backfill ended.")
    ] = Reprocess.none,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count the partitions, begin nothing.")] = False,
    json: Json = False,
) -> Reply:
    """Import history in partitions, beside whatever else imports from the same source.

    Ctrl-C leaves it as it is: `lakeray backfill resume` goes on, on any machine with the same state.

    [dim]lakeray backfill orders.yaml --step ingest --start 2024-01-01 --end 2024-12-31 --every "1 month"[/dim]
    [dim]lakeray backfill orders.yaml --step ingest --values eu,us --by region --dry-run[/dim]
    """
    asked: dict[str, Any] = {
        "step": step,
        "start": begin,
        "end": end,
        "every": every,
        "values": [value.strip() for value in values.split(",")] if values is not None else [],
        "by": [name.strip() for name in by.split(",")] if by is not None else [],
        "timezone": timezone,
        "concurrency": concurrency,
        "reprocess": reprocess.value,
    }
    from lakeray.runtime.bench import utc_now
    from lakeray.runtime.durable.triggers.progress import summary_of

    with lakes.opened() as lake:
        if dry_run:
            kept = lake.backfills.plan(file, **asked)
            summary, objects = summary_of(kept, None, utc_now()), lake.backfills.objects(file, kept)
            document = {"backfill": plain(summary), "dry_run": True, "objects": objects}
            return Reply(document=document, view=_planned(summary, objects))
        return _watched(lake.backfill(file, **asked))


@app.command("list")
def list_backfills(*, json: Json = False) -> Reply:
    """List backfills, the newest first.

    [dim]lakeray backfill list[/dim]
    """
    with lakes.opened() as lake:
        lines = lake.backfills.list()
    rows = [_row(line) for line in lines]
    view = views.grid(rows) if rows else views.quiet("No backfill.")
    return Reply(document={"backfills": plain(lines)}, view=view)


@app.command()
def show(backfill: Id, *, json: Json = False) -> Reply:
    """Show how far a backfill is, what goes on and what failed.

    [dim]lakeray backfill show backfill-1a2b3c4d5e6f[/dim]
    """
    with lakes.opened() as lake:
        return _shown(lake.backfills.show(backfill), exit_code=0)


@app.command()
def pause(backfill: Id, *, json: Json = False) -> Reply:
    """Begin no further partitions; those that go on go on.

    [dim]lakeray backfill pause backfill-1a2b3c4d5e6f[/dim]
    """
    with lakes.opened() as lake:
        return _shown(lake.backfills.pause(backfill), exit_code=0)


@app.command()
def resume(backfill: Id, *, json: Json = False) -> Reply:
    """Go on with a backfill that was paused, or that nobody drives any more.

    [dim]lakeray backfill resume backfill-1a2b3c4d5e6f[/dim]
    """
    with lakes.opened() as lake:
        return _watched(lake.backfills.resume(backfill))


@app.command()
def cancel(backfill: Id, *, json: Json = False) -> Reply:
    """Begin nothing more, cancel the runs that go on, leave the rest to the stream.

    [dim]lakeray backfill cancel backfill-1a2b3c4d5e6f[/dim]
    """
    with lakes.opened() as lake:
        lake.backfills.cancel(backfill)
        reply = _watched(lake.backfills.carry_on(backfill))
    return replace(reply, exit_code=0)  # it was asked for


@app.command()
def retry(backfill: Id, *, json: Json = False) -> Reply:
    """Do the failed partitions of a backfill again, and nothing else.

    [dim]lakeray backfill retry backfill-1a2b3c4d5e6f[/dim]
    """
    with lakes.opened() as lake:
        return _watched(lake.backfills.retry(backfill))


def _watched(run: BackfillRun) -> Reply:
    """Follow it here. Ctrl-C leaves it to the next process."""
    said = ""
    try:
        while True:
            with suppress(TimeoutError):
                summary = run.result(timeout=_LOOK_S)
                break
            if (sentence := run.summary.sentence) != said:
                said = sentence
                with suppress(OSError, ValueError):
                    sys.stderr.write(f"{run.backfill_id}: {said}\n")
    except KeyboardInterrupt:
        run.leave()
        summary = run.result()
    return _shown(summary, exit_code=0 if summary.state == "succeeded" else 1)


def _planned(summary: BackfillSummary, objects: dict[str, int]) -> Any:
    by = f"by {', '.join(summary.by)} of their paths" if summary.by else "by the time at which they were changed"
    earlier = f", {summary.left_out} of them done by an earlier backfill" if summary.left_out else ""
    said = f"{summary.total} partitions, {summary.first} to {summary.last}{earlier}; objects belong to them {by}"
    rows = [{"partition": key, "objects to import": count} for key, count in objects.items() if count]
    more = [views.quiet(f"... and {len(rows) - _PARTITIONS_SHOWN} more")] if len(rows) > _PARTITIONS_SHOWN else []
    head = [views.title(summary.workflow, summary.step or "all steps"), views.quiet(said)]
    return views.lines([*head, *([views.grid(rows[:_PARTITIONS_SHOWN])] if rows else []), *more])


def _shown(summary: BackfillSummary, *, exit_code: int) -> Reply:
    head = views.title(summary.backfill_id, f"{summary.workflow} · {summary.state} · {summary.sentence}")
    rows = [plain(line) for line in summary.partitions[:_PARTITIONS_SHOWN]]
    aside: list[Any] = []
    if summary.state in ("running", "paused"):
        aside.append(views.quiet(f"Go on: lakeray backfill resume {summary.backfill_id}"))
    if summary.failed and summary.state not in ("running", "cancelling"):
        aside.append(views.warning(f"Do the failed ones again: lakeray backfill retry {summary.backfill_id}"))
    view = views.stacked([head, views.grid(rows)]) if rows else head
    return Reply(document={"backfill": plain(summary)}, view=view, aside=aside, exit_code=exit_code)


def _row(line: BackfillSummary) -> dict[str, Any]:
    return {
        "backfill": line.backfill_id,
        "workflow": line.workflow,
        "step": line.step,
        "state": line.state,
        "done": f"{line.done}/{line.total}",
        "failed": line.failed,
        "left": duration(line.left_s) if line.left_s else "",
        "started": line.started_at.strftime("%Y-%m-%d %H:%M"),
    }
