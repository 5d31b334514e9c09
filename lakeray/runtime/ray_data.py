"""Tasks as a Ray Data dataset: for large batches, which Ray Data spreads over a cluster with its own backpressure."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from lakeray.importer.executor import Died, Task, Told
from lakeray.importer.task import Advanced
from lakeray.runtime.cluster import Cluster


class RayData:
    """One row a task in, one row an outcome out; rows of the lake never pass through the dataset.

    A block whose worker dies has no row at all (``max_errored_blocks=-1``), which is how a death shows; Ray does not
    retry it. An exception comes back as a value, since Ray Data would count it as an errored block too. A dataset
    costs about a second before its first task runs.
    """

    def __init__(self, name: str, cluster: Cluster) -> None:
        self._name = name
        self._cluster = cluster

    @property
    def slots(self) -> int:
        """CPUs of the cluster."""
        return self._cluster.slots

    def run(self, tasks: Sequence[Task]) -> Iterator[Told]:
        """Run all of them."""
        if not tasks:  # a batch of objects that are only recorded; Ray Data makes no dataset of nothing
            return
        self._cluster.connect()
        import ray.data

        rows = [{"index": index, "task": pickle.dumps(task)} for index, task in enumerate(tasks)]
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
        _silence(dataset.context)
        dataset.set_name(self._name.replace("/", "."))  # the name becomes part of a log file's name
        with warnings.catch_warnings():
            # `max_retries` has no named parameter yet, and Ray 2.60 warns of every unnamed one.
            warnings.simplefilter("ignore")
            told = dataset.map_batches(_work, batch_size=None, num_cpus=1, max_retries=0)
        missing = set(range(len(tasks)))
        for batch in told.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in batch.to_pylist():
                message = pickle.loads(row["message"])  # noqa: S301 - written by our own worker a moment ago
                if isinstance(message, Exception):
                    raise message
                if not isinstance(message, Advanced):
                    missing.discard(row["index"])
                yield Told(row["index"], message)
        for index in sorted(missing):
            yield Told(index, Died("its worker ended without a word (crash, exit, out of memory, or a lost node)"))


def _work(batch: dict[str, Any]) -> Iterator[dict[str, list[Any]]]:
    from lakeray.runtime.ray_tasks import work

    for index, data in zip(batch["index"], batch["task"], strict=True):
        try:
            for message in work(pickle.loads(data)):  # noqa: S301 - pickled by the driver of this very dataset
                yield {"index": [index], "message": [pickle.dumps(message)]}
        except Exception as error:  # noqa: BLE001 - every error travels to the driver, which raises it
            yield {"index": [index], "message": [pickle.dumps(error)]}


def _silence(context: Any) -> None:
    """Set up this dataset alone: the process's own context belongs to whoever else uses Ray Data here."""
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    context.verbose_stats_logs = False
    for name in ("ray.data", "ray.data._internal", "ray.data.dataset"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
