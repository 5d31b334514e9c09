"""Which way a batch's tasks take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lakeray.config import ExecutorKind
from lakeray.importer.executor import Executor, InlineExecutor, Task, Told
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.ray_data import RayData
from lakeray.runtime.ray_tasks import RayTasks

DATASET_FROM_TASKS_PER_SLOT = 8
"""From so many waves of tasks on, a dataset's fixed second no longer shows, while its backpressure and its place in
the dashboard do."""


class Adaptive:
    """Bare tasks for small batches, a Ray Data dataset for large ones."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        self._lean = RayTasks(name, cluster)
        self._dataset = RayData(name, cluster)

    @property
    def slots(self) -> int:
        """CPUs of the cluster."""
        return self._lean.slots

    def run(self, tasks: Sequence[Task]) -> Iterator[Told]:
        """Run all of them on the path that fits their number."""
        large = len(tasks) >= DATASET_FROM_TASKS_PER_SLOT * self.slots
        yield from (self._dataset if large else self._lean).run(tasks)


def executor(kind: ExecutorKind, *, name: str, cluster: Cluster) -> Executor:
    """``auto``, ``tasks``, ``dataset`` or ``inline`` (in this process, without Ray)."""
    if kind == "inline":
        return InlineExecutor()
    if kind == "tasks":
        return RayTasks(name, cluster)
    if kind == "dataset":
        return RayData(name, cluster)
    return Adaptive(name, cluster)
