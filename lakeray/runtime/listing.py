"""Large prefixes listed in parallel on Ray, in order, without ever holding more than some pages."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lakeray.objects import list_range, open_store, scheme
from lakeray.runtime.cluster import Cluster

SERIAL_ROWS = 20_000
PAGES_AHEAD = 8
RANGES_PER_SLOT = 4


def parallel_pages(prefix: str, *, cluster: Cluster) -> Iterator[pa.RecordBatch]:
    """All pages of ``prefix`` in order. The first 20,000 objects are listed here; only what is larger is split over
    the cluster.

    Local folders are always listed here: one process reads a disk's names as fast as several.
    """
    store = open_store(prefix)
    if scheme(prefix) == "file":
        yield from store.list(prefix)
        return
    seen = 0
    for page in store.list(prefix):
        yield page
        seen += page.num_rows
        if seen >= SERIAL_ROWS:
            yield from _split(prefix, page["uri"][-1].as_py(), cluster.slots)
            return


def _split(prefix: str, last: str, slots: int) -> Iterator[pa.RecordBatch]:
    """What is listed behind ``last``."""
    import ray

    ranges = open_store(prefix).split(prefix, slots * RANGES_PER_SLOT)
    waiting = deque((max(start or "", last), end) for start, end in ranges if end is None or end > last)
    # No CPU: a listing waits for the network and, while a batch is imported in the middle of it, for its reader; it
    # must not hold what the batch's tasks need.
    remote = ray.remote(_pages).options(
        num_cpus=0, num_returns="streaming", name="lakeray list", _generator_backpressure_num_objects=PAGES_AHEAD
    )
    running: deque[Any] = deque()
    try:
        while waiting or running:
            while waiting and len(running) < slots * 2:
                running.append(remote.remote(prefix, *waiting.popleft()))
            for reference in running[0]:
                yield ray.get(reference)
            running.popleft()
    finally:
        for stream in running:
            ray.cancel(stream, force=True)


def _pages(prefix: str, start_after: str, up_to: str | None) -> Iterator[pa.RecordBatch]:
    yield from list_range(open_store(prefix), prefix, start_after, up_to)
