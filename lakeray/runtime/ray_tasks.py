"""Tasks as a wave of bare Ray tasks: the lean path, some 10 ms each beyond their work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from lakeray.importer.executor import Died, Task, Told
from lakeray.runtime.cluster import Cluster


class RayTasks:
    """Each task is a streaming generator, so that what it says arrives while it runs.

    Ray never retries one: the batch's manifest decides what is run again. ``name`` is what the dashboard shows.
    """

    def __init__(self, name: str, cluster: Cluster) -> None:
        self._name = name
        self._cluster = cluster

    @property
    def slots(self) -> int:
        """CPUs of the cluster."""
        return self._cluster.slots

    def run(self, tasks: Sequence[Task]) -> Iterator[Told]:
        """Run all of them, at most as many at once as there are CPUs."""
        limit = self.slots
        import ray

        remote = ray.remote(work).options(num_cpus=1, max_retries=0, num_returns="streaming", name=self._name)
        waiting = deque(enumerate(tasks))
        streams: dict[Any, int] = {}
        try:
            while waiting or streams:
                while waiting and len(streams) < limit:
                    index, task = waiting.popleft()
                    streams[remote.remote(task)] = index
                ready, _ = ray.wait(list(streams), num_returns=1, timeout=1.0)
                for stream in ready:
                    told = _next(stream, streams[stream])
                    if told is None or isinstance(told.message, Died):
                        del streams[stream]
                    if told is not None:
                        yield told
        finally:
            for stream in streams:
                ray.cancel(stream, force=True)


def work(task: Task) -> Iterator[Any]:
    """What the worker runs."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(2)
    yield from task.run()


def _next(stream: Any, index: int) -> Told | None:
    """What the stream says next; None at its end. Raises what the task raised."""
    import ray
    from ray import exceptions

    try:
        return Told(index, ray.get(next(stream)))
    except StopIteration:
        return None
    except exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except exceptions.RayError as error:
        said = death(error)
        if said is None:
            raise
        return Told(index, Died(said))


def death(error: BaseException) -> str | None:
    """How a worker died, for people; None where the error says nothing of the kind."""
    from ray import exceptions

    if isinstance(error, exceptions.OutOfMemoryError):
        return "out of memory (killed by Ray's memory monitor)"
    if isinstance(error, exceptions.NodeDiedError):
        return "its node was lost"
    ended = (
        exceptions.WorkerCrashedError,
        exceptions.RaySystemError,
        exceptions.ObjectLostError,
        exceptions.ActorDiedError,
        exceptions.ActorUnavailableError,
    )
    if isinstance(error, ended):
        return "the process ended unexpectedly (crash, exit, or killed by the operating system for its memory)"
    return None
