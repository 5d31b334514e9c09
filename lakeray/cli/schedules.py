"""Commands about what makes runs begin by themselves: schedules and triggers."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from lakeray.cli import lakes, views
from lakeray.cli.options import File, Json
from lakeray.cli.reply import Reply
from lakeray.reports.documents import plain

if TYPE_CHECKING:
    from lakeray.lake import Lake
    from lakeray.runtime.durable.triggers.manage import SchedulesOf, Waiting

app = typer.Typer(
    no_args_is_help=True, help="Schedules and triggers: what makes runs begin by themselves while `lakeray up` stands."
)

Name = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's name.", show_default=False)]
Tenant = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Whose workflow; needed where several have one.")
]
Part = Annotated[
    str | None,
    typer.Option("--trigger", metavar="NAME", help="Only this trigger, or `schedule`. Default: all of the file."),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for whoever looks.")]


def _of(lake: Lake) -> SchedulesOf:
    return lake.schedules


@app.command("list")
def list_schedules(*, json: Json = False) -> Reply:
    """List everything that is registered, with when it is due next.

    [dim]lakeray schedules list[/dim]
    """
    with lakes.opened() as lake:
        return _shown(_of(lake).list())


@app.command()
def show(workflow: Name, *, tenant: Tenant = None, json: Json = False) -> Reply:
    """Show the schedule and the triggers of a workflow: what goes on, what waits, what did not begin.

    [dim]lakeray schedules show orders[/dim]
    """
    with lakes.opened() as lake:
        return _shown(_of(lake).show(workflow, tenant=tenant))


@app.command()
def add(file: File, *, json: Json = False) -> Reply:
    """Register the schedule and the triggers of a workflow file, or what it says now.

    Runs begin while `lakeray up` stands. What the file says as before goes on as before.

    [dim]lakeray schedules add orders.yaml[/dim]
    """
    with lakes.opened() as lake:
        return _shown(_of(lake).add(file))


@app.command()
def remove(workflow: Name, *, tenant: Tenant = None, json: Json = False) -> Reply:
    """Begin no further runs of a workflow by themselves. Runs that go on go on.

    [dim]lakeray schedules remove orders[/dim]
    """
    with lakes.opened() as lake:
        _of(lake).remove(workflow, tenant=tenant)
    return Reply(document={"removed": workflow}, view=views.good(f"no run of {workflow} begins by itself any more"))


@app.command()
def pause(
    workflow: Name, *, trigger: Part = None, reason: Reason = "by hand", tenant: Tenant = None, json: Json = False
) -> Reply:
    """Begin nothing until it is resumed.

    [dim]lakeray schedules pause orders --reason "the source is being moved"[/dim]
    """
    with lakes.opened() as lake:
        return _shown(_of(lake).pause(workflow, trigger, reason=reason, tenant=tenant))


@app.command()
def resume(workflow: Name, *, trigger: Part = None, tenant: Tenant = None, json: Json = False) -> Reply:
    """Go on from now. What was due meanwhile is not made up for.

    [dim]lakeray schedules resume orders[/dim]
    """
    with lakes.opened() as lake:
        return _shown(_of(lake).resume(workflow, trigger, tenant=tenant))


@app.command()
def trigger(workflow: Name, *, tenant: Tenant = None, json: Json = False) -> Reply:
    """Begin a run now, as if the schedule had been due. Whoever owns the state drives it.

    [dim]lakeray schedules trigger orders[/dim]
    """
    with lakes.opened() as lake:
        begun = _of(lake).trigger(workflow, tenant=tenant)
    said = f"run {begun.run_id}: {begun.state}" + (f", {begun.reason}" if begun.reason else "")
    view = views.warning(said) if begun.state == "skipped" else views.good(said)
    aside: list[RenderableType] = [views.quiet("It goes on while `lakeray up` stands.")]
    return Reply(document=plain(begun), view=view, aside=aside)


@app.command("next")
def next_times(
    workflow: Name,
    *,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1_000, help="How many.")] = 5,
    tenant: Tenant = None,
    json: Json = False,
) -> Reply:
    """Print when the schedule is due next, in UTC.

    [dim]lakeray schedules next orders -n 10[/dim]
    """
    with lakes.opened() as lake:
        times = _of(lake).next(workflow, count=count, tenant=tenant)
    lines = [at.isoformat(timespec="seconds") for at in times]
    return Reply(document={"workflow": workflow, "next": lines}, view="\n".join(lines))


def _shown(lines: list[Waiting]) -> Reply:
    rows = [_row(line) for line in lines]
    notes = [views.quiet(f"{line.workflow}/{line.name}: {said}") for line in lines for said in line.said[-3:]]
    view = views.lines([views.grid(rows), *notes]) if rows else views.quiet("Nothing is registered.")
    return Reply(document={"schedules": plain(lines)}, view=view)


def _row(line: Waiting) -> dict[str, Any]:
    return {
        "workflow": line.workflow,
        "tenant": line.tenant,
        "name": line.name,
        "kind": line.kind,
        "what": line.what,
        "next (UTC)": line.next_at.strftime("%Y-%m-%d %H:%M") if line.next_at else "",
        "running": len(line.running),
        "waiting": line.waiting,
        "paused": line.paused or "",
    }
