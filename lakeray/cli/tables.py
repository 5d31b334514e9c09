"""Commands about Delta tables: history, upkeep, going back."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from lakeray.cli import lakes, profiles, unbuilt, views
from lakeray.cli.options import Json, TableName, TableOrFile
from lakeray.cli.reply import Reply
from lakeray.errors import SpecError
from lakeray.observability.figures import counted, size
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
    z_order: Annotated[
        str | None,
        typer.Option("--z-order", metavar="A,B", help="Rewrite all rows of each partition in the order of columns."),
    ] = None,
    one_commit: Annotated[
        bool, typer.Option("--one-commit", help="Show everything at once (default: a commit every few files).")
    ] = False,
    json: Json = False,
) -> Reply:
    """Put small data files together, or rows that are asked for together.

    [dim]lakeray tables optimize orders.yaml orders --target-size 256MiB[/dim]
    [dim]lakeray tables optimize orders.yaml orders --z-order customer_id,placed_at[/dim]
    """
    size_bytes = None if target_size is None else _size(target_size)
    columns = [name.strip() for name in (z_order or "").split(",") if name.strip()]
    if z_order is not None and not columns:
        raise SpecError("--z-order names no column", hint="for instance --z-order customer_id,placed_at")
    with lakes.opened() as lake:
        metrics = plain(
            lake.table(target, table).optimize(target_size=size_bytes, z_order=columns, one_commit=one_commit)
        )
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
    """List files that no version within the retention needs; with --delete remove them.

    Files of running imports stay, whatever the retention.

    [dim]lakeray tables vacuum orders.yaml orders --delete[/dim]
    """
    with lakes.opened() as lake:
        files = lake.table(target, table).stale_files(retention_hours, dry_run=not delete)
    size_bytes = sum(file.size_bytes for file in files)
    shown = [{"file": file.path, "kind": file.kind, "bytes": file.size_bytes} for file in files[:_SHOWN_FILES]]
    parts = [views.grid(shown)] if shown else []
    if len(files) > _SHOWN_FILES:
        parts.append(views.quiet(f"and {len(files) - _SHOWN_FILES} more"))
    told = f"{counted(len(files), 'file')}, {size(size_bytes)}"
    told += " deleted" if delete else " can go: --delete removes them"
    view = views.lines([*parts, views.good(told if files else "nothing to delete")])
    kinds = dict(Counter(file.kind for file in files))
    document = {"deleted": delete, "files": [file.path for file in files], "bytes": size_bytes, "kinds": kinds}
    return Reply(document=document, view=view)


@app.command()
def checkpoint(
    target: TableOrFile,
    table: TableName = None,
    *,
    clean_log: Annotated[
        bool, typer.Option("--clean-log", help="Delete entries of the log that are old and that no import needs.")
    ] = False,
    json: Json = False,
) -> Reply:
    """Write a checkpoint of the log, so that opening the table stays fast.

    With --clean-log, entries older than delta.logRetentionDuration (30 days)
    go, unless an import has not recorded or looked at them yet.

    [dim]lakeray tables checkpoint orders.yaml orders --clean-log[/dim]
    """
    with lakes.opened() as lake:
        done = plain(lake.table(target, table).checkpoint(clean_log=clean_log))
    return Reply(document={"checkpoint": done}, view=_metrics("checkpoint written", done))


@app.command()
def profile(
    target: TableOrFile,
    table: TableName = None,
    *,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with a picture of each column.")
    ] = None,
    json: Json = False,
) -> Reply:
    """Show what the columns hold and how the files lie; reads every row once.

    Values of masked columns and of columns tagged pii are never shown.

    [dim]lakeray tables profile orders.yaml orders --html profile.html[/dim]
    """
    with lakes.opened() as lake:
        found = lake.table(target, table).profile()
    aside: list[RenderableType] = []
    if html is not None:
        html.write_text(found.to_html(), encoding="utf-8", errors="backslashreplace")
        aside.append(views.quiet(f"The picture is in {html}."))
    return Reply(document={"profile": found.model_dump(mode="json")}, view=profiles.view(found), aside=aside)


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
