"""Inputs for the memory test that are large to read and cheap to make."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from benchmarks.data import ensure
from benchmarks.data_json import plain_lines

_LAKE_ROWS = 2_500_000
_LINES = 100_000


def lake_of(data: Path, size: int) -> tuple[Path, int]:
    """A folder of at least ``size`` bytes of Parquet objects, and its rows.

    Its files are hard links to a few: other names, other objects.
    """
    base, expected = ensure(data, "w1", _LAKE_ROWS)
    files = sorted(base.iterdir())
    place = data / f"lake-{size}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    copies = max(1, -(-size // expected["bytes"]))
    for copy in range(copies):
        for file in files:
            os.link(file, place / f"{copy:05d}-{file.name}")
    return place, copies * expected["rows"]


def one_object(data: Path, size: int) -> tuple[Path, int]:
    """A folder with one JSON lines object of at least ``size`` bytes, and its rows; made once."""
    place = data / f"object-{size}"
    told = place / "rows.json"
    if not told.exists():
        shutil.rmtree(place, ignore_errors=True)
        (place / "in").mkdir(parents=True)
        block = plain_lines(0, _LINES)
        copies = max(1, -(-size // len(block)))
        with (place / "in" / "events.json").open("wb") as file:
            for _ in range(copies):
                file.write(block)
        told.write_text(json.dumps(copies * _LINES))
    return place / "in", json.loads(told.read_text())
