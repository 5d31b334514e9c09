"""Commands about the keys of encrypted columns."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

import sys
from typing import Annotated

import typer

from lakeray.cli import lakes, views
from lakeray.cli.options import File, Json
from lakeray.cli.reply import Reply
from lakeray.observability.figures import counted
from lakeray.reports.documents import plain

app = typer.Typer(no_args_is_help=True, help="Keys of encrypted columns: list, rotate, use.")
Table = Annotated[str | None, typer.Option("--table", metavar="NAME", help="Only columns of this table.")]
Column = Annotated[str | None, typer.Option("--column", metavar="NAME", help="Only this column.")]


@app.command("list")
def list_keys(file: File, *, table: Table = None, column: Column = None, json: Json = False) -> Reply:
    """List data keys, with the references of the keys that can open them.

    [dim]lakeray keys list orders.yaml[/dim]
    """
    with lakes.opened() as lake:
        keys = plain(lake.keys(file, table=table, column=column).show())
    rows = [{**row, "wrapped_by": ", ".join(row["wrapped_by"]), "encrypts": row["encrypts"] or None} for row in keys]
    none = views.quiet("No key was made yet: the first import makes one.")
    return Reply(document={"keys": keys}, view=views.grid(rows) if rows else none)


@app.command()
def rotate(
    file: File,
    *,
    to: Annotated[
        str | None, typer.Option("--to", metavar="REFERENCE", help="Wrap data keys by this key too, as in env:NEW_KEY.")
    ] = None,
    reencrypt: Annotated[
        bool, typer.Option("--reencrypt", help="Make new data keys; bring all values under them.")
    ] = False,
    retire: Annotated[
        bool, typer.Option("--retire", help="Take data keys away from other keys than --to (or the file's).")
    ] = False,
    table: Table = None,
    column: Column = None,
    json: Json = False,
) -> Reply:
    """Change the keys of encrypted columns, safe beside running imports.

    First --to, then name the new key in the workflow file, then --retire.
    What was cut off is completed by the same command.

    [dim]lakeray keys rotate orders.yaml --to env:NEW_KEY[/dim]
    """
    with lakes.opened() as lake:
        told = plain(lake.keys(file, table=table, column=column).rotate(to=to, reencrypt=reencrypt, retire=retire))
    return Reply(document={"rotated": told}, view=views.facts((name, value) for name, value in told.items()))


@app.command()
def reencrypt(file: File, *, table: Table = None, column: Column = None, json: Json = False) -> Reply:
    """Bring all values under the newest data keys: completes a rotation.

    [dim]lakeray keys reencrypt orders.yaml[/dim]
    """
    with lakes.opened() as lake:
        count = lake.keys(file, table=table, column=column).reencrypt()
    return Reply(document={"reencrypted": count}, view=views.good(f"{counted(count, 'file')} written anew"))


@app.command()
def decrypt(
    file: File,
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[VALUE]...", help="Ciphertexts; none: a line each on standard input.")
    ] = None,
    *,
    table: Table = None,
    column: Column = None,
    json: Json = False,
) -> Reply:
    """Show what encrypted values stand for. The keys must be at hand.

    [dim]lakeray keys decrypt orders.yaml lrenc1:...[/dim]
    """
    texts = values or [line.strip() for line in sys.stdin if line.strip()]
    with lakes.opened() as lake:
        found = lake.keys(file, table=table, column=column).decrypt(texts)
    return Reply(document={"decrypted": found}, view="\n".join(str(text) for text in found))
