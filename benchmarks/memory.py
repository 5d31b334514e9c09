"""`python -m benchmarks.memory`: resident memory while importing lakes and one large object, against its bound.

The bound of a worker is what an idle one takes plus LAKERAY_TASK_MEMORY, with a quarter for what the allocator keeps.
The whole process tree (driver, Ray's own processes, workers) must not grow with the lake. Exits with 1 when either is
broken or a row is missing.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.data import keep_out_of_git
from benchmarks.machine import file_system
from benchmarks.memory_inputs import lake_of, one_object
from benchmarks.memory_watch import Peaks, watch
from lakeray.spec.units import parse_size

SLACK = 1.25
TREE_SLACK_BYTES = 64 * 2**20
"""Logs, a grown heap here and there: what a large lake's tree may have above 1.25 times that of the smallest."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, judge."""
    options = _parser().parse_args(arguments)
    task_memory = parse_size(options.task_memory)
    data = options.data.resolve()
    keep_out_of_git(data)
    plans = [("lake", size, "parquet", lake_of) for size in map(parse_size, options.lake)]
    plans += [("one object", size, "json", one_object) for size in map(parse_size, options.object)]
    lines = []
    for name, size, kind, make in plans:
        source, rows = make(data, size)
        print(f"{name} of {_shown(size)}: {rows:,} rows", flush=True)
        peaks = watch(source, kind, rows, out=data / "memory", task_memory=options.task_memory, cpus=options.cpus)
        lines.append({"name": name, "size_bytes": size, "rows": rows, **peaks.as_dict()})
        _print_line(lines[-1])
        shutil.rmtree(data / "memory", ignore_errors=True)
    problems = judge(lines, task_memory)
    for problem in problems:
        print(f"NOT BOUNDED: {problem}")
    if not options.no_results:
        table = {
            "workload": "memory",
            "rows": 0,
            "task_memory_bytes": task_memory,
            "lines": lines,
            "problems": problems,
        }
        sizes = (
            f"--lake {' '.join(options.lake)} --object {' '.join(options.object)} --task-memory {options.task_memory}"
        )
        results.store(
            options.results,
            "memory",
            table,
            command=f"python -m benchmarks.memory {sizes}",
            file_system=file_system(data),
        )
    if not problems:
        bound = f"{SLACK} x {_shown(task_memory)}"
        print(f"bounded: no worker above an idle one plus {bound}, the tree does not grow with the lake")
    return 1 if problems else 0


def judge(lines: Sequence[dict[str, Any]], task_memory: int) -> list[str]:
    """What breaks the bounds, in words; nothing when all is well."""
    problems = []
    for line in lines:
        title = f"{line['name']} of {_shown(line['size_bytes'])}"
        if line["detail"]:
            problems.append(f"{title}: {line['detail']}")
            continue
        bound = line["idle_worker_bytes"] + SLACK * task_memory
        if line["worker_bytes"] > bound:
            problems.append(f"{title}: a worker took {_shown(line['worker_bytes'])}, the bound is {_shown(bound)}")
    lakes = sorted(
        (line for line in lines if line["name"] == "lake" and not line["detail"]), key=lambda line: line["size_bytes"]
    )
    for line in lakes[1:]:
        bound = SLACK * lakes[0]["tree_bytes"] + TREE_SLACK_BYTES
        if line["tree_bytes"] > bound:
            now, then = _shown(line["tree_bytes"]), _shown(lakes[0]["tree_bytes"])
            title = f"lake of {_shown(line['size_bytes'])}"
            problems.append(f"{title}: the process tree grew with the lake, to {now} from {then}")
    return problems


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.split("\n\n")[0])
    made.add_argument(
        "--lake", nargs="*", default=["1GB", "10GB"], metavar="SIZE", help="lakes of Parquet objects (1GB 10GB)"
    )
    made.add_argument("--object", nargs="*", default=["2GB"], metavar="SIZE", help="single JSON lines objects (2GB)")
    made.add_argument(
        "--task-memory",
        default=os.environ.get("LAKERAY_TASK_MEMORY") or "512MiB",
        metavar="SIZE",
        help="LAKERAY_TASK_MEMORY",
    )
    made.add_argument("--cpus", type=int, default=os.cpu_count() or 1, help="LAKERAY_CPUS (all)")
    made.add_argument(
        "--data", type=Path, default=Path(".bench-data"), help="folder of the inputs, kept for the next time"
    )
    made.add_argument("--results", type=Path, default=results.DEFAULT, help="file of the results")
    made.add_argument("--no-results", action="store_true", help="only print")
    return made


def _print_line(line: dict[str, Any]) -> None:
    if line["detail"]:
        print(f"  {line['detail']}")
        return
    worker, tree = _shown(line["worker_bytes"]), _shown(line["tree_bytes"])
    idle_worker, idle_tree = _shown(line["idle_worker_bytes"]), _shown(line["idle_tree_bytes"])
    text = f"largest worker {worker} (idle {idle_worker}), driver {_shown(line['driver_bytes'])}"
    print(f"  {line['seconds']:.1f} s; {text}, whole tree {tree} (idle {idle_tree})", flush=True)


def _shown(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


__all__ = ["Peaks", "judge", "main"]

if __name__ == "__main__":
    sys.exit(main())
