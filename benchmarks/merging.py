"""W4: changes merged by key into a table, half of them updates, half new rows; time, and memory of the whole tree.

Keys of the updates are spread over the whole table, so every file has to be written anew. Time and memory are
measured apart: looking at memory takes time.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.data import FORMAT
from benchmarks.data_parquet import rows
from benchmarks.hashing import below
from benchmarks.job import MARK
from benchmarks.measure import Bench, in_process
from benchmarks.memory_watch import Peaks, look, sampling

WARM_UP_ROWS = 20_000
_STRETCH = 625_000
_FILES = 4
CASES = {
    "lakeray": {"LAKERAY_EXECUTOR": "auto"},
    "lakeray, in one process": {"LAKERAY_EXECUTOR": "inline"},
    "delta-rs": {},
}
"""What is measured, with the variables of its process."""


def measured(bench: Bench, count: int) -> dict[str, Any]:
    """The table of one size: every case's times, then its memory."""
    bench.say(f"w4, {count:,} rows: making or finding the table and its changes")
    place, warm = ensure(bench.data, count), ensure(bench.data, WARM_UP_ROWS)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in CASES}
    for turn in range(bench.repetitions + 1):
        memory = turn == bench.repetitions
        for name, variables in CASES.items():
            if runs[name] and runs[name][-1]["outcome"] != "right":
                continue
            out = bench.out / "measurement"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            os.sync()
            spec = {"case": name, "place": str(place), "warm": str(warm), "out": str(out), "memory": memory}
            arguments = ["benchmarks.merging", json.dumps(spec)]
            runs[name].append(in_process(arguments, folder=out, limit_s=bench.limit_s, extra=variables))
            bench.say(f"  {'memory' if memory else turn + 1} {name}: {runs[name][-1]}")
            shutil.rmtree(out, ignore_errors=True)
    return {"workload": "w4", "rows": count, "cases": [{"name": name, **_entry(runs[name])} for name in CASES]}


def _entry(runs: list[dict[str, Any]]) -> dict[str, Any]:
    bad = [run for run in runs if run["outcome"] != "right"]
    if bad:
        return bad[0]
    seconds = [run["seconds"] for run in runs[:-1]]
    return {
        "outcome": "right",
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "peak_bytes": runs[-1]["peak_bytes"],
        "idle_bytes": runs[-1]["idle_bytes"],
    }


def change_count(count: int) -> int:
    """How many changes a table of ``count`` rows gets: half a million, less for a small one."""
    return min(500_000, count // 10)


def ensure(folder: Path, count: int) -> Path:
    """A folder with ``table``, ``changes`` and ``expected.json``, which is written last."""
    place = folder.resolve() / f"w4-{count}-v{FORMAT}"
    if (place / "expected.json").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    (place / "changes").mkdir(parents=True)
    answer = _make_table(place / "table", count)
    half = change_count(count) // 2
    numbers = np.arange(half, dtype=np.uint64)
    updated = (numbers * np.uint64(count // half)).astype(np.int64) + below(numbers, 21, count // half)
    new = np.arange(count, count + half, dtype=np.int64)
    ids = np.concatenate([updated, new])
    ids = ids[np.argsort(below(ids.astype(np.uint64), 22, 1 << 30), kind="stable")]
    changes = rows(0, len(ids)).set_column(0, "id", pa.array(ids))
    quantity = below(ids.astype(np.uint64), 23, 10_000)
    changes = changes.set_column(2, "quantity", pa.array(quantity))
    for number in range(_FILES):
        part = changes.slice(len(ids) * number // _FILES, len(ids) // _FILES)
        pq.write_table(part, place / "changes" / f"part-{number}.parquet", compression="snappy")
    was = below(updated.astype(np.uint64), 4, 10_000)
    answer = {
        "rows": count + half,
        "sum_id": answer["sum_id"] + int(new.sum()),
        "sum_quantity": answer["sum_quantity"] - int(was.sum()) + int(quantity.sum()),
    }
    (place / "expected.json").write_text(json.dumps(answer))
    return place


def _make_table(table: Path, count: int) -> dict[str, int]:
    from deltalake import write_deltalake

    from benchmarks.peers.delta_rs import properties

    totals = {"sum_id": 0, "sum_quantity": 0}

    def batches() -> Any:
        for first in range(0, count, _STRETCH):
            made = rows(first, min(_STRETCH, count - first))
            totals["sum_id"] += pc.sum(made["id"]).as_py()
            totals["sum_quantity"] += pc.sum(made["quantity"]).as_py()
            yield from made.to_batches()

    reader = pa.RecordBatchReader.from_batches(rows(0, 1).schema, batches())
    write_deltalake(str(table), reader, writer_properties=properties())
    return totals


def merged(*, case: str, place: str, warm: str, out: str, memory: bool) -> dict[str, Any]:
    """One merge in this process, after a small one."""
    prepare = _delta_rs if case == "delta-rs" else _lakeray
    close: list[Callable[[], None]] = []
    try:
        prepare(Path(warm), Path(out) / "warm", close)()
        work = prepare(Path(place), Path(out) / "full", close)
        peaks = Peaks()
        idle = look(os.getpid())[0] if memory else 0
        if memory:
            with sampling(os.getpid(), peaks):
                work()
            seconds = 0.0
        else:
            begin = time.perf_counter()
            work()
            seconds = time.perf_counter() - begin
        wrong = _problem(Path(out) / "full" / "table", json.loads((Path(place) / "expected.json").read_text()))
    finally:
        for end in close:
            end()
    if wrong:
        return {"outcome": "wrong", "detail": wrong}
    return {"outcome": "right", "seconds": seconds, "peak_bytes": peaks.tree_bytes, "idle_bytes": idle}


def _delta_rs(place: Path, out: Path, _close: list[Callable[[], None]]) -> Callable[[], None]:
    import pyarrow.dataset as ds
    from deltalake import DeltaTable

    from benchmarks.peers.delta_rs import properties

    shutil.copytree(place / "table", out / "table")

    def work() -> None:
        changes = ds.dataset(place / "changes", format="parquet").to_table()
        merge = DeltaTable(str(out / "table")).merge(
            changes, "t.id = s.id", source_alias="s", target_alias="t", writer_properties=properties()
        )
        merge.when_matched_update_all().when_not_matched_insert_all().execute()

    return work


_LAKE: list[Any] = []


def _lakeray(place: Path, out: Path, close: list[Callable[[], None]]) -> Callable[[], None]:
    import lakeray
    from benchmarks.peers.lakeray_run import workflow

    shutil.copytree(place / "table", out / "table")
    if not _LAKE:
        _LAKE.append(lakeray.connect())
        close.append(_LAKE[0].close)
    content = workflow(place / "changes", out / "table", "parquet", {}, {})
    content["steps"]["ingest"]["import"] |= {"mode": "merge", "key": ["id"]}
    file = out / "workflow.yaml"
    file.write_text(json.dumps(content))

    def work() -> None:
        summary = _LAKE[0].run(file).result()
        if summary.state != "succeeded":
            raise RuntimeError("; ".join(error.message for error in summary.errors) or summary.state)

    return work


def _problem(table: Path, expected: dict[str, int]) -> str | None:
    from deltalake import DeltaTable

    found = {"rows": 0, "sum_id": 0, "sum_quantity": 0}
    data = DeltaTable(str(table)).to_pyarrow_dataset()
    for batch in data.scanner(columns=["id", "quantity"], batch_size=1 << 18).to_batches():
        found["rows"] += batch.num_rows
        found["sum_id"] += pc.sum(batch["id"]).as_py() or 0
        found["sum_quantity"] += pc.sum(batch["quantity"]).as_py() or 0
    return None if found == expected else f"wrong answer: {found}, expected {expected}"


if __name__ == "__main__":
    try:
        told = merged(**json.loads(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - how an engine fails is a result too
        told = {"outcome": "fails", "detail": f"{type(error).__name__}: {error}"[:160]}
    print("\n" + MARK + json.dumps(told), flush=True)
