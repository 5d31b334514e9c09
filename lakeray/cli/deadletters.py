"""Commands about dead letters: work that was given up."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

from typing import Annotated

import typer

from lakeray.cli import lakes, views
from lakeray.cli.options import Json
from lakeray.cli.reply import Reply
from lakeray.cli.runs import steered
from lakeray.reports.documents import plain

app = typer.Typer(no_args_is_help=True, help="Work that was given up: look at it, have it done again.")
Letter = Annotated[str, typer.Argument(metavar="LETTER|RUN", help="The letter's id, or its run's.", show_default=False)]


@app.command("list")
def list_letters(
    *,
    workflow: Annotated[str | None, typer.Option("--workflow", metavar="NAME", help="Only of this workflow.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only of this tenant.")] = None,
    json: Json = False,
) -> Reply:
    """List what was given up and not done since, the newest first.

    [dim]lakeray deadletters list[/dim]
    """
    with lakes.opened() as lake:
        found = lake.deadletters.list(workflow=workflow, tenant=tenant)
    rows = [
        {
            "letter": each.letter,
            "workflow": each.workflow,
            "step": each.step,
            "kind": each.kind,
            "at": each.at.strftime("%Y-%m-%d %H:%M:%S"),
            "workers lost": each.deaths,
            "error": each.error.message,
        }
        for each in found
    ]
    view = views.grid(rows) if rows else views.quiet("No dead letter.")
    return Reply(document={"deadletters": plain(found)}, view=view)


@app.command()
def show(letter: Letter, *, json: Json = False) -> Reply:
    """Show one dead letter.

    [dim]lakeray deadletters show run-1a2b3c4d5e6f[/dim]
    """
    with lakes.opened() as lake:
        found = plain(lake.deadletters.show(letter))
    error = found["error"]
    facts = {name: value for name, value in found.items() if name != "error"}
    facts |= {"error": error["message"], "code": error["code"], "what to do": error["hint"]}
    facts["have it done again"] = f"lakeray deadletters redrive {found['letter']}"
    return Reply(document={"deadletter": found}, view=views.facts(facts.items()))


@app.command()
def redrive(letter: Letter, *, json: Json = False) -> Reply:
    """Have the work done again: go on with its run from there, or tell an address again.

    [dim]lakeray deadletters redrive run-1a2b3c4d5e6f[/dim]
    """
    with lakes.opened() as lake:
        if lake.deadletters.show(letter).kind == "webhook":
            told = plain(lake.deadletters.retell(letter))
            return Reply(document={"redriven": told}, view=views.good("`lakeray up` tells it again"))
    return steered(lambda lake: lake.deadletters.redrive(letter))


@app.command()
def discard(letter: Letter, *, json: Json = False) -> Reply:
    """Give the work up for good; its run stays as it is.

    [dim]lakeray deadletters discard run-1a2b3c4d5e6f[/dim]
    """
    with lakes.opened() as lake:
        found = lake.deadletters.discard(letter)
    return Reply(document={"discarded": plain(found)}, view=views.good(f"{found.letter} is gone"))
