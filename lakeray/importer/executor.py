"""The port behind which tasks run: in this process, as Ray tasks, or as a Ray Data dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Task(Protocol):
    """A picklable value that does some work in a worker process."""

    def run(self) -> Iterator[Any]:
        """Do the work; yields messages, the outcome last."""
        ...


@dataclass(frozen=True, slots=True)
class Died:
    """The worker that ran the task ended without a word; ``reason`` is what the cluster says of it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Breath:
    """A task that does nothing: a worker that dies of it would die of anything."""

    def run(self) -> Iterator[None]:
        """One message."""
        yield None


@dataclass(frozen=True, slots=True)
class Told:
    """What the task at ``index`` said: progress, its outcome, or nothing any more."""

    index: int
    message: Any


class Executor(Protocol):
    """Runs independent tasks.

    - ``run`` yields what the tasks say, in any order; a task whose worker died ends with Died.
    - An exception that a task raises is raised here, with its type; tasks that still run are cancelled.
    - A task is started once: whether it is run again is the caller's decision.
    """

    @property
    def slots(self) -> int:
        """How many tasks run at the same time."""
        ...

    def run(self, tasks: Sequence[Task]) -> Iterator[Told]:
        """Run all of them."""
        ...


class InlineExecutor:
    """Runs the tasks one after another in this process."""

    slots = 1

    def run(self, tasks: Sequence[Task]) -> Iterator[Told]:
        """Run all of them."""
        for index, task in enumerate(tasks):
            for message in task.run():
                yield Told(index, message)
