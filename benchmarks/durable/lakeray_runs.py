"""lakeray: one orchestrator over a store, runs of Python steps in its process."""

from __future__ import annotations

import threading
import time
from typing import Any

from benchmarks.durable import steps as s
from lakeray.config import Settings
from lakeray.observability.progress import Silent
from lakeray.runtime.bench import Bench, utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable.beats import Beats
from lakeray.runtime.durable.embedded import open_state, owner_name
from lakeray.runtime.durable.local import LocalWorkers
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.runtime.durable.run import definition_of
from lakeray.runtime.durable.threads import WarmThreads
from lakeray.spec.model import Workflow
from lakeray.state import EventStore
from lakeray.workflow.commands import AcceptRun
from lakeray.workflow.state import RunState

WARM_UP = 20


class Driver:
    """Drives runs of one workflow."""

    def __init__(self, store: EventStore, workflow: Workflow) -> None:
        self.store, self.workflow = store, workflow
        self.definition = definition_of(workflow)
        self.orchestrator = Orchestrator(store, owner=owner_name(), clock=utc_now)
        self.settings = Settings(executor="inline")
        self.threads = WarmThreads()

    def workers(self, state: RunState) -> LocalWorkers:
        """Workers of a run, whose threads are everybody's."""
        beats = Beats(Silent())
        bench = Bench(
            workflow=self.workflow,
            settings=self.settings,
            cluster=Cluster(self.settings),
            observer=beats,
            run_id=state.run_id,
        )
        return LocalWorkers(bench=bench, beats=beats, clock=utc_now, threads=self.threads)

    def all(self, prefix: str, runs: int, at_once: int) -> float:
        """Seconds for so many runs, of which so many go on at once."""
        room, over = threading.Semaphore(at_once), threading.Semaphore(0)

        def heard(state: RunState, _: Any) -> None:
            if state.ended is not None:
                room.release()
                over.release()

        begin = time.perf_counter()
        for number in range(runs):
            room.acquire()
            run_id = f"{prefix}-{number}"
            self.orchestrator.drive(run_id, self.workers, heard)
            accept = AcceptRun(at=utc_now(), run_id=run_id, definition=self.definition, seed=number)
            self.orchestrator.tell(run_id, accept)
        for _ in range(runs):
            over.acquire()
        return time.perf_counter() - begin


def workflow_of(steps: int) -> Workflow:
    """Steps that come one after the other."""
    said: dict[str, Any] = {}
    for number in range(steps):
        said[f"s{number}"] = {"python": "benchmarks.durable.steps:nothing"}
        if number:
            said[f"s{number}"]["after"] = [f"s{number - 1}"]
    return Workflow.model_validate({"workflow": "bench", "steps": said})


def measure(*, uri: str, folder: str, runs: int, steps: int, at_once: int) -> dict[str, Any]:
    """The runs, and what the store holds of them."""
    with open_state(uri) as store:
        driver = Driver(store, workflow_of(steps))
        driver.orchestrator.open()
        driver.all("warm", min(WARM_UP, runs), at_once)
        s.taken()
        seconds = driver.all("run", runs, at_once)
        calls = s.taken()
        found = 0
        for number in range(runs):
            head = store.head(f"run-{number}")
            if head is not None and head.state == "succeeded":
                found += sum(event.type == "StepSucceeded" for event in store.read(head.run_id))
        durability = store.durability.sentence
        driver.orchestrator.close()
    return s.told(
        seconds=seconds,
        runs=runs,
        steps=steps,
        in_history=found,
        at_once=at_once,
        calls=calls,
        durability=durability,
    )


if __name__ == "__main__":
    s.main(measure)
