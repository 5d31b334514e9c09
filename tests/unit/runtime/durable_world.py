"""A workflow of every kind that needs neither Ray nor a lake, and its runs in processes that tests kill.

Effects go to a sink that tells repetitions apart; every time one is asked for is counted beside. ``LAKERAY_STATE``,
``SINK`` and ``TTL_S`` come from the environment.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from lakeray.config import Settings
from lakeray.errors import Cancelled
from lakeray.observability.progress import Silent
from lakeray.runtime.bench import Bench, utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.beats import Beats
from lakeray.runtime.durable.embedded import open_state
from lakeray.runtime.durable.local import LocalWorkers
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.runtime.durable.run import DurableRun, definition_of
from lakeray.runtime.durable.runs import send
from lakeray.spec.load import load_workflow
from lakeray.spec.model import FROM_FILE, Workflow
from lakeray.state import Command, EventStore
from lakeray.workflow import commands as c
from lakeray.workflow import events as e
from lakeray.workflow.refusal import Refused
from lakeray.workflow.state import RunState

HERE = "tests.unit.runtime.durable_world"
QUICK = "retry: {maximum_attempts: 60, initial_interval: 0s, maximum_worker_deaths: 60}"
CHILD = f"""
workflow: child
steps:
  within: {{python: "{HERE}:effect", {QUICK}}}
"""
WHOLE = f"""
workflow: whole
steps:
  first: {{python: "{HERE}:effect_and_word", compensate: "{HERE}:effect", {QUICK}}}
  each: {{after: [first], map: {{over: [1, 2, 3], python: "{HERE}:effect_of", concurrency: 2, chunk: 1}}, {QUICK}}}
  open: {{after: [each], gate: {{python: "{HERE}:yes"}}}}
  pause: {{after: [open], wait: {{event: go}}}}
  sub: {{after: [pause], workflow: child.yaml, {QUICK}}}
  second: {{after: [sub], python: "{HERE}:effect", compensate: "{HERE}:effect", {QUICK}}}
  last: {{after: [second], python: "{HERE}:fail", retry: {{maximum_attempts: 2, initial_interval: 0s}}}}
"""
EFFECTS = ("first", "each~0", "each~1", "each~2", "second", "second~undo", "first~undo")
STEADY = f"""
workflow: steady
steps:
  one: {{python: "{HERE}:effect", {QUICK}}}
  two: {{after: [one], python: "{HERE}:until_let_go", {QUICK}}}
  three: {{after: [two], python: "{HERE}:effect", {QUICK}}}
"""
WITHIN_S = 30.0


def effect(context: Any) -> str:
    """Happens once for a key, however often it is asked for."""
    name = context.idempotency_key.replace("/", "~")
    sink = Path(os.environ["SINK"])
    with (sink.parent / "asked").open("a") as asked:
        asked.write(f"{name}\n")
    try:
        os.close(os.open(sink / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "again"
    return "done"


def effect_and_word(context: Any) -> str:
    """An effect that also has something to say: to its own run, which waits for it, and to one that there is not."""
    word = c.encode_command(c.SendEvent(at=utc_now(), name="go", principal="first"))
    with open_state(os.environ["LAKERAY_STATE"]) as store:
        for run_id in (context.run_id, f"{context.run_id}-nobody"):
            store.send(Command(command_id=f"{run_id}-go", run_id=run_id, data=word))
    return effect(context)


def effect_of(item: int, context: Any) -> int:
    effect(context)
    return item * 10


def until_let_go(context: Any) -> str:
    """An effect whose worker is at it until there is a file ``let-go`` beside the sink."""
    done = effect(context)
    while not (Path(os.environ["SINK"]).parent / "let-go").exists():
        if context.cancelled.wait(0.005):
            raise Cancelled("asked to stop")
    return done


def yes() -> bool:
    return True


def fail() -> None:
    raise OSError("the partner is down")


def prepare(folder: Path) -> None:
    """Files and sink."""
    (folder / "sink").mkdir(parents=True)
    for name, text in (("whole", WHOLE), ("steady", STEADY), ("child", CHILD)):
        (folder / f"{name}.yaml").write_text(text)


def environment(folder: Path, uri: str) -> dict[str, str]:
    """Of a process that drives the folder's runs."""
    return {**os.environ, "SINK": str(folder / "sink"), "LAKERAY_STATE": uri, "TTL_S": "0.25"}


def drive(folder: str, name: str) -> None:
    """Begin the workflow's run, or carry on what was left of it, to its end, as `lakeray run` does."""
    Orchestrator.__init__.__kwdefaults__.update(ttl_s=float(os.environ["TTL_S"]), poll_s=0.02)  # type: ignore[index]
    journal.SNAPSHOT_EVERY = 7
    run = DurableRun(
        settings=Settings(state=os.environ["LAKERAY_STATE"], executor="inline"),
        cluster=Cluster(Settings()),
        observer=Silent(),
        workflow=load_workflow(Path(folder) / f"{name}.yaml"),
        run_id=f"run-{name}",
    )
    run.execute()


def workers_of(state: RunState) -> LocalWorkers:
    """Workers of any run, as its definition says."""
    settings, beats = Settings(executor="inline"), Beats(Silent())
    bench = Bench(
        workflow=Workflow.model_validate(state.definition.document, context={FROM_FILE: True}),
        settings=settings,
        cluster=Cluster(settings),
        observer=beats,
        run_id=state.run_id,
    )
    return LocalWorkers(bench=bench, beats=beats, clock=utc_now)


def accept(folder: Path, name: str, run_id: str) -> c.AcceptRun:
    """What begins a run of the folder's workflow."""
    definition = definition_of(load_workflow(folder / f"{name}.yaml"))
    return c.AcceptRun(at=utc_now(), run_id=run_id, definition=definition, seed=7)


def histories(uri: str) -> dict[str, list[e.Event]]:
    """The events of every run, by its id, the oldest run first; their numbers are dense."""
    with open_state(uri) as store:
        heads = list(reversed(store.runs(limit=10_000).runs))
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


def effects(folder: Path) -> set[str]:
    """What is in the sink."""
    return {path.name for path in (folder / "sink").iterdir()}


def check_whole(folder: Path, uri: str, *runs: str) -> None:
    """Runs of ``whole`` (``run-whole``) and their children: ended right, each completion and each effect once."""
    found, wanted = histories(uri), set()
    for run_id in runs or ("run-whole",):
        for each, ended in ((run_id, "failed"), (f"{run_id}.sub.1", "succeeded")):
            events = found.pop(each)
            assert isinstance(events[-1], e.RunEnded), each
            assert events[-1].state == ended, each
            assert set(completions(events).values()) == {1}, completions(events)
        wanted |= {*(f"{run_id}~{name}" for name in EFFECTS), f"{run_id}.sub.1~within"}
    assert not found, "there are no others"
    assert effects(folder) == wanted


def say(store: EventStore, run_id: str, command: c.Command) -> bool:
    """Whether the run's owner took the command; a refusal is an answer too."""
    try:
        send(store, run_id, command, within_s=WITHIN_S)
    except Refused:
        return False
    return True


def someone() -> str:
    """A name that no other owner has."""
    return f"owner-{uuid.uuid4().hex[:6]}"
