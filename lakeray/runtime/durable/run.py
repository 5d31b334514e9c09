"""A run in the foreground of a process: begun or carried on, driven until it is over or waits for a person alone."""

from __future__ import annotations

import threading
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from lakeray.config import Settings
from lakeray.errors import HistoryWentBack
from lakeray.observability.progress import Observer
from lakeray.runtime.bench import Bench, ignored, utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.beats import Beats
from lakeray.runtime.durable.chronicle import Chronicle
from lakeray.runtime.durable.embedded import orchestrator_of
from lakeray.runtime.durable.local import LocalWorkers
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.runtime.durable.port import Workers
from lakeray.runtime.durable.records import about_run
from lakeray.runtime.durable.standing import error_of, summary_of, waits_for_people
from lakeray.runtime.durable.threads import WarmThreads
from lakeray.runtime.protection import protections
from lakeray.runtime.summary import RunSummary
from lakeray.spec.load import load_workflow
from lakeray.spec.model import FROM_FILE, Workflow
from lakeray.workflow import events as e
from lakeray.workflow.commands import AcceptRun, Command
from lakeray.workflow.compile import compile_definition
from lakeray.workflow.definition import Definition, definition_hash
from lakeray.workflow.state import RunState

Place = Callable[[LocalWorkers, RunState], Workers]
"""Where the work of a run is done, of which these workers would do all in this process."""


def here(local: LocalWorkers, _: RunState) -> Workers:
    """All of it in this process."""
    return local


LOOK_S = 0.1
"""Seconds between two looks at how the run and its children stand; an event of the run itself is noticed at once."""
_ENDS = (e.StepSucceeded, e.StepFailed, e.StepDeadLettered, e.StepCancelled)


@dataclass(eq=False)
class DurableRun:
    """``execute`` returns when the run is over, waits for a person alone, or was asked to stop by ``cancel``.

    What is left then is in the state, for the next process. Exactly one of ``workflow`` (begin a run of it, or carry
    on what an earlier process left of one) and ``resumed`` (the id of a run to go on with) is given. ``first`` are
    commands that the run decides on before it goes on, with AcceptRun among them when it is a new one. ``place`` may
    have work done elsewhere.
    """

    settings: Settings
    cluster: Cluster
    observer: Observer
    workflow: Workflow | None = None
    resumed: str | None = None
    principal: str = ""
    arguments: dict[str, object] = field(default_factory=dict)
    first: Sequence[Command] = ()
    place: Place = here
    now: Callable[[], datetime] = utc_now
    run_id: str = field(default_factory=lambda: f"run-{uuid.uuid4().hex[:12]}")
    _state: RunState | None = None
    _left: bool = False
    _stop: threading.Event = field(default_factory=threading.Event)
    _moved: threading.Event = field(default_factory=threading.Event)
    _chronicle: Chronicle = field(default_factory=Chronicle)
    _benches: dict[str, Bench] = field(default_factory=dict)
    _notes: list[str] = field(default_factory=list)
    _waits: set[str] = field(default_factory=set)
    _threads: WarmThreads = field(default_factory=WarmThreads)

    def __post_init__(self) -> None:
        if self.resumed is not None:
            self.run_id = self.resumed
        if self.workflow is not None:
            self._notes.extend(ignored(self.workflow))
        self._begun_at = self.now()

    def cancel(self) -> None:
        """Stop what is at work and leave the run to the next process: what is committed stays."""
        self._stop.set()
        self._moved.set()

    def execute(self) -> RunSummary:
        """Drive the run. Raises LeaseHeld when another process owns the state, Refused what the run refuses."""
        with orchestrator_of(self.settings.state, self.now) as orchestrator:
            accept = self._find(orchestrator)
            self._state = journal.load(orchestrator.store, self.run_id)
            if self._state is not None:
                for event in journal.history(orchestrator.store, self.run_id):
                    self._chronicle.hear(event)
            orchestrator.drive(self.run_id, self._workers, self._heard)
            try:
                for command in ([accept] if accept is not None else []) + list(self.first):
                    self._state = orchestrator.tell(self.run_id, command).result()
                self._wait(orchestrator)
            finally:
                orchestrator.leave(self.run_id).result()
        return self.summary()

    def _find(self, orchestrator: Orchestrator) -> AcceptRun | None:
        """Carry on what was left of this very definition; otherwise the command that begins a run."""
        if self.workflow is None:
            return None
        definition = definition_of(self.workflow)
        digest = definition_hash(definition)
        others = []
        for shard in range(orchestrator.store.shards):
            for head in orchestrator.store.active(shard):
                mine = (head.tenant, head.workflow) == (definition.tenant, definition.workflow)
                begun_by_others = head.parent is not None or "backfill" in head.labels
                if not mine or begun_by_others or orchestrator.state(head.run_id) is not None:
                    continue
                left = journal.load(orchestrator.store, head.run_id)
                if left is not None and left.definition_hash == digest:
                    self.run_id = head.run_id
                    return None
                others.append(head.run_id)
        for run_id in others:
            self._notes.append(
                f"run {run_id}, begun with another version of this file, is not over: `lakeray runs resume {run_id}` "
                "goes on with it"
            )
        return self._accept(definition)

    def _accept(self, definition: Definition) -> AcceptRun:
        return AcceptRun(
            at=self.now(),
            run_id=self.run_id,
            definition=definition,
            principal=self.principal,
            arguments=self.arguments,
            seed=zlib.crc32(self.run_id.encode()),
        )

    def _workers(self, state: RunState) -> Workers:
        beats = Beats(self.observer)
        workflow = self.workflow
        if workflow is None or state.run_id != self.run_id:
            workflow = Workflow.model_validate(state.definition.document, context={FROM_FILE: True})
        bench = self._benches[state.run_id] = Bench(
            workflow=workflow,
            settings=self.settings,
            cluster=self.cluster,
            observer=beats,
            run_id=state.run_id,
            now=self.now,
        )
        return self.place(LocalWorkers(bench=bench, beats=beats, clock=self.now, threads=self._threads), state)

    def _heard(self, state: RunState, events: Sequence[e.Event]) -> None:
        self._state = state
        with about_run(state):
            self._observed(state, events)
        self._moved.set()

    def _observed(self, state: RunState, events: Sequence[e.Event]) -> None:
        bench = self._benches.get(self.run_id)
        for event in events:
            note = self._chronicle.hear(event)
            if note is not None and isinstance(event, e.StepScheduled) and bench and event.step in bench.loops:
                bench.loops[event.step].tally.note(note)
            elif note is not None:
                self.observer.note(step=getattr(event, "step", self.run_id), message=note)
            if isinstance(event, _ENDS) and bench is not None and event.step in bench.loops:
                error = state.steps[event.step].error
                bench.told(event.step, error_of(error, step=event.step) if error is not None else None)

    def _wait(self, orchestrator: Orchestrator) -> None:
        while True:
            self._moved.clear()
            state = orchestrator.state(self.run_id)
            why = orchestrator.parked(self.run_id)
            if why is not None:
                raise HistoryWentBack(f"run {self.run_id} does not go on here: {why}", hint="see `lakeray runs show`")
            if state is not None and state.ended is not None:
                return
            if state is not None and waits_for_people(state, self.now(), orchestrator.state):
                return
            if self._stop.is_set():
                self._left = True
                return
            self._tell_waits(orchestrator)
            self._moved.wait(LOOK_S)

    def _tell_waits(self, orchestrator: Orchestrator) -> None:
        """Say once of each step that it stands in a line."""
        for step, said in orchestrator.limits.waits(self.run_id):
            if step not in self._waits and self._state is not None:
                self._waits.add(step)
                with about_run(self._state):
                    self.observer.note(step=step, message=said)

    def summary(self) -> RunSummary:
        """The run so far, or as it was left."""
        bench = self._benches.get(self.run_id)
        workflow = bench.workflow if bench is not None else self.workflow
        if self._state is None:
            return self._before_it_began()
        return summary_of(
            self._state,
            self._chronicle,
            now=self.now(),
            imports={name: loop.tally.summary() for name, loop in bench.loops.items()} if bench else {},
            notes=self._notes,
            security=list(protections(workflow, list(workflow.steps))) if workflow is not None else [],
            left=self._left,
        )

    def _before_it_began(self) -> RunSummary:
        return RunSummary(
            run_id=self.run_id,
            workflow=self.workflow.workflow if self.workflow is not None else "",
            tenant=self.workflow.tenant if self.workflow is not None else "",
            state="pending",
            started_at=self._begun_at,
        )


def definition_of(workflow: Workflow) -> Definition:
    """What a run of the workflow keeps, with the workflows that it starts."""
    return compile_definition(workflow, child=_read_child)


def _read_child(parent: Workflow, file: str) -> Workflow:
    """The workflow behind a file name in another, whose folder relative names are taken from."""
    folder = Path(parent.file).absolute().parent if parent.file is not None else Path.cwd()
    return load_workflow(folder / file)


def narrowed(workflow: Workflow, steps: Sequence[str] | None) -> Workflow:
    """The workflow with these steps alone."""
    if steps is None:
        return workflow
    kept = {
        name: step.model_copy(update={"after": [before for before in step.after if before in steps]})
        for name, step in workflow.steps.items()
        if name in steps
    }
    return workflow.model_copy(update={"steps": kept})
