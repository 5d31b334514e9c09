"""The command that shows what lakeray does: `lakeray demo`."""

# ruff: noqa: ARG001 - `json` is read from the arguments before any command runs, see entry.py
from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from lakeray.cli import lakes, run, sample_lake, views
from lakeray.cli.options import Json
from lakeray.cli.reply import Reply, console_on
from lakeray.cli.sample_lake import Written
from lakeray.errors import ConfigError
from lakeray.observability.figures import count, counted, duration, size

if TYPE_CHECKING:
    from lakeray.reports import Report
    from lakeray.runtime.summary import RunSummary

MARKER = ".lakeray-demo"
FILE = "orders.yaml"


def demo(
    *,
    directory: Annotated[
        Path, typer.Option("--dir", metavar="PATH", help="Where; a demo that is there already is made anew.")
    ] = Path("demo-lake"),
    keep: Annotated[
        bool, typer.Option("--keep/--remove", help="Keep the lake afterwards, for the commands shown at the end.")
    ] = True,
    json: Json = False,
) -> Reply:
    """Watch an import of a generated lake, then another that finds only what is new.

    Takes half a minute and writes nothing outside of ./demo-lake.

    [dim]lakeray demo --dir my-lake[/dim]
    """
    root = prepared(directory)
    console = console_on(sys.stderr)
    try:
        return _play(root, directory, console, keep=keep)
    finally:
        if not keep:
            shutil.rmtree(root)


def prepared(directory: Path) -> Path:
    """An empty folder for the demo; only a folder that an earlier demo made is emptied. Raises ConfigError."""
    root = directory.absolute()
    if root.exists() and not (root / MARKER).is_file() and (not root.is_dir() or any(root.iterdir())):
        hint = "choose another place with --dir"
        raise ConfigError(f"{directory} is there already and is no earlier demo", hint=hint, uri=str(root))
    if (root / MARKER).is_file():
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / MARKER).write_text("Made by `lakeray demo`, which may delete this folder.\n", encoding="utf-8")
    return root


def _play(root: Path, shown: Path, console: Console, *, keep: bool) -> Reply:
    from lakeray.reports import build_report

    file = root / FILE
    made = sample_lake.generate(root)
    file.write_text(sample_lake.workflow_text(root), encoding="utf-8")
    _scene(console, 1, "A lake", f"{_amount(made)}: JSON lines and CSV, messy as lakes are.")
    _aside(console, f"{shown / FILE} says what becomes of them.")
    observer = run.observer_for(run.LogFormat.text)
    with lakes.opened(observer) as lake:
        _scene(console, 2, "The first run", "imports everything.")
        first = run.execute(lake, observer, str(file))
        if first.state != "succeeded":
            return _ended_early([first])
        _told(console, build_report(first))
        accounted = _accounted(console, first, made)
        news = sample_lake.add_news(root)
        said = "three of them broken: one cut off, one empty, one a web page."
        _scene(console, 3, "News arrive", f"{_amount(news)}, {said}")
        _scene(console, 4, "The second run", "imports only what is new.")
        second = run.execute(lake, observer, str(file))
    reports = [build_report(first), build_report(second)]
    if second.state != "succeeded":
        return _ended_early([first, second])
    _told(console, reports[1])
    _scene(console, 5, "Its report", "has the same seven sections every time.")
    document = {"directory": str(root), "file": str(file), "accounted": accounted, "reports": reports}
    view = _ending(reports[1], shown, keep=keep)
    return Reply(document=document, view=view, exit_code=0 if accounted else 1)


def _ended_early(summaries: list[RunSummary]) -> Reply:
    from lakeray.reports import build_report
    from lakeray.reports.text import renderable

    reports = [build_report(summary) for summary in summaries]
    document = {"accounted": False, "reports": reports}
    return Reply(document=document, view=renderable(reports[-1]), aside=run.going_on(summaries[-1]), exit_code=1)


def _amount(written: Written) -> str:
    return f"{counted(written.objects, 'object')}, {counted(written.records, 'record')}, {size(written.size_bytes)}"


def _accounted(console: Console, summary: RunSummary, made: Written) -> bool:
    imports = [step.imported for step in summary.steps if step.imported]
    read = sum(imported.rows.read for imported in imports)
    exact = read == made.records and all(imported.rows.balanced for imported in imports)
    if exact:
        console.print(Text.assemble("   ", ("✓ ", "green"), f"all {count(read)} generated records are accounted for"))
    else:
        told = f"{count(made.records)} records were generated, {count(read)} were read"
        console.print(Text.assemble("   ", ("✗ ", "bold red"), f"{told}: please report this"))
    return exact


def _told(console: Console, report: Report) -> None:
    rows = report.import_.rows
    parts = [f"{count(rows.written)} written"]
    parts += [
        f"{count(number)} {what}"
        for what, number in (
            ("quarantined with their reason", rows.quarantined),
            ("dropped by an expectation", rows.dropped),
            ("filtered", rows.filtered),
        )
        if number
    ]
    told = f"{counted(report.import_.records, 'record')} = {', '.join(parts)}, in {duration(report.run.duration_s)}"
    console.print(Text.assemble("   ", ("✓ ", "green"), told))


def _scene(console: Console, number: int, name: str, rest: str) -> None:
    console.print()
    console.print(Text.assemble((f" {number} ", "bold cyan"), (name, "bold"), " ", rest))


def _aside(console: Console, text: str) -> None:
    console.print(Text(f"   {text}", style="bright_black"))


def _ending(report: Report, shown: Path, *, keep: bool) -> RenderableType:
    from lakeray.reports.text import renderable

    if not keep:
        return renderable(report)
    file = shown / FILE
    commands = [
        (f"lakeray run {file}", "again: nothing is new"),
        (f"lakeray ledger show {file} --step orders --outcome failed", "what is wrong with the broken ones"),
        (f"lakeray quarantine list {file} --table orders -n 5", "refused rows with their reasons"),
        (f"lakeray tables history {file} orders", "every version of the table"),
        (f"lakeray run {file} --report html -o report.html", "a report for the browser"),
    ]
    listed = Group(*(Text.assemble("  ", (command, "cyan"), f"  {what}", no_wrap=True) for command, what in commands))
    return Group(renderable(report), "", views.title("Go on from here"), listed)
