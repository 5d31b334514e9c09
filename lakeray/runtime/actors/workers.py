"""A run's work on Ray: heavy steps as tasks of their own, short ones in warm processes, gates by their controller.

- A step is a task of its own where the file reserves `resources` or sets `timeouts` for it, where it is an import,
  upkeep or takes rows out again, and once it has taken a process with it: others shall not die of it.
- A task is named `workflow/run/step` in Ray's dashboard.
- Work that is asked to stop has the crew's ``grace_s`` seconds for it; then its process is ended.
- Of a worker that dies the run hears as ``worker_died``, once Ray knows it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from lakeray.config import Settings
from lakeray.runtime.actors.order import Doing, Order, order_of
from lakeray.runtime.actors.streams import Streams
from lakeray.runtime.actors.warm import Call, Warm
from lakeray.runtime.bench import utc_now
from lakeray.runtime.durable.local import about
from lakeray.runtime.durable.port import Job
from lakeray.runtime.ray_tasks import death
from lakeray.workflow import commands as c
from lakeray.workflow import todo as t
from lakeray.workflow.commands import decode_command
from lakeray.workflow.events import Failure

_log = logging.getLogger(__name__)
GRACE_S = 20.0
"""Seconds that work has to end when it is asked to, unless somebody says otherwise."""
_AFTER_A_DEFECT_S = 5.0
_JUDGES = (t.JudgeGate, t.JudgeCondition)
_HEAVY = ("import", "maintain")


@dataclass(frozen=True, kw_only=True)
class Crew:
    """All that the runs of one process work with. ``gates`` is the gate controller's handle."""

    settings: Settings
    streams: Streams
    warm: Warm
    gates: Any
    grace_s: float = GRACE_S


def do_order(order: Order) -> Iterator[bytes]:
    """What a task runs."""
    yield from Doing(order).said()


@dataclass(eq=False)
class RayWorkers:
    """Keeps the contract of ``Workers`` for one run."""

    crew: Crew
    _running: dict[str, _Running] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def room(self, work: t.Work, before: Any) -> bool:  # noqa: ARG002 - the port's
        """Always: what Ray has no room for yet waits in its line."""
        return True

    def start(self, job: Job) -> None:
        """See ``Workers``."""
        running = _Running(job=job, crew=self.crew, over=self._over)
        with self._lock:
            self._running[job.work.key] = running
        running.start()

    def stop(self, key: str) -> None:
        """See ``Workers``."""
        with self._lock:
            running = self._running.get(key)
        if running is not None:
            running.stop()

    def _over(self, key: str) -> None:
        with self._lock:
            self._running.pop(key, None)


@dataclass(eq=False)
class _Running:
    """One job on its way."""

    job: Job
    crew: Crew
    over: Any
    _call: Call | None = None
    _task: Any = None
    _stopping: bool = False
    _ended: bool = False
    _report: c.Command | None = None

    def start(self) -> None:
        try:
            self._start()
        except Exception as error:  # noqa: BLE001 - the port raises nothing; the run hears of it
            self._end(error)

    def _start(self) -> None:
        job = self.job
        order = order_of(job, self.crew.settings)
        title = f"{job.state.definition.workflow}/{job.state.run_id}/{job.work.step}"
        if isinstance(job.work, _JUDGES):
            stream = self.crew.gates.judge.options(num_returns="streaming", name=title).remote(order)
            self.crew.streams.follow(stream, self._heard, self._end)
        elif wants_task(job):
            self._task = start_task(order, title)
            self.crew.streams.follow(self._task, self._heard, self._end)
        else:
            self._call = Call(order=order, title=title, heard=self._heard, over=self._end)
            self.crew.warm.begin(self._call)

    def stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._ask(force=False)
            self.crew.streams.later(self.crew.grace_s, self._by_force)

    def _by_force(self) -> None:
        if not self._ended:
            _log.warning("%s did not end within %g s: its process is ended", self.job.work.key, self.crew.grace_s)
            self._ask(force=True)

    def _ask(self, *, force: bool) -> None:
        if self._call is not None:
            self.crew.warm.stop(self._call, force=force)
        elif self._task is not None:
            import ray

            # Softly the task alone: the tasks of its import finish what the import then decides about.
            ray.cancel(self._task, force=force, recursive=force)

    def _heard(self, data: bytes) -> None:
        command = decode_command(data)
        if isinstance(command, c.ReportHeartbeat):
            self.job.tell(command)
        else:
            self._report = command

    def _end(self, error: BaseException | None) -> None:
        self._ended = True
        self.over(self.job.work.key)
        if self._report is not None or error is None:
            self.job.done(self._report)
        elif isinstance(self.job.work, _JUDGES):
            _log.warning("%s is judged again: %s", self.job.work.key, error)
            self.crew.streams.later(_AFTER_A_DEFECT_S, lambda: self.job.done(None))
        elif self._stopping:
            self.job.done(about(c.ReportStopped, self.job, utc_now()))
        else:
            self.job.done(about(c.ReportFailure, self.job, utc_now(), **_failed(self.job, error)))


def _failed(job: Job, error: BaseException) -> dict[str, Any]:
    how = death(error)
    if how is None:
        _log.error("%s could not be done on Ray", job.work.key, exc_info=error)
        failure = Failure(code="ray", message=f"Ray could not do it: {str(error)[:500]}", hint="see the log of Ray")
        return {"error": failure}
    failure = Failure(
        code="worker_died",
        message=f"the worker of step {job.work.step} died: {how}",
        hint="nobody knows how far it came: it is tried again with the same idempotency key",
    )
    return {"error": failure, "cause": "worker_died"}


def wants_task(job: Job) -> bool:
    """Whether the work is a task of its own."""
    work = job.work
    if isinstance(work, t.Compensate) and work.plan.compensate == "withdraw":
        return True
    if not isinstance(work, t.RunAttempt | t.RunChunk | t.Compensate):
        return False
    plan = work.plan
    limited = any(getattr(plan.timeouts, name) is not None for name in ("start_to_close_s", "heartbeat_s"))
    return plan.kind in _HEAVY or bool(plan.resources) or limited or _deaths(job) > 0


def _deaths(job: Job) -> int:
    """How many attempts at the work have taken their worker with them."""
    work, step = job.work, job.state.steps[job.work.step]
    if isinstance(work, t.RunChunk):
        return step.map.tries_of(work.chunk).deaths if step.map is not None else 0
    if isinstance(work, t.Compensate):
        return step.undo.deaths if step.undo is not None else 0
    return step.tries.deaths


def start_task(order: Order, title: str) -> Any:
    """A task for the order with the resources that its step asks for; what it says is a stream.

    The driver of an import reserves nothing of its own: its tasks do, and would wait for it otherwise.
    """
    plan = getattr(order.work, "plan", None)
    asked = dict(plan.resources) if plan is not None else {}
    heavy = plan is not None and plan.kind in _HEAVY
    known: dict[str, float] = {name: asked.pop(name) for name in ("num_cpus", "num_gpus") if name in asked}
    known.setdefault("num_cpus", 0 if heavy else 1)
    if "memory" in asked:
        known["memory"] = int(asked.pop("memory"))
    options = {"name": title, "max_retries": 0, "num_returns": "streaming", "resources": asked or None}
    return _remote().options(**options, **known).remote(order)


@cache
def _remote() -> Any:
    """Made once: Ray sends the function to the cluster for every one that is made of it."""
    import ray

    return ray.remote(do_order)
