"""delta-rs alone, fed by pyarrow."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.answers import Written


def properties() -> Any:
    """The codec that everyone uses who has a choice."""
    from deltalake import WriterProperties

    return WriterProperties(compression="ZSTD", compression_level=1)


def w1(source: Path, out: Path) -> Callable[[], Written]:
    """Parquet to Delta."""
    import pyarrow.dataset as ds
    from deltalake import write_deltalake

    table, options = out / "table", properties()

    def work() -> Written:
        reader = ds.dataset(source, format="parquet").scanner().to_reader()
        write_deltalake(str(table), reader, writer_properties=options)
        return Written(table=table)

    return work


def w2(source: Path, out: Path) -> Callable[[], Written]:
    """JSON lines to Delta: files are parsed side by side, some ahead of the writer."""
    from deltalake import write_deltalake

    table, options = out / "table", properties()

    def work() -> Written:
        batches = _parsed(sorted(source.iterdir()))
        first = next(batches)
        reader = pa.RecordBatchReader.from_batches(first.schema, _chained(first, batches))
        write_deltalake(str(table), reader, writer_properties=options)
        return Written(table=table)

    return work


def _parsed(paths: list[Path]) -> Iterator[pa.RecordBatch]:
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[pa.Table]] = deque()
        for path in paths:
            ahead.append(pool.submit(_read, path))
            if len(ahead) > threads:
                yield from ahead.popleft().result().to_batches()
        while ahead:
            yield from ahead.popleft().result().to_batches()


def _chained(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _read(path: Path) -> pa.Table:
    """One file; its times, inferred in seconds, in the microseconds that Delta takes."""
    import pyarrow.json as pj

    table = pj.read_json(path, read_options=pj.ReadOptions(block_size=1 << 22))
    place = table.schema.get_field_index("at")
    return table.set_column(place, "at", table["at"].cast(pa.timestamp("us", tz="UTC")))
