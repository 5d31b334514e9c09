"""The report of a run: always seven sections, in four formats."""

from __future__ import annotations

from lakeray.reports.build import build_report
from lakeray.reports.model import SECTIONS, Report
from lakeray.reports.render import FORMATS, render

__all__ = ["FORMATS", "SECTIONS", "Report", "build_report", "render"]
