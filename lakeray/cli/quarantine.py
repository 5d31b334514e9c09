"""Commands about quarantine: the rows that were refused."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

from typing import Annotated

import typer

from lakeray.cli import lakes, unbuilt, views
from lakeray.cli.options import File, Json, Limit
from lakeray.cli.reply import Reply
from lakeray.reports.documents import plain

app = typer.Typer(no_args_is_help=True, help="Refused rows with reason and origin.")
# Which version of which object in which run is in --json; on a terminal it would push the reason away.
_FOR_PROGRAMS = ("object_etag", "object_version_id", "pipeline", "step", "batch", "run_id", "quarantined_at")
_WIDEST_CELL = 72
unbuilt.register(app, group="quarantine")


@app.callback()
def _group() -> None:
    """Refused rows with reason and origin."""


@app.command("list")
def list_rows(
    file: File,
    *,
    table: Annotated[
        str | None, typer.Option("--table", metavar="NAME", help="The table; needed when the file has several.")
    ] = None,
    limit: Limit = 100,
    json: Json = False,
) -> Reply:
    """List refused rows with their reason and where they came from.

    [dim]lakeray quarantine list orders.yaml --limit 20[/dim]
    """
    with lakes.opened() as lake:
        rows = plain(lake.quarantine(file, table=table, limit=limit))
    none = views.quiet("Nothing is in quarantine.")
    return Reply(
        document={"rows": rows}, view=views.grid(rows, hidden=_FOR_PROGRAMS, limit=_WIDEST_CELL) if rows else none
    )
