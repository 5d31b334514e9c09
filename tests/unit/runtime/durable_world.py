"""A workflow of every Ray-free kind whose effects go to a sink that tells repetitions apart, and its runs in a process.

Tests run ``drive`` in processes that they kill.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from lakeray.config import Settings
from lakeray.observability.progress import Silent
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.embedded import open_state
from lakeray.runtime.durable.run import DurableRun
from lakeray.spec.load import load_workflow
from lakeray.workflow import events as e

QUICK = "retry: {maximum_attempts: 6, initial_interval: 0s, maximum_worker_deaths: 6}"
HERE = "tests.unit.runtime.durable_world"
CHILD = f"""
workflow: child
steps:
  within: {{python: "{HERE}:effect", {QUICK}}}
"""
GOOD = f"""
workflow: good
steps:
  first: {{python: "{HERE}:effect", {QUICK}}}
  each: {{after: [first], map: {{over: [1, 2, 3], python: "{HERE}:effect_of", concurrency: 2, chunk: 1}}, {QUICK}}}
  open: {{after: [each], gate: {{python: "{HERE}:yes"}}}}
  pause: {{after: [open], wait: 10ms}}
  sub: {{after: [pause], workflow: child.yaml, {QUICK}}}
"""
BAD = f"""
workflow: bad
steps:
  one: {{python: "{HERE}:effect", compensate: "{HERE}:effect", {QUICK}}}
  two: {{after: [one], python: "{HERE}:effect", compensate: "{HERE}:effect", {QUICK}}}
  three: {{after: [two], python: "{HERE}:fail", retry: {{maximum_attempts: 2, initial_interval: 0s}}}}
"""


def effect(context: Any) -> str:
    """Happens once for a key, however often it is asked for."""
    place = Path(os.environ["SINK"]) / context.idempotency_key.replace("/", "~")
    try:
        os.close(os.open(place, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "again"
    return "done"


def effect_of(item: int, context: Any) -> int:
    effect(context)
    return item * 10


def yes() -> bool:
    return True


def fail() -> None:
    raise OSError("the partner is down")


def drive(folder: str, name: str) -> None:
    """Begin the workflow's run, or carry on what was left of it, to its end."""
    run = DurableRun(
        settings=Settings(state=f"sqlite:///{folder}/state.db", executor="inline"),
        cluster=Cluster(Settings()),
        observer=Silent(),
        workflow=load_workflow(Path(folder) / f"{name}.yaml"),
    )
    run.execute()


def prepare(folder: Path) -> None:
    """Files and sink."""
    (folder / "sink").mkdir(parents=True)
    for name, text in (("good", GOOD), ("bad", BAD), ("child", CHILD)):
        (folder / f"{name}.yaml").write_text(text)


def histories(folder: Path) -> dict[str, list[e.Event]]:
    """The events of every run, by its id, the oldest run first."""
    with open_state(f"sqlite:///{folder}/state.db") as store:
        heads = list(reversed(store.runs(limit=100).runs))
        for head in heads:
            stored = store.read(head.run_id)
            assert [event.sequence for event in stored] == list(range(1, len(stored) + 1))
            assert len({event.position for event in stored}) == len(stored)
        return {head.run_id: journal.history(store, head.run_id) for head in heads}


def completions(events: list[e.Event]) -> Counter[str]:
    """How often each step, each chunk and each compensation was completed."""
    found: Counter[str] = Counter()
    for event in events:
        if isinstance(event, e.StepSucceeded):
            found[event.step] += 1
        elif isinstance(event, e.MapChunkDone):
            found[f"{event.step}/{event.chunk}"] += 1
        elif isinstance(event, e.CompensationSucceeded):
            found[f"{event.step}/undo"] += 1
    return found


if __name__ == "__main__":
    drive(*sys.argv[1:])
