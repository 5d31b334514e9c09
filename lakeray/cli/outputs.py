"""Commands about outputs: the files of other formats beside a table."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

from typing import Annotated

import typer

from lakeray.cli import lakes, views
from lakeray.cli.options import File, Json, Step
from lakeray.cli.reply import Reply
from lakeray.observability.figures import counted
from lakeray.reports.documents import plain

app = typer.Typer(no_args_is_help=True, help="Files of other formats beside a table: which count, which can go.")


@app.command("list")
def list_files(
    file: File,
    *,
    step: Step = None,
    output: Annotated[str | None, typer.Option("--output", metavar="NAME", help="Only this output.")] = None,
    json: Json = False,
) -> Reply:
    """List the files that count, batch by batch.

    [dim]lakeray outputs list orders.yaml[/dim]
    """
    with lakes.opened() as lake:
        files = plain(lake.outputs(file, step=step).show(output))
    none = views.quiet("No batch has an output yet.")
    return Reply(document={"files": files}, view=views.grid(files) if files else none)


@app.command()
def clean(
    file: File,
    *,
    step: Step = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it the files are only listed.")] = False,
    json: Json = False,
) -> Reply:
    """List files that attempts left which did not count; with --delete remove them.

    [dim]lakeray outputs clean orders.yaml --delete[/dim]
    """
    with lakes.opened() as lake:
        files = plain(lake.outputs(file, step=step).clean(dry_run=not delete))
    told = f"{counted(len(files), 'file')} {'deleted' if delete else 'can go: --delete removes them'}"
    view = views.lines([*map(views.quiet, files), views.good(told if files else "nothing to delete")])
    return Reply(document={"deleted": delete, "files": files}, view=view)
