"""A store with its owner and a clock in the test's hands: runs are accepted and end when the test says so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lakeray import failpoints
from lakeray.errors import StateUnavailable, StoreUnavailable
from lakeray.runtime.durable import journal
from lakeray.runtime.durable.triggers.registered import Files, Registered
from lakeray.spec.load import load_workflow
from lakeray.state import EventStore, RunHead, open_event_store, shard_of
from lakeray.workflow import commands as c
from lakeray.workflow.compile import compile_definition
from lakeray.workflow.decide import decided
from lakeray.workflow.events import Failure

NOW = datetime(2024, 5, 1, 12, 1, tzinfo=UTC)
STEP = 'steps: {a: {python: "m:f", retry: {maximum_attempts: 1}}}'


class AtOnce(Executor):
    """A pool that does everything in the caller's thread."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as pools do
            future.set_exception(error)
        return future


class World:
    def __init__(self, folder: Path, uri: str | None = None) -> None:
        self.store: EventStore = open_event_store(uri or f"sqlite:///{folder}/state.db", shards=2 if uri else 1)
        self.leases = [self.store.lease(shard, "owner", 3600) for shard in range(self.store.shards)]
        self.now = NOW

    def clock(self) -> datetime:
        return self.now

    def passes(self, **by: float) -> None:
        self.now += timedelta(**by)

    def add(self, text: str) -> Registered:
        """Register a workflow file."""
        return Files(self.store).add(compile_definition(load_workflow(text)), principal="ann", at=self.now)

    def own(self) -> list[RunHead]:
        """Hear what was sent, as an owner does; the runs that there are, the oldest first."""
        for sent in [each for shard in range(self.store.shards) for each in self.store.received(shard, 1000)]:
            try:
                self.tell(sent.run_id, c.decode_command(sent.data))
            finally:
                self.store.answer(sent, b"{}")
        return list(reversed(self.store.runs(limit=1000).runs))

    def tell(self, run_id: str, command: c.Command) -> None:
        before = journal.load(self.store, run_id)
        done = decided(before, command)
        if done.events:
            expected = before.sequence if before is not None else 0
            self.store.append(journal.append_of(done.state, done.events, expected=expected, epoch=self._epoch(run_id)))

    def _epoch(self, run_id: str) -> int:
        return self.leases[shard_of(run_id, self.store.shards)].epoch

    def end(self, run_id: str, *, failed: bool = False) -> None:
        """The run's only step is done."""
        about = {"at": self.now, "step": "a", "attempt": 1}
        error = Failure(code="boom", message="it broke", retryable=False)
        self.tell(run_id, c.ReportFailure(**about, error=error) if failed else c.ReportSuccess(**about))

    def arguments(self, run_id: str) -> dict[str, Any]:
        state = journal.load(self.store, run_id)
        assert state is not None
        return state.arguments


@contextmanager
def dying_at(point: str, monkeypatch: pytest.MonkeyPatch):
    """Whatever passes the failpoint is cut off there."""
    monkeypatch.setattr(failpoints, "_ARMED", {point: ("error", 1)})
    monkeypatch.setattr(failpoints, "_PASSES", {})
    with pytest.raises((StateUnavailable, StoreUnavailable), match=point):
        yield
    monkeypatch.setattr(failpoints, "_ARMED", {})


def until_it_passes(point: str, monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> None:
    """Do the work, cut off at the failpoint once."""
    with dying_at(point, monkeypatch):
        work()
    work()
