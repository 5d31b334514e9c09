"""Input files of the workloads, made once and reused, each folder with the answer that every engine must reach.

A folder is complete when it holds ``expected.json``, which is written last. The same workload and number of rows give
the same rows on every machine; only the compressed bytes may differ with the version of a codec.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import data_csv, data_json, data_parquet

FORMAT = 1
"""Part of the folder's name: raise it when a generator changes, and old folders are not mistaken for new ones."""
WARM_UP_ROWS = 2_000


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How one workload's files are made.

    ``write(path, first_id, count)`` writes one file and returns its part of the answer.
    """

    write: Callable[[Path, int, int], dict[str, Any]]
    suffix: str
    rows_per_file: int
    most_files: int


KINDS = {
    "w1": Kind(write=data_parquet.write, suffix=".parquet", rows_per_file=625_000, most_files=40),
    "w2": Kind(write=data_json.write_clean, suffix=".json.gz", rows_per_file=50_000, most_files=40),
    "w2-malformed": Kind(write=data_json.write_malformed, suffix=".json.gz", rows_per_file=50_000, most_files=40),
    "w3": Kind(write=data_csv.write, suffix=".csv", rows_per_file=500_000, most_files=20),
    "w3-plain": Kind(write=data_csv.write_plain, suffix=".csv", rows_per_file=500_000, most_files=20),
    "w3-full": Kind(write=data_csv.write_told, suffix=".csv", rows_per_file=500_000, most_files=20),
    "w3-soiled": Kind(write=data_csv.write_soiled, suffix=".csv", rows_per_file=500_000, most_files=20),
}


def keep_out_of_git(folder: Path) -> None:
    """Make ``folder`` and have git ignore it with all it will hold."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")


def ensure(folder: Path, workload: str, rows: int) -> tuple[Path, dict[str, Any]]:
    """The workload's input at that size (made when it is not there) and the expected answer."""
    place = folder / f"{workload}-{rows}-v{FORMAT}"
    answer = place / "expected.json"
    if not answer.exists():
        shutil.rmtree(place, ignore_errors=True)
        (place / "in").mkdir(parents=True)
        expected = _generate(KINDS[workload], place / "in", rows)
        answer.write_text(json.dumps(expected))
    return place / "in", json.loads(answer.read_text())


def _generate(kind: Kind, place: Path, rows: int) -> dict[str, Any]:
    files = min(kind.most_files, max(4, rows // kind.rows_per_file))
    edges = [rows * number // files for number in range(files + 1)]
    # Not forked: an Arrow thread pool does not survive a fork.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        parts = [
            pool.submit(
                kind.write, place / f"part-{number:03d}{kind.suffix}", edges[number], edges[number + 1] - edges[number]
            )
            for number in range(files)
        ]
        expected = merged(part.result() for part in parts)
    return {**expected, "files": files, "bytes": folder_bytes(place)}


def merged(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The answer over several files: counts and sums add up, bounds widen."""
    total: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name not in total:
                total[name] = value
            elif isinstance(value, dict):
                total[name] = {key: total[name][key] + value[key] for key in value}
            elif name.startswith("min_"):
                total[name] = min(total[name], value)
            elif name.startswith("max_"):
                total[name] = max(total[name], value)
            else:
                total[name] += value
    return total


def folder_bytes(place: Path) -> int:
    """Bytes of all files below ``place``."""
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def warm_page_cache(place: Path) -> None:
    """Read every file once, so that no engine pays for the disk."""
    for path in sorted(place.rglob("*")):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 24):
                    pass
