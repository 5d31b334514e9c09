"""A report in Markdown, as code hosts show it."""

from __future__ import annotations

import re

from lakeray.observability.visible import visible
from lakeray.reports.blocks import Bars, Block, Facts, Figures, Grid, Heading, Items, Note
from lakeray.reports.model import Report
from lakeray.reports.outline import outline

# What CommonMark or the GitHub dialect reads as markup, html, mathematics, mentions or references. An underscore inside
# a word is none; names are full of them, so they stay readable in the source.
_SPECIAL = re.compile(r"([\\`*\[\]<>#|~&@$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_AUTOLINK = re.compile(r"\b(https?|ftp):|\bwww\.", re.IGNORECASE)
_LINE_START = re.compile(r"^([-+=]|\d+(?=[.)](?:\s|$)))")


def render_markdown(report: Report) -> str:
    """The report in GitHub's dialect; texts from outside are escaped, so that they show as they are."""
    run = report.run
    lines = [
        f"# {_escape(run.workflow)}: {run.state}",
        "",
        _escape(run.headline),
        "",
        f"Run {_escape(run.run_id)}, tenant {_escape(run.tenant)}, {run.started_at.isoformat(timespec='seconds')}",
    ]
    for section in outline(report):
        lines += ["", f"## {section.name}"]
        for block in section.blocks:
            drawn = _draw(block)
            lines += ["", *drawn] if drawn else []
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    escaped = _SPECIAL.sub(r"\\\1", visible(text).strip())
    escaped = _AUTOLINK.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", escaped)
    return _LINE_START.sub(_unlisted, escaped)


def _unlisted(found: re.Match[str]) -> str:
    # "1." begins a list: of "1\\." only the point may be escaped, a digit cannot be.
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _table(headers: list[str], rows: list[list[str]], numeric: frozenset[int]) -> list[str]:
    marks = ["---:" if index in numeric else "---" for index in range(len(headers))]
    return [_row(headers), f"| {' | '.join(marks)} |", *map(_row, rows)]


def _draw(block: Block) -> list[str]:  # noqa: PLR0911 - one return a shape
    if isinstance(block, Heading):
        return [f"### {_escape(block.text)}"]
    if isinstance(block, Note):
        return [_escape(block.text)]
    if isinstance(block, Figures):
        return _table(
            [label for _, label, _ in block.figures], [[v for v, _, _ in block.figures]], frozenset(range(99))
        )
    if isinstance(block, Facts):
        return [f"- **{_escape(name)}**: {_escape(value)}" for name, value, _ in block.facts]
    if isinstance(block, Grid):
        return _table(block.headers, block.rows, block.numeric)
    if isinstance(block, Bars):
        return _table([block.title, "took"], [[name, shown] for name, _, shown in block.bars], frozenset({1}))
    if isinstance(block, Items):
        return [
            line
            for about, happened, to_do, _ in block.items
            for line in (
                f"- **{_escape(about)}**  ",
                *(f"  {_escape(text)}  " for text in happened),
                f"  → {_escape(to_do)}",
            )
        ]
    return []
