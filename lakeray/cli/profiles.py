"""A table's profile on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType

from lakeray.cli import views
from lakeray.observability.figures import count, counted, duration, percent, size

if TYPE_CHECKING:
    from lakeray.importer.profile.model import ColumnProfile, TableProfile

_TOP = 3


def view(profile: TableProfile) -> RenderableType:
    """The table in a sentence, its columns as a grid, its files as facts."""
    from lakeray.reports.profile import layout_facts

    layout = profile.layout
    about = f"version {profile.version}: {counted(profile.rows, 'row')} in {counted(layout.files, 'file')}"
    about += f", {size(layout.size_bytes)}, looked at in {duration(profile.duration_s)}"
    parts = [
        views.title(profile.uri, about),
        views.grid([_row(column) for column in profile.columns]),
        views.facts(layout_facts(layout)),
    ]
    return views.lines([*parts, *(views.warning(note) for note in layout.notes)])


def _row(column: ColumnProfile) -> dict[str, object]:
    from lakeray.reports.profile import shown

    exact = column.distinct_low == column.distinct_high
    mean = "" if column.mean is None else f"{shown(column.mean)} ± {shown(column.stddev)}"
    return {
        "column": column.name,
        "type": column.type,
        "nulls": percent(column.null_rate) if column.nulls else "",
        "distinct": "" if column.distinct is None else f"{'' if exact else '~'}{count(column.distinct)}",
        "least": shown(column.low),
        "median": shown(column.quantiles.get("p50")),
        "greatest": shown(column.high),
        "mean": mean,
        "frequent": column.hidden or ", ".join(f"{one.value[:24]} ({count(one.rows)})" for one in column.top[:_TOP]),
    }
