"""lakeray with the codec of engines that write snappy, so that like is compared with like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.answers import Written
from benchmarks.peers import lakeray_run

start, stop = lakeray_run.start, lakeray_run.stop


def w1(source: Path, out: Path) -> Callable[[], Written]:
    """Parquet to Delta."""
    return lakeray_run.w1(source, out, codec="snappy")
