"""A run in the memory of the orchestrator that drives it: a cache over the store, and what is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime

from lakeray.runtime.durable.decision import Asked, Taken
from lakeray.runtime.durable.port import Workers, WorkersOf
from lakeray.state import Append, Appended
from lakeray.workflow.events import Event
from lakeray.workflow.state import RunState
from lakeray.workflow.todo import Work, todo

Listener = Callable[[RunState, Sequence[Event]], None]
"""Told of a run's state after every append, with the events that led there; in the orchestrator's thread, briefly."""


@dataclass
class Sending:
    """An append whose reply is not there yet, with what follows from it. ``refused``: the store will not take it."""

    append: Append
    taken: Taken
    tries: int = 0
    future: Future[Appended] | None = None
    refused: bool = False


@dataclass(eq=False)
class Held:
    """One run. While an append is under way nothing is decided: what is asked meanwhile waits for the next turn.

    ``attended``: somebody wants it driven and its end told; others are held for a command and dropped.
    """

    run_id: str
    shard: int
    state: RunState | None = None
    workers: Workers | None = None
    workers_of: WorkersOf | None = None
    asked: deque[Asked] = field(default_factory=deque)
    at_work: dict[str, Work] = field(default_factory=dict)
    sending: Sending | None = None
    listeners: list[Listener] = field(default_factory=list)
    attended: bool = False
    leaving: list[Future[None]] = field(default_factory=list)
    parked: str | None = None
    snapshot_at: int = 0
    wake_at: datetime | None = None

    @property
    def sequence(self) -> int:
        """The run's newest event that the store has acknowledged."""
        return self.state.sequence if self.state is not None else 0

    @property
    def idle(self) -> bool:
        """Whether nothing of it is under way here. Of one that is parked nobody decides on what is said of it still."""
        return self.sending is None and not self.at_work and (not self.asked or self.parked is not None)

    def unsend(self) -> list[Asked]:
        """Count no longer on the append that is under way; what was asked for in it."""
        sending, self.sending = self.sending, None
        return [asked for asked, _ in sending.taken.told] if sending is not None else []

    def stop(self, keys: Iterable[str]) -> None:
        """Have work with these keys end soon."""
        for key in list(keys):
            if self.workers is not None:
                self.workers.stop(key)


def wanted(held: Held | None, now: datetime) -> set[str]:
    """Keys of the work that a run wants done now; of one that is not held, or is being left, none."""
    if held is None or held.state is None or held.leaving or held.parked is not None:
        return set()
    return {work.key for work in todo(held.state, now)}
