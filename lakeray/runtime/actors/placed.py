"""A run in the foreground whose steps that reserve `resources` are tasks of Ray; all else stays in this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from lakeray.config import Settings
from lakeray.runtime.actors.streams import Streams
from lakeray.runtime.actors.warm import Warm
from lakeray.runtime.actors.workers import Crew, RayWorkers
from lakeray.runtime.bench import utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.durable.calls import failure_of
from lakeray.runtime.durable.decision import CLAIMED
from lakeray.runtime.durable.local import LocalWorkers, about
from lakeray.runtime.durable.port import Job, Workers
from lakeray.runtime.durable.run import Place
from lakeray.workflow.commands import ReportFailure
from lakeray.workflow.state import RunState
from lakeray.workflow.todo import Work


def placing(settings: Settings, cluster: Cluster) -> Place:
    """What reserves resources on Ray, unless the settings say that nothing runs there."""

    def place(local: LocalWorkers, state: RunState) -> Workers:
        reserves = any(plan.resources for plan in state.definition.steps.values())
        return Placed(local, settings, cluster) if reserves and settings.executor != "inline" else local

    return place


@dataclass(eq=False)
class Placed:
    """Keeps the contract of ``Workers`` for one run."""

    local: LocalWorkers
    settings: Settings
    cluster: Cluster
    _ray: RayWorkers | None = None
    _starting: dict[str, bool] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def room(self, work: Work, before: Sequence[Work]) -> bool:
        """See ``Workers``."""
        return reserves(work) or self.local.room(work, [each for each in before if not reserves(each)])

    def start(self, job: Job) -> None:
        """See ``Workers``. Ray may have to be started first, which takes seconds."""
        if not reserves(job.work):
            self.local.start(job)
            return
        with self._lock:
            self._starting[job.work.key] = True
        threading.Thread(target=self._start, args=(job,), name=job.work.key, daemon=True).start()

    def stop(self, key: str) -> None:
        """See ``Workers``."""
        self.local.stop(key)
        with self._lock:
            if key in self._starting:
                self._starting[key] = False
            elif self._ray is not None:
                self._ray.stop(key)

    def _start(self, job: Job) -> None:
        try:
            self.cluster.connect()
        except Exception as error:  # noqa: BLE001 - the run hears of it
            with self._lock:
                del self._starting[job.work.key]
            job.done(about(ReportFailure, job, utc_now(), error=failure_of(error)))
            return
        with self._lock:
            wanted = self._starting.pop(job.work.key)
            if wanted:
                self._workers().start(job)
        if not wanted:
            job.done(None)

    def _workers(self) -> RayWorkers:
        if self._ray is None:
            streams = Streams()
            self._ray = RayWorkers(Crew(settings=self.settings, streams=streams, warm=Warm(streams, 0), gates=None))
        return self._ray


def reserves(work: Work) -> bool:
    """Whether the work is a step's own, for which the file reserves resources."""
    return isinstance(work, CLAIMED) and bool(work.plan.resources)
