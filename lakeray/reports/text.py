"""A report for a terminal."""

from __future__ import annotations

import io

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from lakeray.observability.visible import visible
from lakeray.reports.blocks import Bars, Block, Facts, Figures, Graph, Grid, Heading, Items, Note, Split, Tone
from lakeray.reports.model import Report
from lakeray.reports.outline import outline
from lakeray.reports.steps import state_tone

_STYLE: dict[Tone, str] = {"plain": "", "good": "green", "warn": "yellow", "bad": "red"}
_MARK: dict[Tone, str] = {"plain": "·", "good": "✓", "warn": "!", "bad": "✗"}
_INDENT = (0, 0, 0, 2)
_BAR_WIDTH = 30
_WIDEST = 110


def renderable(report: Report) -> RenderableType:
    """The report as something that a rich console prints."""
    parts: list[RenderableType] = [_head(report)]
    for section in outline(report):
        title = Text(f"{section.name} ", style="bold")
        parts += [Text(""), Rule(title, align="left", style="bright_black", characters="─")]
        for index, block in enumerate(section.blocks):
            if isinstance(block, Split | Graph):  # the facts, or the grid of steps, say the same
                continue
            if index and isinstance(block, Heading | Grid | Bars | Items):
                parts.append(Text(""))
            parts.append(Padding(_draw(block), _INDENT))
    return Constrain(Group(*parts), _WIDEST)


def render_text(report: Report, *, width: int = 100, color: bool = False) -> str:
    """The report as text of at most ``width`` columns, with colours only when asked for."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        legacy_windows=False,
    )
    console.print(renderable(report))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def _head(report: Report) -> RenderableType:
    tone = state_tone(report.run.state)
    style = _STYLE[tone]
    first = Text.assemble(
        (f"{_MARK[tone]} ", style), (visible(report.run.workflow), "bold"), " ", (report.run.state, style)
    )
    first.append(f"  {report.run.headline}")
    began = report.run.started_at.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    second = f"  run {visible(report.run.run_id)} · tenant {visible(report.run.tenant)} · {began}"
    return Group(first, Text(second, style="bright_black"))


def _draw(block: Block) -> RenderableType:  # noqa: PLR0911 - one return a shape
    if isinstance(block, Heading):
        return Text(block.text, style="bold")
    if isinstance(block, Note):
        return Text(block.text)
    if isinstance(block, Figures):
        return _figures(block)
    if isinstance(block, Facts):
        return _facts(block)
    if isinstance(block, Grid):
        return _grid(block)
    if isinstance(block, Bars):
        return _bars(block)
    if isinstance(block, Items):
        return _items(block)
    return Text("")


def _figures(block: Figures) -> RenderableType:
    cells = [
        Text.assemble((value, f"bold {_STYLE[tone]}".strip()), " ", (label, "bright_black"), no_wrap=True)
        for value, label, tone in block.figures
    ]
    return Columns(cells, padding=(0, 3))


def _facts(block: Facts) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bright_black", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value, tone in block.facts:
        grid.add_row(name, Text(value, style=_STYLE[tone]))
    return grid


def _grid(block: Grid) -> RenderableType:
    quiet = "bright_black"
    table = Table(box=SIMPLE_HEAD, show_edge=False, header_style=quiet, border_style=quiet, pad_edge=False)
    for index, header in enumerate(block.headers):
        table.add_column(header, justify="right" if index in block.numeric else "left", overflow="fold")
    for index, row in enumerate(block.rows):
        table.add_row(*(Text(cell) for cell in row), style=_STYLE[block.tone(index)])
    return table


def _bars(block: Bars) -> RenderableType:
    longest = max((value for _, value, _ in block.bars), default=0.0) or 1.0
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value, shown in block.bars:
        length = max(1 if value > 0 else 0, round(value / longest * _BAR_WIDTH))
        grid.add_row(Text(name), Text("█" * length, style="cyan"), Text(shown))
    return Group(Text(block.title, style="bright_black"), grid)


def _items(block: Items) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for about, happened, to_do, tone in block.items:
        body = Text(about, style="bright_black")
        grid.add_row(Text(_MARK[tone], style=_STYLE[tone]), body)
        for line in happened:
            grid.add_row("", Text(line))
        grid.add_row("", Text(f"→ {to_do}", style="cyan"))
    return grid
