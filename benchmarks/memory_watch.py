"""Watches the memory of an import from outside: the process that runs it and everything below that.

Resident memory is counted as proportional set size (a page that several processes share counts once), so that Ray's
shared object store and the libraries are not counted again for every worker. Linux only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.job import MARK, last_words
from benchmarks.measure import ROOT
from benchmarks.peers.lakeray_run import workflow

LOOK_EVERY_S = 0.1
READY = "benchmark-ready"


@dataclass(kw_only=True)
class Peaks:
    """Most bytes at any look.

    ``idle_*``: after the warm-up, before the import. ``detail`` says what went wrong, empty when nothing did.
    """

    tree_bytes: int = 0
    driver_bytes: int = 0
    worker_bytes: int = 0
    idle_tree_bytes: int = 0
    idle_worker_bytes: int = 0
    seconds: float = 0.0
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def watch(source: Path, kind: str, rows: int, *, out: Path, task_memory: str, cpus: int) -> Peaks:
    """Import ``source`` in a process of its own and watch it; ``rows`` is what the table must have then."""
    out.mkdir(parents=True, exist_ok=True)
    spec = {"source": str(source), "kind": kind, "rows": rows, "out": str(out)}
    settings = {"LAKERAY_TASK_MEMORY": task_memory, "LAKERAY_CPUS": str(cpus), "PYTHONPATH": str(ROOT), "RAY_TQDM": "0"}
    peaks = Peaks()
    with (out / "stderr.txt").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.memory_watch", json.dumps(spec)],
            cwd=out,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            told = _follow(process, peaks) or {"detail": f"the import died: {last_words(out / 'stderr.txt')}"}
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    peaks.seconds, peaks.detail = told.get("seconds", 0.0), told.get("detail", "")
    return peaks


def _follow(process: subprocess.Popen[str], peaks: Peaks) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(READY):
            idle = look(process.pid)
            peaks.idle_tree_bytes, _, peaks.idle_worker_bytes = idle
            with sampling(process.pid, peaks):
                return _result(process.stdout)
    process.wait()
    return {}


def _result(lines: Iterator[str]) -> dict[str, Any]:
    for line in lines:
        if line.startswith(MARK):
            told: dict[str, Any] = json.loads(line[len(MARK) :])
            return told
    return {}


@contextmanager
def sampling(pid: int, peaks: Peaks) -> Iterator[None]:
    """Look at the process and everything below it again and again until the block ends."""
    over = threading.Event()

    def sample() -> None:
        while not over.wait(LOOK_EVERY_S):
            tree, driver, worker = look(pid)
            peaks.tree_bytes = max(peaks.tree_bytes, tree)
            peaks.driver_bytes = max(peaks.driver_bytes, driver)
            peaks.worker_bytes = max(peaks.worker_bytes, worker)

    thread = threading.Thread(target=sample, name="memory")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def look(pid: int) -> tuple[int, int, int]:
    """Bytes of the whole tree, of its root, of its largest Ray worker."""
    import psutil

    tree, driver, worker = 0, 0, 0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0, 0, 0
    for process in processes:
        try:
            size = process.memory_full_info().pss
            title = (process.cmdline() or [""])[0]
        except psutil.Error:
            continue
        tree += size
        driver = size if process.pid == pid else driver
        worker = max(worker, size) if title.startswith("ray::") else worker
    return tree, driver, worker


def imported(*, source: str, kind: str, rows: int, out: str) -> dict[str, Any]:
    """Warm up, say so, import, count; in this process."""
    import lakeray

    place = Path(out)
    lake = lakeray.connect()
    warm = place / "warm"
    (warm / "in").mkdir(parents=True)
    for number in range(4):
        (warm / "in" / f"{number}.json").write_text('{"id": 1, "kind": "view"}\n')
    _import(lake, warm / "in", warm, "json")
    print(READY, flush=True)
    time.sleep(5 * LOOK_EVERY_S)  # for the look at the idle tree
    begin = time.perf_counter()
    summary = _import(lake, Path(source), place, kind)
    seconds = time.perf_counter() - begin
    found = _count(place / "table")
    lake.close()
    if summary.state != "succeeded" or found != rows:
        problems = [error.message for error in summary.errors]
        return {
            "detail": f"{summary.state}: the table has {found:,} rows, expected {rows:,} {'; '.join(problems)}".strip()
        }
    return {"seconds": seconds}


def _import(lake: Any, source: Path, place: Path, kind: str) -> Any:
    file = place / "workflow.yaml"
    file.write_text(json.dumps(workflow(source, place / "table", kind, {}, {})))
    return lake.run(file).result()


def _count(table: Path) -> int:
    from deltalake import DeltaTable

    return int(DeltaTable(str(table)).to_pyarrow_dataset().count_rows()) if (table / "_delta_log").exists() else 0


if __name__ == "__main__":
    print("\n" + MARK + json.dumps(imported(**json.loads(sys.argv[1]))), flush=True)
