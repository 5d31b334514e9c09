"""A piece of a run's work on its way to another process, and what is said about it there."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from lakeray.config import Settings
from lakeray.errors import StateFormat
from lakeray.observability.progress import Silent
from lakeray.runtime.bench import Bench, utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable.beats import Beats
from lakeray.runtime.durable.local import LocalWorkers
from lakeray.runtime.durable.port import Job
from lakeray.runtime.durable.threads import WarmThreads
from lakeray.spec.model import FROM_FILE, Workflow
from lakeray.workflow.commands import Command, encode_command
from lakeray.workflow.state import RunState, decode_state, encode_state
from lakeray.workflow.todo import Work

_LOOK_S = 0.2
_KEPT_WORKFLOWS = 64
_THREADS = WarmThreads()


@dataclass(frozen=True, kw_only=True)
class Order:
    """``work`` of the run whose state is in ``state`` (as in its snapshots), under ``settings``."""

    work: Work
    state: bytes
    settings: Settings


def order_of(job: Job, settings: Settings) -> Order:
    """The order for a job. Where runs are kept is not for those who do their work to know."""
    return Order(work=job.work, state=encode_state(job.state), settings=without_state(settings))


def without_state(settings: Settings) -> Settings:
    """The settings without the address of the state, which may hold a password."""
    return replace(settings, state=Settings().state)


class Doing:
    """Does an order in threads of this process; ``said`` yields commands as bytes, the ``report`` last.

    There is no report where the work was given up, to be taken up again by whoever owns the run then.
    """

    def __init__(self, order: Order) -> None:
        state = decode_state(order.state)
        if state is None:
            raise StateFormat("this process runs another version of lakeray", hint="install the same on every node")
        self.report: bytes | None = None
        self._key = order.work.key
        self._said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._workers = workers_of(state, order.settings)
        self._workers.start(Job(work=order.work, state=state, tell=self._tell, done=self._done))

    def _tell(self, command: Command) -> None:
        self._said.put(encode_command(command))

    def _done(self, command: Command | None) -> None:
        if command is not None:
            self.report = encode_command(command)
            self._said.put(self.report)
        self._over.set()
        self._said.put(None)

    def stop(self) -> None:
        """Ask the work to end soon."""
        self._workers.stop(self._key)

    def said(self) -> Iterator[bytes]:
        """What is said until the work is over. An interrupt (of Ray's ``cancel``) asks it to end soon.

        Ray takes nothing more from a task that it has interrupted, but only a task that goes on can be ended by force:
        however this ends, it waits for the work.
        """
        try:
            while (command := self._next()) is not None:
                if command:
                    yield command
        finally:
            self.stop()
            while not self._over.is_set():
                with suppress(KeyboardInterrupt):
                    self._over.wait(_LOOK_S)

    def _next(self) -> bytes | None:
        """What is said next, nothing where nothing was said for a moment, None at the end."""
        try:
            return self._said.get(timeout=_LOOK_S)  # not for ever: an interrupt is seen between two waits
        except queue.Empty:
            return b""


def workers_of(state: RunState, settings: Settings) -> LocalWorkers:
    """Workers that do all of a run's work in this process, watched by nobody but the run."""
    beats = Beats(Silent())
    bench = Bench(
        workflow=_workflow_of(state),
        settings=settings,
        cluster=Cluster(settings),
        observer=beats,
        run_id=state.run_id,
    )
    return LocalWorkers(bench=bench, beats=beats, clock=utc_now, threads=_THREADS)


_WORKFLOWS: dict[tuple[str, str | None], Workflow] = {}


def _workflow_of(state: RunState) -> Workflow:
    """Read once a process: checking a document takes longer than a short step."""
    key = (state.definition_hash, state.definition.file)
    found = _WORKFLOWS.get(key)
    if found is None:
        if len(_WORKFLOWS) >= _KEPT_WORKFLOWS:
            _WORKFLOWS.clear()
        found = _WORKFLOWS[key] = Workflow.model_validate(state.definition.document, context={FROM_FILE: True})
    return found
