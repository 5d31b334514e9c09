"""The command that imports: `lakeray run`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import typer
from rich.console import RenderableType

from lakeray.cli import interrupts, lakes, views
from lakeray.cli.options import File, Json, Steps
from lakeray.cli.reply import Reply
from lakeray.errors import ConfigError

if TYPE_CHECKING:
    from lakeray.lake import Lake, Run
    from lakeray.observability.progress import Observer
    from lakeray.reports import Report
    from lakeray.runtime.summary import RunSummary


_STOPPED_AT_A_GATE = ("gate_refused", "gate_expired")


@runtime_checkable
class Named(Protocol):
    """An observer that says which workflow its records are about."""

    workflow: str | None


class ReportFormat(StrEnum):
    """Formats of a report."""

    text = "text"
    json = "json"
    markdown = "markdown"
    html = "html"


class LogFormat(StrEnum):
    """Formats of what is said while a run goes on."""

    text = "text"
    json = "json"


def run(
    file: File,
    *,
    step: Steps = None,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Keep watching for new objects until Ctrl-C or SIGTERM.")
    ] = False,
    report: Annotated[ReportFormat, typer.Option("--report", help="Format of the report.")] = ReportFormat.text,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="Write the report to a file.")
    ] = None,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="Progress for people, or log records as JSON lines.")
    ] = LogFormat.text,
    json: Json = False,
) -> Reply:
    """Import what is new, step by step; print the report.

    All that was there at the start is imported, then the command ends.
    Whatever stops it, run it again: nothing is lost or imported twice.
    A `schedule` in the file is ignored.

    [dim]lakeray run orders.yaml[/dim]
    [dim]lakeray run orders.yaml --report html -o report.html[/dim]
    [dim]lakeray run orders.yaml --continuous --log-format json[/dim]
    """
    if json and report is not ReportFormat.json and report is not ReportFormat.text and output is None:
        raise typer.BadParameter(f"--json and --report {report.value} both want standard output: add --output PATH")
    _check_writable(output)
    observer = observer_for(log_format)
    with lakes.opened(observer) as lake:
        summary = execute(lake, observer, file, steps=step or None, continuous=continuous)
    return reply_to(summary, report=report, output=output, continuous=continuous)


def execute(
    lake: Lake, observer: Observer, file: str, *, steps: list[str] | None = None, continuous: bool = False
) -> RunSummary:
    """Run a workflow in the foreground with its progress on standard error; Ctrl-C once stops it cleanly.

    Raises what the lake raises for a wrong file. Returns what was done, also when it was stopped or failed.
    """
    workflow = lake.validate(file)
    summary = watched(observer, workflow.workflow, lambda: lake.run(file, steps=steps, continuous=continuous))
    if workflow.schedule and not any("schedule" in note for note in summary.notes):
        told = "`schedule` is ignored: `lakeray run` runs once, now."
        summary = summary.model_copy(update={"notes": [*summary.notes, told]})
    return summary


def watched(observer: Observer, workflow: str, start: Callable[[], Run]) -> RunSummary:
    """The end of a run of ``workflow``, whose progress ``observer`` shows."""
    if isinstance(observer, Named):
        observer.workflow = workflow
    with observer if isinstance(observer, AbstractContextManager) else nullcontext():
        return interrupts.result_of(start)


def observer_for(log_format: LogFormat) -> Observer:
    """Who watches: log records, a live display on a terminal, or plain lines."""
    from lakeray.observability import logs

    if log_format is LogFormat.json:
        logs.configure(format="json")
        return logs.LogObserver()
    logs.configure(format="text", level="warning")
    if sys.stderr.isatty():
        from lakeray.observability.display import RichObserver

        return RichObserver()
    from lakeray.observability.plain import PlainObserver

    return PlainObserver()


def reply_to(summary: RunSummary, *, report: ReportFormat, output: Path | None, continuous: bool) -> Reply:
    """The answer to a finished run: its report, how to go on, the exit code."""
    from lakeray.reports import build_report
    from lakeray.reports.render import render

    built = build_report(summary)
    aside = going_on(summary)
    view: RenderableType | None = _shown(built, report)
    if output is not None:
        output.write_text(render(built, report.value), encoding="utf-8", errors="backslashreplace")
        aside.insert(0, views.quiet(f"The report is in {output}."))
        view = built.run.headline
    return Reply(document=built, view=view, aside=aside, exit_code=exit_code(summary, continuous=continuous))


def _shown(report: Report, format_: ReportFormat) -> Any:
    from lakeray.reports.render import render
    from lakeray.reports.text import renderable

    return renderable(report) if format_ is ReportFormat.text else render(report, format_.value)


def exit_code(summary: RunSummary, *, continuous: bool) -> int:
    """0 succeeded, 1 failed or stopped, 3 waiting at a gate; stopping is how a continuous run ends well."""
    if summary.state == "succeeded" or (continuous and summary.state == "cancelled" and not summary.errors):
        return 0
    refused = any(error.code in _STOPPED_AT_A_GATE for error in summary.errors)
    return 3 if summary.state == "waiting" or refused else 1


def going_on(summary: RunSummary) -> list[RenderableType]:
    """What to do next after a run that did not reach its end."""
    if summary.state == "waiting":
        return [views.warning(line) for line in _waiting(summary)]
    if summary.state != "cancelled":
        return []
    done = interrupts.committed(summary)
    return [views.quiet(f"Stopped. Run the same command again: nothing is lost, {done}.")]


def _waiting(summary: RunSummary) -> list[str]:
    if not summary.needs:
        return [f"Run {summary.run_id} is paused. Go on: lakeray runs resume {summary.run_id}"]
    return [
        f"Waiting at gate {need.step} for {need.missing} more of role {' or '.join(need.roles)}. "
        f"Approve and go on: lakeray runs approve {summary.run_id} --gate {need.step}"
        for need in summary.needs
    ]


def _check_writable(output: Path | None) -> None:
    if output is None:
        return
    if output.is_dir() or not output.absolute().parent.is_dir():
        hint = "name a file in a folder that exists"
        raise ConfigError(f"the report cannot be written to {output}", hint=hint, uri=str(output))
