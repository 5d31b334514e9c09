"""lakeray without a codec, so that it can be compared with engines that have none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.answers import Written
from benchmarks.peers import lakeray_run

start, stop = lakeray_run.start, lakeray_run.stop


def w1(source: Path, out: Path) -> Callable[[], Written]:
    """Parquet to Delta."""
    return lakeray_run.w1(source, out, codec="none")
