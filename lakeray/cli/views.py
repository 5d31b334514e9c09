"""Answers as people like to read them on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lakeray.observability.figures import count, counted, size
from lakeray.observability.visible import visible
from lakeray.reports.documents import plain

_QUIET = "bright_black"
_LONGEST_CELL = 300
_NOTHING: tuple[object, ...] = (None, "", 0, [], {})


def grid(
    rows: Iterable[Mapping[str, Any]], *, hidden: Iterable[str] = (), limit: int = _LONGEST_CELL
) -> RenderableType:
    """Rows as a table without the columns that are ``hidden`` or say nothing in any row; cells are cut to ``limit``."""
    listed = list(rows)
    names = [name for name in dict.fromkeys(name for row in listed for name in row) if name not in set(hidden)]
    names = [name for name in names if any(row.get(name) not in _NOTHING for row in listed)]
    table = Table(box=SIMPLE_HEAD, show_edge=False, header_style=_QUIET, border_style=_QUIET, pad_edge=False)
    for name in names:
        figures = all(_is_figure(row.get(name)) for row in listed)
        table.add_column(visible(name).replace("_", " "), justify="right" if figures else "left", overflow="fold")
    for row in listed:
        table.add_row(*(Text(_cell(row.get(name), limit)) for name in names))
    return table


def facts(pairs: Iterable[tuple[str, object]]) -> RenderableType:
    """Names with values; those without a value are left out."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style=_QUIET, no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, "", [], {}):
            table.add_row(name, Text(_cell(value)))
    return table


def title(text: str, rest: str = "") -> Text:
    """A heading with something quiet behind it."""
    return Text.assemble((visible(text), "bold"), f"  {visible(rest)}" if rest else "")


def good(text: str) -> Text:
    """A sentence about something that went well."""
    return Text.assemble(("✓ ", "green"), visible(text))


def warning(text: str) -> Text:
    """A sentence about something that needs a look."""
    return Text.assemble(("! ", "yellow"), visible(text))


def quiet(text: str) -> Text:
    """A sentence aside."""
    return Text(visible(text), style=_QUIET)


def stacked(parts: Sequence[RenderableType]) -> RenderableType:
    """Parts with an empty line between them."""
    return Group(*(piece for index, part in enumerate(parts) for piece in ((Text(""), part) if index else (part,))))


def lines(parts: Sequence[RenderableType]) -> RenderableType:
    """Parts one below the other."""
    return Group(*parts)


def some(number: int, noun: str, size_bytes: int) -> str:
    """``12 objects, 3.1 MB``."""
    return f"{counted(number, noun)}, {size(size_bytes)}"


def _is_figure(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: object, limit: int = _LONGEST_CELL) -> str:
    simple = plain(value)
    if simple is None:
        return ""
    if isinstance(simple, bool):
        return "yes" if simple else "no"
    if isinstance(simple, float):
        return f"{simple:,.3f}".rstrip("0").rstrip(".")
    if isinstance(simple, list):
        return ", ".join(_cell(item) for item in simple)
    if isinstance(simple, dict):
        return ", ".join(f"{visible(key)} {_cell(item)}" for key, item in simple.items())
    return count(simple) if isinstance(simple, int) else visible(simple, limit)
