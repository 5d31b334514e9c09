"""Commands about durable runs: look at them, steer them, go on with them."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType

from lakeray.cli import lakes, views
from lakeray.cli.options import Json, Limit
from lakeray.cli.reply import Reply
from lakeray.cli.run import LogFormat, ReportFormat, exit_code, going_on, observer_for, reply_to, watched
from lakeray.observability.figures import counted, duration
from lakeray.reports.documents import plain

if TYPE_CHECKING:
    from lakeray.lake import Lake, Run
    from lakeray.observability.progress import Observer
    from lakeray.runtime.summary import RunSummary

app = typer.Typer(no_args_is_help=True, help="Durable runs: their history, their gates, going on where one stopped.")

RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id.", show_default=False)]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Kept in the run's history.")]
Gate = Annotated[str | None, typer.Option("--gate", metavar="STEP", help="Which gate; needed where several wait.")]
Comment = Annotated[str | None, typer.Option("--comment", metavar="TEXT", help="Kept with the answer.")]
By = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Who answers. Default: the user of this machine.")]
Roles = Annotated[
    list[str] | None,
    typer.Option("--role", metavar="ROLE", help="A role of whoever answers. Default: those that the gate asks for."),
]
Archive = Annotated[
    str | None, typer.Option("--archive", metavar="URI", help="Look into an archive of `runs archive` instead.")
]
_LONGEST = 100
_ENDED = ("succeeded", "failed", "cancelled")


@app.command("list")
def list_runs(
    *,
    state: Annotated[str | None, typer.Option("--state", help="Only runs in this state, such as waiting.")] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", metavar="NAME", help="Only of this workflow.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only of this tenant.")] = None,
    since: Annotated[datetime | None, typer.Option("--since", metavar="TIME", help="Begun since then (UTC).")] = None,
    archive: Archive = None,
    limit: Limit = 20,
    json: Json = False,
) -> Reply:
    """List runs, the newest first.

    [dim]lakeray runs list --state waiting[/dim]
    """
    begun = since.replace(tzinfo=UTC) if since is not None else None
    with lakes.opened() as lake:
        if archive is not None:
            lines = lake.runs.archived(archive, since=begun, limit=limit, state=state, workflow=workflow, tenant=tenant)
        else:
            lines = lake.runs.list(state=state, workflow=workflow, tenant=tenant, since=begun, limit=limit)
    rows = [_row(line) for line in lines]
    return Reply(document={"runs": plain(lines)}, view=views.grid(rows) if rows else views.quiet("No run."))


def _row(line: Any) -> dict[str, Any]:
    took = (line.ended_at - line.started_at).total_seconds() if line.ended_at else None
    return {
        "run": line.run_id,
        "workflow": line.workflow,
        "state": line.state,
        "started": line.started_at.strftime("%Y-%m-%d %H:%M:%S"),
        "took": duration(took) if took is not None else "",
        "parent": line.parent,
    }


@app.command()
def show(run: RunId, *, archive: Archive = None, json: Json = False) -> Reply:
    """Show how a run stands: its steps, what its gates found, whom it waits for.

    [dim]lakeray runs show run-1a2b3c4d5e6f[/dim]
    """
    with lakes.opened() as lake:
        summary = lake.runs.show(run, archive=archive)
    return _shown(summary)


def _shown(summary: RunSummary, exit_code: int = 0) -> Reply:
    return Reply(document={"run": plain(summary)}, view=_view(summary), aside=going_on(summary), exit_code=exit_code)


def _view(summary: RunSummary) -> RenderableType:
    rows = [
        {
            "step": step.name,
            "kind": step.kind,
            "state": step.state,
            "attempts": step.attempts,
            "took": duration(step.duration_s) if step.duration_s else "",
            "": step.error.message if step.error else "; ".join(step.said),
        }
        for step in summary.steps
    ]
    head = views.title(f"{summary.run_id}", f"{summary.workflow} · {summary.state}")
    notes = [views.quiet(note) for note in summary.notes]
    return views.stacked([head, views.grid(rows), *notes])


@app.command()
def events(
    run: RunId,
    *,
    after: Annotated[int, typer.Option("--after", min=0, metavar="N", help="Only those behind the N-th.")] = 0,
    json: Json = False,
) -> Reply:
    """List the history of a run.

    [dim]lakeray runs events run-1a2b3c4d5e6f --json[/dim]
    """
    with lakes.opened() as lake:
        lines = lake.runs.events(run, after=after)
    rows = [
        {
            "": line.sequence,
            "at": line.at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3],
            "event": line.event,
            "step": line.said.get("step", ""),
            "said": _short(line.said),
        }
        for line in lines
    ]
    return Reply(document={"events": plain(lines)}, view=views.grid(rows, limit=_LONGEST))


def _short(said: dict[str, Any]) -> str:
    hidden = ("step", "definition", "evidence", "output", "key", "seed", "definition_hash")
    return ", ".join(f"{name} {value}" for name, value in said.items() if name not in hidden)


@app.command()
def watch(run: RunId, *, json: Json = False) -> Reply:
    """Follow a run that another process drives, until it is over or waits for a person.

    [dim]lakeray runs watch run-1a2b3c4d5e6f[/dim]
    """
    seen = 0
    with lakes.opened() as lake:
        while True:
            for line in lake.runs.events(run, after=seen):
                seen = line.sequence
                with suppress(OSError, ValueError):
                    sys.stderr.write(f"{line.at:%H:%M:%S} {line.event} {line.said.get('step', '')}\n")
            summary = lake.runs.show(run)
            if summary.state in _ENDED or summary.needs:
                return _shown(summary, exit_code(summary, continuous=False))
            time.sleep(0.5)


@app.command()
def report(
    run: RunId,
    *,
    format_: Annotated[ReportFormat, typer.Option("--format", help="Format of the report.")] = ReportFormat.text,
    archive: Archive = None,
    json: Json = False,
) -> Reply:
    """Print the report of a run, from its history.

    [dim]lakeray runs report run-1a2b3c4d5e6f --format html[/dim]
    """
    with lakes.opened() as lake:
        summary = lake.runs.show(run, archive=archive)
    reply = reply_to(summary, report=format_, output=None, continuous=False)
    return Reply(document=reply.document, view=reply.view, aside=reply.aside)


@app.command()
def archive(
    *,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Since their end, as in 30d. Default: LAKERAY_RETENTION."),
    ] = None,
    into: Annotated[
        str | None, typer.Option("--into", metavar="URI", help="Where to. Default: LAKERAY_ARCHIVE.")
    ] = None,
    json: Json = False,
) -> Reply:
    """Write runs that ended long ago to Parquet files; forget them.

    Stopped anywhere, do it again: nothing is lost.

    [dim]lakeray runs archive --older-than 30d --into s3://acme-lake/runs[/dim]
    """
    with lakes.opened() as lake:
        kept_s = _age(older_than) if older_than is not None else None
        done = lake.runs.archive(older_than_s=kept_s, into=into)
    return Reply(document={"archived": plain(done)}, view=views.good(f"{counted(done.runs, 'run')} → {done.into}"))


def _age(text: str) -> float:
    from lakeray.spec.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--older-than") from error


@app.command("replay-check")
def replay_check(run: RunId, *, json: Json = False) -> Reply:
    """Compare a run's history with what this version would decide; exit code 1 where it differs.

    [dim]lakeray runs replay-check run-1a2b3c4d5e6f[/dim]
    """
    with lakes.opened() as lake:
        found = lake.runs.replay_check(run)
    rows = [{"": each.sequence, "written": str(each.written), "today": str(each.today)} for each in found]
    view = views.grid(rows) if rows else views.good("this version would decide as it was decided")
    return Reply(document={"differences": rows}, view=view, exit_code=1 if rows else 0)


@app.command()
def approve(
    run: RunId, *, gate: Gate = None, comment: Comment = None, by: By = None, role: Roles = None, json: Json = False
) -> Reply:
    """Say yes at a gate, and go on with the run.

    [dim]lakeray runs approve run-1a2b3c4d5e6f --gate release --comment "checked"[/dim]
    """
    return steered(lambda lake: lake.runs.approve(run, gate=gate, comment=comment, by=by, roles=role or None))


@app.command()
def reject(
    run: RunId, *, gate: Gate = None, comment: Comment = None, by: By = None, role: Roles = None, json: Json = False
) -> Reply:
    """Say no at a gate: its step fails, and the run does what the file says then.

    [dim]lakeray runs reject run-1a2b3c4d5e6f --comment "wrong month"[/dim]
    """
    return steered(lambda lake: lake.runs.reject(run, gate=gate, comment=comment, by=by, roles=role or None))


@app.command()
def resume(run: RunId, *, json: Json = False) -> Reply:
    """Go on with a run that was paused, or that nobody drives any more.

    [dim]lakeray runs resume run-1a2b3c4d5e6f[/dim]
    """
    return steered(lambda lake: lake.runs.resume(run))


@app.command()
def retry(
    run: RunId,
    *,
    from_step: Annotated[str | None, typer.Option("--from", metavar="STEP", help="Repeat from this step on.")] = None,
    json: Json = False,
) -> Reply:
    """Go on with a run that did not succeed, from what failed or was undone.

    [dim]lakeray runs retry run-1a2b3c4d5e6f[/dim]
    """
    return steered(lambda lake: lake.runs.retry(run, from_step=from_step))


@app.command()
def fork(
    run: RunId,
    *,
    from_step: Annotated[str, typer.Option("--from", metavar="STEP", help="The step to begin anew from.")],
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="The workflow as it is now. Default: the run's own.")
    ] = None,
    json: Json = False,
) -> Reply:
    """Begin a new run that keeps what a run did before a step.

    [dim]lakeray runs fork run-1a2b3c4d5e6f --from align --file orders.yaml[/dim]
    """

    def steer(lake: Lake) -> Run | RunSummary:
        return lake.runs.fork(run, from_step=from_step, workflow=lake.validate(file) if file else None)

    return steered(steer)


@app.command()
def pause(run: RunId, *, reason: Reason = None, json: Json = False) -> Reply:
    """Begin nothing new in a run; what is at work goes on.

    [dim]lakeray runs pause run-1a2b3c4d5e6f[/dim]
    """
    return _ended_well(steered(lambda lake: lake.runs.pause(run, reason=reason)))


@app.command()
def cancel(run: RunId, *, reason: Reason = None, json: Json = False) -> Reply:
    """Stop a run and undo what it did, as its steps' `compensate` say.

    [dim]lakeray runs cancel run-1a2b3c4d5e6f --reason "wrong source"[/dim]
    """
    return _ended_well(steered(lambda lake: lake.runs.cancel(run, reason=reason)))


@app.command()
def terminate(run: RunId, *, reason: Reason = None, json: Json = False) -> Reply:
    """End a run at once; nothing is undone.

    [dim]lakeray runs terminate run-1a2b3c4d5e6f[/dim]
    """
    return _ended_well(steered(lambda lake: lake.runs.terminate(run, reason=reason)))


def steered(steer: Callable[[Lake], Run | RunSummary]) -> Reply:
    """Drive the run here with its progress and print its report; or say how it stands with its owner."""
    from lakeray.runtime.summary import RunSummary

    observer: Observer = observer_for(LogFormat.text)
    with lakes.opened(observer) as lake:
        started = steer(lake)
        if isinstance(started, RunSummary):
            return _shown(started)
        run = started
        summary = watched(observer, "", lambda: run)
    return reply_to(summary, report=ReportFormat.text, output=None, continuous=False)


def _ended_well(reply: Reply) -> Reply:
    """To stop, or to wait, is what was asked for here."""
    return Reply(document=reply.document, view=reply.view, aside=[], exit_code=0)
