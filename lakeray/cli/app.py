"""All commands of `lakeray` by name."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lakeray.cli import (
    backfill,
    deadletters,
    demo,
    environment,
    keys,
    ledger,
    limits,
    look,
    outputs,
    quarantine,
    run,
    runs,
    schedules,
    tables,
    unbuilt,
    up,
)

_HELP = """Keep Delta tables exactly in step with object storage: every object imported once, every row accounted for.

[bold]lakeray demo[/bold]                      watch it work on a generated lake
[bold]lakeray validate orders.yaml[/bold]      check a workflow file, starting nothing
[bold]lakeray plan orders.yaml[/bold]          what a run would import
[bold]lakeray run orders.yaml[/bold]           import what is new, print the report
"""
_EXITS = "Exit codes: 0 succeeded, 1 failed, 2 file or arguments wrong (nothing was started), 3 stopped at a gate."

IMPORT = "Import"
LOOK = "Look, repair"
SETUP = "Environment"


class _InOrder(TyperGroup):
    """Shows commands in the order of a newcomer's day, groups between them."""

    def list_commands(self, ctx: Any) -> list[str]:
        order = list(_ORDER)
        return sorted(super().list_commands(ctx), key=lambda name: order.index(name) if name in order else len(order))


_ORDER = (
    "demo",
    "validate",
    "plan",
    "discover",
    "run",
    "up",
    "runs",
    "pools",
    "breakers",
    "deadletters",
    "schedules",
    "backfill",
    "ledger",
    "quarantine",
    "tables",
    "outputs",
    "keys",
    "doctor",
    "schema",
    "version",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(environment.own_version())
        raise typer.Exit


app = typer.Typer(
    name="lakeray",
    cls=_InOrder,
    help=_HELP,
    epilog=f"{_EXITS}\n\n{unbuilt.epilog()}",
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, then exit.")
    ] = False,
) -> None:
    pass


app.command("run", rich_help_panel=IMPORT)(run.run)
app.command("validate", rich_help_panel=IMPORT)(look.validate)
app.command("plan", rich_help_panel=IMPORT)(look.plan)
app.command("discover", rich_help_panel=IMPORT)(look.discover)
app.command("demo", rich_help_panel=IMPORT)(demo.demo)
app.command("up", rich_help_panel=IMPORT)(up.up)
app.add_typer(runs.app, name="runs", rich_help_panel=IMPORT)
app.add_typer(limits.pools, name="pools", rich_help_panel=IMPORT)
app.add_typer(limits.breakers, name="breakers", rich_help_panel=IMPORT)
app.add_typer(deadletters.app, name="deadletters", rich_help_panel=IMPORT)
app.add_typer(schedules.app, name="schedules", rich_help_panel=IMPORT)
app.add_typer(backfill.app, name="backfill", rich_help_panel=IMPORT)
app.add_typer(ledger.app, name="ledger", rich_help_panel=LOOK)
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=LOOK)
app.add_typer(outputs.app, name="outputs", rich_help_panel=LOOK)
app.add_typer(keys.app, name="keys", rich_help_panel=LOOK)
app.add_typer(tables.app, name="tables", rich_help_panel=LOOK)
app.command("doctor", rich_help_panel=SETUP)(environment.doctor)
app.command("schema", rich_help_panel=SETUP)(environment.schema)
app.command("version", rich_help_panel=SETUP)(environment.version)
unbuilt.register(app)
