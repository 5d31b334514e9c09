"""Interleaved measurements: A B C A B C, each in a process of its own, each answer checked before its time counts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import WARM_UP_ROWS, ensure, warm_page_cache
from benchmarks.job import MARK, last_words
from benchmarks.machine import versions
from benchmarks.peers import ALONE, Peer

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where inputs are kept, where outputs go, how often and how long an engine may work. ``say`` shows progress."""

    data: Path
    out: Path
    repetitions: int
    limit_s: float
    say: Callable[[str], None] = print


@dataclass(frozen=True, kw_only=True)
class _Case:
    peer: Peer
    source: Path
    expected: dict[str, Any]
    rows: int


def compare(bench: Bench, workload: str, rows: int, peers: Sequence[Peer]) -> dict[str, Any]:
    """One table: every engine over ``rows`` rows of the workload, or over fewer and scaled where it says so."""
    bench.say(f"{workload}, {rows:,} rows: making or finding the input")
    cases = [_case(bench, workload, rows, peer) for peer in peers if peer.does(workload)]
    family = workload if workload in ALONE else workload.split("-", maxsplit=1)[0]
    warm_source, _ = ensure(bench.data, family, WARM_UP_ROWS)
    for source in sorted({case.source for case in cases}):
        warm_page_cache(source)
    runs: dict[str, list[dict[str, Any]]] = {case.peer.name: [] for case in cases}
    for turn in range(bench.repetitions):
        for case in cases:
            held = runs[case.peer.name]
            if held and held[-1]["outcome"] != "right":
                continue
            held.append(_measured(bench, workload, case, warm_source))
            bench.say(f"  {turn + 1}/{bench.repetitions} {case.peer.name}: {_told(held[-1])}")
    whole = [case for case in cases if case.rows == rows]
    size = (whole or cases)[0].expected["bytes"] if cases else 0
    return {
        "workload": workload,
        "rows": rows,
        "input_bytes": size,
        "engines": [_entry(case, runs[case.peer.name], rows, workload) for case in cases],
    }


def _case(bench: Bench, workload: str, rows: int, peer: Peer) -> _Case:
    most = peer.most_rows.get(workload.split("-", maxsplit=1)[0], rows)
    count = min(rows, most)
    source, expected = ensure(bench.data, workload, count)
    return _Case(peer=peer, source=source, expected=expected, rows=count)


def _measured(bench: Bench, workload: str, case: _Case, warm_source: Path) -> dict[str, Any]:
    place = bench.out / "measurement"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    os.sync()  # or one engine would wait for what the one before it left to be written
    spec = {
        "module": case.peer.module,
        "workload": workload,
        "source": str(case.source.resolve()),
        "warm_source": str(warm_source.resolve()),
        "out": str((place / "tables").resolve()),
        "expected": case.expected,
    }
    try:
        return in_process(["benchmarks.job", json.dumps(spec)], folder=place, limit_s=bench.limit_s)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def in_process(
    arguments: Sequence[str], *, folder: Path, limit_s: float, extra: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run ``python -m`` with ``arguments`` in ``folder``; what it says after ``MARK``, or how it ended without that."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_TQDM": "0", "DO_NOT_TRACK": "true", **(extra or {})}
    log = folder / "stderr.txt"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {"outcome": "fails", "detail": f"not done after {limit_s:.0f} s"}
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    for line in reversed(output.decode(errors="replace").splitlines()):
        if line.startswith(MARK):
            result: dict[str, Any] = json.loads(line[len(MARK) :])
            return result
    return {"outcome": "fails", "detail": f"the process ended with {process.returncode}: {last_words(log)}"}


def _entry(case: _Case, runs: list[dict[str, Any]], rows: int, workload: str) -> dict[str, Any]:
    """One line of the table.

    ``median_s``, ``min_s`` and ``max_s`` are for ``rows`` rows; ``seconds`` are as measured on ``measured_rows``.
    """
    entry: dict[str, Any] = {
        "engine": case.peer.name,
        "how": case.peer.way(workload),
        "codec": case.peer.codec,
        "versions": versions(case.peer.packages),
        "measured_rows": case.rows,
    }
    bad = [run for run in runs if run["outcome"] != "right"]
    if bad or not runs:
        return {**entry, "outcome": bad[0]["outcome"], "detail": bad[0]["detail"]}
    seconds = [run["seconds"] for run in runs]
    scale = rows / case.rows
    return {
        **entry,
        "outcome": "right",
        "seconds": [round(value, 4) for value in seconds],
        "median_s": statistics.median(seconds) * scale,
        "min_s": min(seconds) * scale,
        "max_s": max(seconds) * scale,
        "output_bytes": int(runs[-1]["output_bytes"] * scale),
    }


def _told(run: dict[str, Any]) -> str:
    return f"{run['seconds']:.2f} s" if run["outcome"] == "right" else f"{run['outcome']} ({run['detail']})"
