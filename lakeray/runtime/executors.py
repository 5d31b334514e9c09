"""Which way a batch's tasks take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lakeray.importer.executor import Executor, InlineExecutor, Task, Told
from lakeray.runtime.ray_data import RayData
from lakeray.runtime.ray_tasks import RayTasks

DATASET_FROM_TASKS_PER_SLOT = 8
"""From so many waves of tasks on, a dataset's fixed second no longer shows, while its backpressure and its place in
the dashboard do."""


class Adaptive:
    """Bare tasks for small batches, a Ray Data dataset for large ones."""

    def __init__(self, name: str) -> None:
        self._lean = RayTasks(name)
        self._dataset = RayData(name)

    @property
    def slots(self) -> int:
        """CPUs of the cluster."""
        return self._lean.slots

    def run(self, tasks: Sequence[Task]) -> Iterator[Told]:
        """Run all of them on the path that fits their number."""
        large = len(tasks) >= DATASET_FROM_TASKS_PER_SLOT * self.slots
        yield from (self._dataset if large else self._lean).run(tasks)


def executor(kind: str, *, name: str) -> Executor:
    """``auto``, ``tasks``, ``dataset`` or ``inline`` (in this process, without Ray)."""
    if kind == "inline":
        return InlineExecutor()
    if kind == "tasks":
        return RayTasks(name)
    if kind == "dataset":
        return RayData(name)
    return Adaptive(name)
