"""Prefect: flows of tasks, with the server that it starts for a process on its own."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.durable import steps as s

WRITTEN_WITHIN_S = 30.0


def _completed(client: Any) -> int:
    """Steps that its server knows to be done."""
    found = offset = 0
    while page := client.read_task_runs(limit=200, offset=offset):
        found += sum(run.state_name == "Completed" for run in page)
        offset += len(page)
    return found


def measure(*, uri: str, folder: str, runs: int, steps: int, at_once: int) -> dict[str, Any]:
    """The runs, and what its server says of them."""
    os.environ.update(
        PREFECT_HOME=f"{folder}/prefect",
        PREFECT_API_DATABASE_CONNECTION_URL=f"sqlite+aiosqlite:///{folder}/prefect.db",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_LOGGING_LEVEL="ERROR",
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="true",
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS="120",
        DO_NOT_TRACK="1",
    )
    import prefect
    from prefect.client.orchestration import get_client

    nothing = prefect.task(s.nothing, name="nothing")

    @prefect.flow(name="several", log_prints=False)
    def several(count: int) -> None:
        for _ in range(count):
            nothing()

    several(steps)
    s.taken()
    begin = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(several, [steps] * runs))
    seconds = time.perf_counter() - begin
    calls = s.taken()
    wanted, deadline = (runs + 1) * steps, time.monotonic() + WRITTEN_WITHIN_S
    with get_client(sync_client=True) as client:
        while (found := _completed(client)) < wanted and time.monotonic() < deadline:
            time.sleep(0.2)  # its server writes what tasks tell it when it comes to it
    return s.told(
        seconds=seconds,
        runs=runs,
        steps=steps,
        in_history=found - steps,
        at_once=at_once,
        calls=calls,
        durability="SQLite, as its server opens it",
    )


if __name__ == "__main__":
    s.main(measure)
