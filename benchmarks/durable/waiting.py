"""Ten thousand runs that wait for the same instant: what they cost meanwhile, and how late the last one goes on."""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.durable import steps as s
from benchmarks.measure import Bench, in_process

ACCEPTED_A_SECOND = 250
"""So many runs begin a second at the least: the instant that they wait for lies behind the last one's beginning."""
LOOK_S = 5.0


def measured(bench: Bench, runs: int) -> dict[str, Any]:
    """The table: one process with an orchestrator that attends to all of them."""
    place = bench.out / "waiting"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    spec = {"uri": f"sqlite:///{place}/state.db", "runs": runs}
    case = in_process(["benchmarks.durable.waiting", json.dumps(spec)], folder=place, limit_s=bench.limit_s)
    bench.say(f"waiting, {runs:,} runs: {case}")
    shutil.rmtree(place, ignore_errors=True)
    return {"workload": "waiting", "rows": runs, "cases": [{"name": f"{runs:,} waiting runs, SQLite", **case}]}


def measure(*, uri: str, runs: int) -> dict[str, Any]:
    """Begin them, let them wait, look when each was over."""
    from lakeray.runtime.bench import utc_now
    from lakeray.runtime.durable.embedded import open_state, owner_name
    from lakeray.runtime.durable.orchestrator import Orchestrator
    from lakeray.runtime.durable.run import definition_of
    from lakeray.spec.model import Workflow
    from lakeray.workflow.commands import AcceptRun

    with open_state(uri) as store:
        driver = driver_of(store)
        orchestrator = Orchestrator(store, owner=owner_name(), clock=utc_now, adopt=driver.workers)
        orchestrator.open()
        until = utc_now() + timedelta(seconds=runs / ACCEPTED_A_SECOND + LOOK_S + 3)
        document = {"workflow": "waits", "steps": {"hold": {"wait": {"until": until.isoformat()}}}}
        definition = definition_of(Workflow.model_validate(document))
        before_bytes, begin = memory_bytes(), time.perf_counter()
        replies = [
            orchestrator.tell(f"w-{number}", AcceptRun(at=utc_now(), run_id=f"w-{number}", definition=definition))
            for number in range(runs)
        ]
        for reply in replies:
            reply.result()
        accepted_s = time.perf_counter() - begin
        del replies
        time.sleep(1)
        waiting_bytes, cpu_s = memory_bytes(), time.process_time()
        time.sleep(LOOK_S)
        share = (time.process_time() - cpu_s) / LOOK_S
        early = utc_now() < until
        while store.due(0, until + timedelta(days=1), 1):
            time.sleep(0.2)
        orchestrator.close()
        heads = [store.head(f"w-{number}") for number in range(runs)]
        threads = resource.getrusage(resource.RUSAGE_SELF)
    late_s = [(head.ended_at - until).total_seconds() for head in heads if head is not None and head.ended_at]
    right = early and len(late_s) == runs and min(late_s) >= 0
    if not right or {head.state for head in heads if head is not None} != {"succeeded"}:
        return {"outcome": "wrong", "detail": f"{len(late_s)} of {runs} are over, the first {min(late_s)} s late"}
    return {
        "outcome": "right",
        "accepted_per_s": runs / accepted_s,
        "bytes_a_run": (waiting_bytes - before_bytes) / runs,
        "waiting_bytes": waiting_bytes - before_bytes,
        "idle_share_of_a_core": share,
        "median_late_s": statistics.median(late_s),
        "last_late_s": max(late_s),
        "peak_bytes": threads.ru_maxrss * 1024,
    }


def driver_of(store: Any) -> Any:
    """What makes workers, as in the workload of many steps."""
    from benchmarks.durable.lakeray_runs import Driver, workflow_of

    return Driver(store, workflow_of(1))


def memory_bytes() -> int:
    """What this process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    s.main(measure)
