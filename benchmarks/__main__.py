"""`python -m benchmarks`: measure lakeray and its peers, write the results.

Every figure that is printed or stored belongs to a run whose answer was right. ``--quick`` is a smoke test of a
minute whose figures mean nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import latency, merging, planning, results
from benchmarks.data import keep_out_of_git
from benchmarks.durable import ended, runs, waiting
from benchmarks.machine import file_system, versions
from benchmarks.measure import Bench, compare
from benchmarks.peers import PEERS, Peer

ROWS = {
    "w1": (10_000_000, 60_000_000),
    "w2": (2_000_000, 8_000_000),
    "w2-malformed": (2_000_000,),
    "w3": (10_000_000,),
    "w3-plain": (10_000_000,),
    "w3-full": (10_000_000,),
    "w3-soiled": (10_000_000,),
    "w4": (10_000_000, 50_000_000),
    "w5": (1_000_000, 10_000_000),
    "latency": (10,),
    "runs": (1_000,),
    "waiting": (10_000,),
    "ended": (100_000,),
}
"""Sizes by workload: rows, for w5 objects in the ledger, for latency repetitions, for the last three runs."""
QUICK_ROWS = 100_000
QUICK = {"latency": 3, "runs": 100, "waiting": 500, "ended": 2_000}
DURABLE = {"runs": runs, "waiting": waiting, "ended": ended}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the arguments ask for; 1 when lakeray itself failed or gave a wrong answer."""
    options = parser().parse_args(arguments)
    bench = Bench(
        data=options.data.resolve(),
        out=(options.out or options.data / "out").resolve(),
        repetitions=1 if options.quick else options.repetitions,
        limit_s=options.limit,
    )
    file = options.results or (bench.data / "quick-results.json" if options.quick else results.DEFAULT)
    peers = chosen(options.peers)
    keep_out_of_git(bench.data)
    bench.out.mkdir(parents=True, exist_ok=True)
    circumstances = {"file_system": file_system(bench.out), "repetitions": str(bench.repetitions)}
    failed = False
    for workload in options.workloads:
        for size in sizes(options, workload):
            table = _table(bench, workload, size, peers, quick=options.quick)
            name = f"{workload}/{results.size_name(size)}" if workload != "latency" else workload
            command = f"python -m benchmarks --workloads {workload}" + (
                f" --rows {workload}={results.size_name(size)}" if workload != "latency" else ""
            )
            results.store(file, name, table, command=command, **circumstances)
            failed |= _lakeray_failed(table)
    shutil.rmtree(bench.out, ignore_errors=True)
    print(f"results are in {file}; `python -m benchmarks.render` makes the page of them")
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n\n")[0])
    made.add_argument(
        "--workloads", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="NAME", help=f"of {', '.join(ROWS)}"
    )
    made.add_argument(
        "--rows", nargs="+", default=[], metavar="NAME=ROWS", help="sizes of a workload, as in w1=10M,60M"
    )
    made.add_argument(
        "--peers",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(peer.name for peer in PEERS)} (all that are installed)",
    )
    made.add_argument("--repetitions", type=int, default=5, help="measurements of each engine (5)")
    made.add_argument(
        "--limit", type=float, default=1800.0, help="seconds after which a measurement is given up (1800)"
    )
    made.add_argument(
        "--data", type=Path, default=Path(".bench-data"), help="folder of the inputs, kept for the next time"
    )
    made.add_argument(
        "--out", type=Path, help="folder of the outputs, emptied (default: out in the folder of the inputs)"
    )
    made.add_argument("--results", type=Path, help="file of the results (default: benchmarks/results.json)")
    made.add_argument("--quick", action="store_true", help="small inputs, one measurement each: does everything work?")
    return made


def chosen(names: list[str] | None) -> list[Peer]:
    """The engines by name; without names those that are installed. Exits with 2 for a name that there is not."""
    known = {_plain(peer.name): peer for peer in PEERS}
    for name in names or []:
        if _plain(name) not in known:
            print(f"there is no engine {name!r}; there are: {', '.join(peer.name for peer in PEERS)}", file=sys.stderr)
            raise SystemExit(2)
    wanted = [known[_plain(name)] for name in names] if names else list(PEERS)
    installed = []
    for peer in wanted:
        missing = set(peer.packages) - set(versions(peer.packages))
        if missing:
            print(f"{peer.name} does not take part: {', '.join(sorted(missing))} is not installed")
        else:
            installed.append(peer)
    return installed


def sizes(options: argparse.Namespace, workload: str) -> tuple[int, ...]:
    """The sizes that a workload is measured at."""
    for item in options.rows:
        name, _, values = item.partition("=")
        if name == workload:
            return tuple(results.parse_rows(value) for value in values.split(","))
    if options.quick:
        return (QUICK.get(workload, QUICK_ROWS),)
    return ROWS[workload]


def _table(bench: Bench, workload: str, size: int, peers: list[Peer], *, quick: bool) -> dict[str, Any]:
    if workload == "w4":
        return merging.measured(bench, size)
    if workload == "w5":
        return planning.measured(bench, size)
    if workload == "latency":
        return latency.measured(bench, size)
    if workload in DURABLE:
        return DURABLE[workload].measured(bench, size)
    if quick:
        peers = [replace(peer, most_rows=dict.fromkeys(peer.most_rows, 20_000)) for peer in peers]
    return compare(bench, workload, size, peers)


def _lakeray_failed(table: dict[str, Any]) -> bool:
    own = [entry for entry in table.get("engines", []) if entry["engine"].startswith("lakeray")]
    cases = [case for case in table.get("cases", []) if table["workload"] != "runs" or "lakeray" in case["name"]]
    return any(entry["outcome"] != "right" for entry in [*own, *cases])


def _plain(name: str) -> str:
    return "".join(name.lower().split()).replace("-", "").replace("_", "")


if __name__ == "__main__":
    sys.exit(main())
