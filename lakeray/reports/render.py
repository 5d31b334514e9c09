"""A report in the format that was asked for."""

from __future__ import annotations

from typing import Literal

from lakeray.errors import SpecError
from lakeray.reports.documents import dumps
from lakeray.reports.html import render_html
from lakeray.reports.markdown import render_markdown
from lakeray.reports.model import Report
from lakeray.reports.text import render_text

FORMATS = ("text", "json", "markdown", "html")
Format = Literal["text", "json", "markdown", "html"]


def render(report: Report, format: str = "text", *, width: int = 100, color: bool = False) -> str:  # noqa: A002
    """The whole report as one text that ends with a line break.

    ``format`` is one of ``FORMATS``; ``width`` (columns) together with ``color`` shape only text. Raises SpecError for
    another format.
    """
    if format == "text":
        return render_text(report, width=width, color=color)
    if format == "markdown":
        return render_markdown(report)
    if format == "html":
        return render_html(report)
    if format == "json":
        return render_json(report)
    raise SpecError(f"a report cannot be written as {format!r}", hint=f"formats: {', '.join(FORMATS)}")


def render_json(report: Report) -> str:
    """The report as an indented JSON document; names and texts are in it as they are."""
    return dumps(report)
