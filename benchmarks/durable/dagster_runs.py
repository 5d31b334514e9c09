"""Dagster: a job of ops, executed in the process with an instance on disk."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.durable import steps as s


def measure(*, uri: str, folder: str, runs: int, steps: int, at_once: int) -> dict[str, Any]:
    """The runs, one after the other, and what its event log holds of them."""
    os.environ["DAGSTER_HOME"] = folder
    Path(folder, "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    import dagster

    logging.getLogger("dagster").setLevel(logging.ERROR)

    def op_of(number: int) -> Any:
        @dagster.op(name=f"s{number}", ins={} if not number else {"start": dagster.In(dagster.Nothing)})
        def op() -> None:
            s.nothing()

        return op

    @dagster.job
    def several() -> None:
        before = op_of(0)()
        for number in range(1, steps):
            before = op_of(number)(start=before)

    with dagster.DagsterInstance.get() as instance:
        several.execute_in_process(instance=instance)
        s.taken()
        begin = time.perf_counter()
        ids = [several.execute_in_process(instance=instance).run_id for _ in range(runs)]
        seconds = time.perf_counter() - begin
        calls = s.taken()
        kind = dagster.DagsterEventType.STEP_SUCCESS
        found = sum(len(instance.all_logs(run_id, of_type=kind)) for run_id in ids)
    return s.told(
        seconds=seconds,
        runs=runs,
        steps=steps,
        in_history=found,
        at_once=at_once,
        calls=calls,
        durability="SQLite, as its instance opens it",
    )


if __name__ == "__main__":
    s.main(measure)
