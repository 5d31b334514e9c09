"""Large prefixes listed in parallel on Ray, in order, without ever holding more than some pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.objects import open_store
from lakeray.runtime.cluster import slots

SERIAL_ROWS = 20_000
PAGES_AHEAD = 8
RANGES_PER_SLOT = 4


@dataclass(frozen=True, slots=True)
class ListRange:
    """Part of a listing: uris in ``(start_after, up_to]``."""

    prefix: str
    start_after: str | None
    up_to: str | None

    def pages(self) -> Iterator[pa.RecordBatch]:
        """Its pages."""
        for page in open_store(self.prefix).list(self.prefix, start_after=self.start_after):
            if self.up_to is None:
                yield page
                continue
            kept = page.filter(pc.less_equal(page["uri"], self.up_to))
            if kept.num_rows:
                yield kept
            if kept.num_rows < page.num_rows:
                return


def parallel_pages(prefix: str) -> Iterator[pa.RecordBatch]:
    """All pages of ``prefix`` in order. The first 20,000 objects are listed here; only what is larger is split over the cluster."""
    store = open_store(prefix)
    if not store.remote:
        yield from store.list(prefix)
        return
    seen = 0
    last: str | None = None
    for page in store.list(prefix):
        yield page
        seen += page.num_rows
        last = page["uri"][-1].as_py()
        if seen >= SERIAL_ROWS:
            break
    else:
        return
    yield from _split(prefix, last)


def _split(prefix: str, last: str | None) -> Iterator[pa.RecordBatch]:
    import ray

    ranges = []
    for start, end in open_store(prefix).split(prefix, slots() * RANGES_PER_SLOT):
        if end is None or last is None or end > last:
            begin = last if start is None or (last is not None and last > start) else start
            ranges.append(ListRange(prefix, begin, end))
    remote = ray.remote(_pages).options(
        num_cpus=0.5, num_returns="streaming", name="lakeray list", _generator_backpressure_num_objects=PAGES_AHEAD
    )
    streams = [remote.remote(part) for part in ranges[: slots() * 2]]
    waiting = ranges[len(streams) :]
    while streams:
        stream = streams.pop(0)
        for reference in stream:
            yield ray.get(reference)
        if waiting:
            streams.append(remote.remote(waiting.pop(0)))


def _pages(part: ListRange) -> Iterator[pa.RecordBatch]:
    yield from part.pages()
