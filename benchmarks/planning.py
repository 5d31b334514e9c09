"""W5: how long a plan takes against a ledger of millions of objects, and how much memory.

What is timed is ``lakeray plan``: list, filter, compare with the ledger, cut into batches. The listing is generated
while it is asked for, and the time for that alone is reported beside.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.generated_lake import NEW_EVERY, PREFIX, GeneratedStore, ensure_ledger, identity, known_numbers
from benchmarks.job import MARK
from benchmarks.measure import Bench, in_process

WARM_UP_OBJECTS = 1_000


def measured(bench: Bench, count: int) -> dict[str, Any]:
    """The table of one ledger size: with one new object in a hundred, and with none."""
    bench.say(f"w5, a ledger of {count:,} objects: making or finding it")
    table, warm = ensure_ledger(bench.data, count), ensure_ledger(bench.data, WARM_UP_OBJECTS)
    cases = []
    for name, listed in (("1 % new", count + count // (NEW_EVERY - 1)), ("nothing new", None)):
        runs: list[dict[str, Any]] = []
        for turn in range(bench.repetitions):
            spec = {"table": str(table), "warm_table": str(warm), "count": count, "listed": listed}
            bench.out.mkdir(parents=True, exist_ok=True)
            runs.append(in_process(["benchmarks.planning", json.dumps(spec)], folder=bench.out, limit_s=bench.limit_s))
            bench.say(f"  {turn + 1}/{bench.repetitions} {name}: {runs[-1]}")
            if runs[-1]["outcome"] != "right":
                break
        cases.append({"name": name, **_entry(runs)})
    return {"workload": "w5", "rows": count, "cases": cases}


def _entry(runs: list[dict[str, Any]]) -> dict[str, Any]:
    bad = [run for run in runs if run["outcome"] != "right"]
    if bad:
        return bad[0]
    ordered = sorted(runs, key=lambda run: run["seconds"])
    median = ordered[len(ordered) // 2]
    return {
        **median,
        "median_s": median["seconds"],
        "min_s": ordered[0]["seconds"],
        "max_s": ordered[-1]["seconds"],
        "peak_bytes": max(run["peak_bytes"] for run in runs),
    }


def planned(*, table: str, warm_table: str, count: int, listed: int | None) -> dict[str, Any]:
    """One plan in this process. ``listed`` None: exactly the objects that the ledger knows."""
    from lakeray.importer.discovery.look import plan

    plan(_context(Path(warm_table), _KnownOnly(WARM_UP_OBJECTS)))
    store = GeneratedStore(listed) if listed is not None else _KnownOnly(count)
    context = _context(Path(table), store)
    before = _peak_bytes()
    begin = time.perf_counter()
    summary = plan(context)
    seconds = time.perf_counter() - begin
    peak = _peak_bytes()
    begin = time.perf_counter()
    total = sum(page.num_rows for page in store.list(PREFIX))
    listing_s = time.perf_counter() - begin
    new = total - count
    if (summary.listed, summary.known, summary.new, summary.changed) != (total, count, new, 0):
        return {
            "outcome": "wrong",
            "detail": f"wrong answer: {summary.listed=} {summary.known=} {summary.new=} {summary.changed=}",
        }
    return {
        "outcome": "right",
        "seconds": seconds,
        "listing_s": listing_s,
        "peak_bytes": peak,
        "before_bytes": before,
        "listed": total,
        "new": new,
    }


class _KnownOnly(GeneratedStore):
    """Lists what the ledger holds and nothing else."""

    def __init__(self, known: int) -> None:
        self._numbers = known_numbers(known)

    def list(self, prefix: str, *, start_after: str | None = None) -> Any:
        """Pages of 10,000 objects, ascending by uri."""
        import pyarrow as pa

        from benchmarks.generated_lake import PAGE, objects
        from lakeray.objects import LISTING

        for start in range(0, len(self._numbers), PAGE):
            yield pa.RecordBatch.from_pydict(objects(self._numbers[start : start + PAGE]), schema=LISTING)


def _context(table: Path, store: GeneratedStore) -> Any:
    from lakeray.importer.context import ImportContext
    from lakeray.importer.executor import InlineExecutor
    from lakeray.observability.progress import Silent
    from lakeray.spec.sources import Source
    from lakeray.spec.steps import Step
    from lakeray.spec.tables import Table

    assert identity(table).step == "ingest"
    return ImportContext(
        tenant="bench",
        workflow="bench",
        run_id="none",
        step_name="ingest",
        step=Step.model_validate({"import": {"from": "lake", "into": "table"}}),
        source=Source.model_validate({"uri": PREFIX, "format": "json"}),
        table=Table.model_validate({"uri": str(table)}),
        executor=InlineExecutor(),
        observer=Silent(),
        now=lambda: datetime.now(UTC),
        list_pages=store.list,
    )


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print("\n" + MARK + json.dumps(planned(**json.loads(sys.argv[1]))), flush=True)
