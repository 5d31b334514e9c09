"""A hundred thousand runs that are over: how long `runs list` takes, with filters that leave many, few and none."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.durable import steps as s
from benchmarks.measure import Bench, in_process

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
LIMIT = 100
REPETITIONS = 11
FILTERS: dict[str, dict[str, Any]] = {
    "no filter": {},
    "state failed (1 %)": {"state": "failed"},
    "one workflow of 50": {"workflow": "w7"},
    "one workflow, state failed": {"workflow": "w7", "state": "failed"},
    "a rare workflow, state succeeded": {"workflow": "rare", "state": "succeeded"},
    "a rare workflow, state failed (none)": {"workflow": "rare", "state": "failed"},
    "one tenant of 10, one day": {"tenant": "t3", "since": BEGAN + timedelta(hours=5), "until": BEGAN + timedelta(1)},
}


def measured(bench: Bench, runs: int) -> dict[str, Any]:
    """The table: every filter on both backends, in a warm process that opens the store for every look."""
    cases = []
    for name in ("SQLite", "Redis"):
        place = bench.out / "ended"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with _store(name, place) as uri:
            spec = {"uri": uri, "runs": runs}
            case = in_process(["benchmarks.durable.ended", json.dumps(spec)], folder=place, limit_s=bench.limit_s)
        bench.say(f"ended, {runs:,} runs, {name}: {case}")
        cases.append({"name": f"lakeray, {name}", **case})
        shutil.rmtree(place, ignore_errors=True)
    return {"workload": "ended", "rows": runs, "cases": cases}


@contextmanager
def _store(name: str, place: Path) -> Iterator[str]:
    if name == "SQLite":
        yield f"sqlite:///{place}/state.db"
        return
    from tests.servers import start_redis

    with start_redis(place / "redis") as server:
        yield server.url


def about(number: int) -> dict[str, Any]:
    """What run ``number`` is: everything follows from it."""
    return {
        "run_id": f"run-{number:06d}",
        "tenant": f"t{number % 10}",
        "workflow": "rare" if number % 10_000 == 77 else f"w{number % 50}",
        "state": "failed" if number % 100 == 7 else "succeeded",
        "started_at": BEGAN + timedelta(seconds=number),
    }


def expected(runs: int, wanted: dict[str, Any]) -> list[str]:
    """The ids that a look has to find, the newest first."""
    since, until = wanted.get("since", BEGAN), wanted.get("until", BEGAN + timedelta(days=9999))
    named = {name: value for name, value in wanted.items() if name in ("tenant", "workflow", "state")}
    found = []
    for number in range(runs - 1, -1, -1):
        run = about(number)
        if since <= run["started_at"] < until and all(run[name] == value for name, value in named.items()):
            found.append(run["run_id"])
            if len(found) == LIMIT:
                break
    return found


def measure(*, uri: str, runs: int) -> dict[str, Any]:
    """Make the runs, then look for some of them."""
    from lakeray.runtime.durable.embedded import open_state
    from lakeray.runtime.durable.runs import RunsOf

    with open_state(uri) as store:
        _make(store, runs)
    looks: RunsOf[Any] = RunsOf(
        state=uri, principal="bench", now=lambda: datetime.now(UTC), new=lambda **_: None, start=lambda run: run
    )
    took: dict[str, dict[str, float]] = {}
    for name, wanted in FILTERS.items():
        right, each = expected(runs, wanted), []
        for _ in range(REPETITIONS):
            begin = time.perf_counter()
            lines = looks.list(**wanted, limit=LIMIT)
            each.append((time.perf_counter() - begin) * 1e3)
            if [line.run_id for line in lines] != right:
                return {"outcome": "wrong", "detail": f"{name}: {len(lines)} runs, not the {len(right)} expected"}
        took[name] = {"found": len(right), "median_ms": statistics.median(each), "max_ms": max(each)}
    return {"outcome": "right", "looks": took}


def _make(store: Any, runs: int) -> None:
    from lakeray.state import Append, NewEvent, RunHead, shard_of

    epochs = [store.lease(shard, "bench", 3600).epoch for shard in range(store.shards)]
    futures = []
    for number in range(runs):
        run = about(number)
        ended_at = run["started_at"] + timedelta(seconds=30)
        event = NewEvent(type="RunEnded", version=1, data=b"{}", at=ended_at)
        head = RunHead(**run, ended_at=ended_at)
        epoch = epochs[shard_of(run["run_id"], store.shards)]
        append = Append(append_id=f"a{number}", expected=0, epoch=epoch, events=(event,), head=head)
        futures.append(store.submit(append))
        if len(futures) == 2000:
            for future in futures:
                future.result()
            futures = []
    for future in futures:
        future.result()


if __name__ == "__main__":
    s.main(measure)
