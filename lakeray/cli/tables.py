"""Commands about Delta tables: history, upkeep, going back."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from lakeray.cli import lakes, unbuilt, views
from lakeray.cli.options import Json, TableName, TableOrFile
from lakeray.cli.reply import Reply
from lakeray.errors import SpecError
from lakeray.observability.figures import counted
from lakeray.reports.documents import plain

app = typer.Typer(no_args_is_help=True, help="History and upkeep of Delta tables; safe beside running imports.")
unbuilt.register(app, group="tables")

_SHOWN_FILES = 20


@app.command()
def history(
    target: TableOrFile,
    table: TableName = None,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="At most so many versions.")] = 20,
    json: Json = False,
) -> Reply:
    """List versions, the newest first.

    [dim]lakeray tables history orders.yaml orders[/dim]
    """
    with lakes.opened() as lake:
        versions = plain(lake.table(target, table).history(limit))
    shown = [{name: value for name, value in row.items() if not isinstance(value, dict | list)} for row in versions]
    return Reply(document={"versions": versions}, view=views.grid(shown))


@app.command()
def tags(target: TableOrFile, table: TableName = None, *, json: Json = False) -> Reply:
    """List how columns are classified.

    [dim]lakeray tables tags orders.yaml orders[/dim]
    """
    with lakes.opened() as lake:
        found = lake.table(target, table).tags()
    view = views.facts(((name, ", ".join(said)) for name, said in found.items()))
    return Reply(document={"tags": found}, view=view if found else views.quiet("No column is tagged."))


@app.command()
def optimize(
    target: TableOrFile,
    table: TableName = None,
    *,
    target_size: Annotated[
        str | None, typer.Option("--target-size", metavar="SIZE", help="Size of a data file, such as 256MiB.")
    ] = None,
    json: Json = False,
) -> Reply:
    """Put small data files together.

    [dim]lakeray tables optimize orders.yaml orders --target-size 256MiB[/dim]
    """
    size_bytes = None if target_size is None else _size(target_size)
    with lakes.opened() as lake:
        metrics = plain(lake.table(target, table).optimize(target_size=size_bytes))
    return Reply(document={"optimized": metrics}, view=_metrics("optimized", metrics))


@app.command()
def vacuum(
    target: TableOrFile,
    table: TableName = None,
    *,
    retention_hours: Annotated[
        int | None,
        typer.Option(
            "--retention-hours",
            min=0,
            metavar="HOURS",
            help="Keep younger files (default: the table's, or 168).",
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it the files are only listed.")] = False,
    json: Json = False,
) -> Reply:
    """List data files that no version within the retention needs; with --delete remove them.

    [dim]lakeray tables vacuum orders.yaml orders --delete[/dim]
    """
    with lakes.opened() as lake:
        files = plain(lake.table(target, table).vacuum(retention_hours, dry_run=not delete))
    parts = [views.quiet(name) for name in files[:_SHOWN_FILES]]
    if len(files) > _SHOWN_FILES:
        parts.append(views.quiet(f"and {len(files) - _SHOWN_FILES} more"))
    told = f"{counted(len(files), 'file')} {'deleted' if delete else 'can go: --delete removes them'}"
    view = views.lines([*parts, views.good(told if files else "nothing to delete")])
    return Reply(document={"deleted": delete, "files": files}, view=view)


@app.command()
def restore(
    target: TableOrFile,
    table: TableName = None,
    *,
    version: Annotated[int, typer.Option("--version", min=0, metavar="N", help="The version to go back to.")],
    json: Json = False,
) -> Reply:
    """Go back to an earlier version, as a new version.

    The next import sees it: `on_restore` in the workflow file decides what
    becomes of batches that are gone by it.

    [dim]lakeray tables restore orders.yaml orders --version 12[/dim]
    """
    with lakes.opened() as lake:
        metrics = plain(lake.table(target, table).restore(version))
    return Reply(document={"restored": metrics}, view=_metrics(f"restored to version {version}", metrics))


def _metrics(done: str, metrics: dict[str, Any]) -> RenderableType:
    return views.lines([views.good(done), views.facts((f"  {name}", value) for name, value in metrics.items())])


def _size(text: str) -> int:
    from lakeray.spec.units import parse_size

    try:
        size_bytes = parse_size(text)
    except ValueError as wrong:
        raise typer.BadParameter(str(wrong), param_hint="--target-size") from wrong
    if size_bytes <= 0:
        raise SpecError("--target-size must be above 0", hint="for instance --target-size 256MiB")
    return size_bytes
