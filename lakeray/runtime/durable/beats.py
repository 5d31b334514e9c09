"""Signs of life of imports: what their observer hears becomes heartbeats of the attempt, and is passed on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from lakeray.observability.progress import Observer
from lakeray.runtime.durable.port import Job
from lakeray.workflow import commands as c
from lakeray.workflow.todo import RunAttempt


class Beats:
    """An observer in front of another. Every batch is told to the run, other signs where silence ends an attempt."""

    def __init__(self, observer: Observer) -> None:
        self._to = observer
        self._jobs: dict[str, tuple[Job, RunAttempt, Callable[[], datetime]]] = {}

    @contextmanager
    def of(self, step: str, job: Job, clock: Callable[[], datetime]) -> Iterator[None]:
        """What is heard of the step meanwhile is about this attempt."""
        assert isinstance(job.work, RunAttempt)
        self._jobs[step] = (job, job.work, clock)
        try:
            yield
        finally:
            del self._jobs[step]

    def _tell(self, step: str, details: dict[str, int] | None = None) -> None:
        found = self._jobs.get(step)
        if found is not None:
            job, work, clock = found
            if details is not None or work.plan.timeouts.heartbeat_s is not None:
                job.tell(c.ReportHeartbeat(at=clock(), step=step, attempt=work.attempt, details=details))

    def import_started(self, *, step: str, source_uri: str, table_uri: str) -> None:
        """Pass it on."""
        self._to.import_started(step=step, source_uri=source_uri, table_uri=table_uri)

    def listing(self, *, step: str, listed: int, new: int) -> None:
        """A sign of life."""
        self._to.listing(step=step, listed=listed, new=new)
        self._tell(step)

    def batch_started(self, *, step: str, batch: int, objects: int, size_bytes: int) -> None:
        """A sign of life."""
        self._to.batch_started(step=step, batch=batch, objects=objects, size_bytes=size_bytes)
        self._tell(step)

    def advanced(self, *, step: str, batch: int, objects: int, rows: int, size_bytes: int) -> None:
        """A sign of life."""
        self._to.advanced(step=step, batch=batch, objects=objects, rows=rows, size_bytes=size_bytes)
        self._tell(step)

    def batch_ended(self, *, step: str, batch: int, rows_written: int, table_version: int, won: bool) -> None:
        """A batch is in: the history says so."""
        self._to.batch_ended(step=step, batch=batch, rows_written=rows_written, table_version=table_version, won=won)
        self._tell(step, {"batch": batch, "rows_written": rows_written, "table_version": table_version})

    def import_ended(self, *, step: str, source: str, rows_written: int, duration_s: float, errors: int) -> None:
        """Pass it on."""
        self._to.import_ended(step=step, source=source, rows_written=rows_written, duration_s=duration_s, errors=errors)

    def note(self, *, step: str, message: str) -> None:
        """Pass it on."""
        self._to.note(step=step, message=message)
