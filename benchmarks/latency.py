"""Latency: how long after one small object was written its rows are readable by delta-rs, all being warm."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.job import MARK
from benchmarks.measure import Bench, in_process
from benchmarks.peers.lakeray_run import workflow

ROWS_PER_OBJECT = 20
LOOK_EVERY_S = 0.01
GIVE_UP_S = 60.0


def measured(bench: Bench, repetitions: int) -> dict[str, Any]:
    """The table: watching (``--continuous``), and one ``lake.run()`` an object."""
    cases = []
    for name, mode in (
        ("`lakeray run --continuous`", "continuous"),
        ("`lake.run(file).result()` in a warm process", "repeated"),
    ):
        place = bench.out / f"latency-{mode}"
        place.mkdir(parents=True, exist_ok=True)
        spec = {"folder": str(place), "mode": mode, "repetitions": repetitions}
        case = in_process(["benchmarks.latency", json.dumps(spec)], folder=place, limit_s=bench.limit_s)
        bench.say(f"latency, {mode}: {case}")
        cases.append({"name": name, **case})
    return {"workload": "latency", "rows": repetitions, "cases": cases}


def watched(*, folder: str, mode: str, repetitions: int) -> dict[str, Any]:
    """Write objects one by one and wait for each of them, in this process."""
    import lakeray

    place = Path(folder)
    source, table, file = place / "in", place / "table", place / "workflow.yaml"
    source.mkdir()
    (place / "draft").mkdir()
    file.write_text(json.dumps(workflow(source, table, "json", {}, {})))
    _write(place, 0)
    lake = lakeray.connect()
    lake.run(file).result()
    _wait(table, ROWS_PER_OBJECT)
    if mode == "continuous":
        run = lake.run(file, continuous=True)
        try:
            seconds = _series(place, table, repetitions, settle_s=0.37)
        finally:
            run.cancel()
            run.result(GIVE_UP_S)
    else:
        seconds = _series(place, table, repetitions, then=lambda: lake.run(file).result())
    lake.close()
    return {
        "outcome": "right",
        "seconds": [round(value, 3) for value in seconds],
        "median_s": statistics.median(seconds),
        "max_s": max(seconds),
    }


def _series(
    place: Path, table: Path, repetitions: int, *, settle_s: float = 0.0, then: Callable[[], object] | None = None
) -> list[float]:
    """Seconds for each object, the first (which warms up) left out.

    ``settle_s`` moves the moments of writing against those of looking.
    """
    seconds = []
    for number in range(1, repetitions + 2):
        time.sleep(settle_s * (number % 5) / 2)
        begin = time.perf_counter()
        _write(place, number)
        if then is not None:
            then()
        _wait(table, (number + 1) * ROWS_PER_OBJECT)
        seconds.append(time.perf_counter() - begin)
    return seconds[1:]


def _write(place: Path, number: int) -> None:
    """One object of a few kilobytes, there at once or not at all."""
    lines = [
        json.dumps({"id": number * ROWS_PER_OBJECT + row, "kind": "order", "note": "x" * 80, "amount": row + 0.5})
        for row in range(ROWS_PER_OBJECT)
    ]
    draft = place / "draft" / f"{number}.json"
    draft.write_text("\n".join(lines) + "\n")
    draft.rename(place / "in" / f"object-{number:04d}.json")


def _wait(table: Path, rows: int) -> None:
    """Until a reader that opens the table anew counts ``rows``; more than that is a wrong answer."""
    from deltalake import DeltaTable

    deadline = time.monotonic() + GIVE_UP_S
    while True:
        found = DeltaTable(str(table)).to_pyarrow_dataset().count_rows() if (table / "_delta_log").exists() else 0
        if found == rows:
            return
        if found > rows or time.monotonic() > deadline:
            raise RuntimeError(f"the table has {found} rows, expected {rows}")
        time.sleep(LOOK_EVERY_S)


if __name__ == "__main__":
    try:
        told = watched(**json.loads(sys.argv[1]))
    except RuntimeError as error:
        told = {"outcome": "wrong", "detail": str(error)}
    print("\n" + MARK + json.dumps(told), flush=True)
