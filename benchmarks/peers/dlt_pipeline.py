"""dlt into its filesystem destination, with Delta as the table format."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.answers import Written


def start() -> None:
    """No telemetry, no log, as many workers as there are cores."""
    cores = str(os.cpu_count() or 1)
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"
    os.environ["EXTRACT__WORKERS"] = os.environ["NORMALIZE__WORKERS"] = os.environ["LOAD__WORKERS"] = cores
    os.environ["DATA_WRITER__FILE_MAX_ITEMS"] = "100000"  # parts, or one core would normalize all of it


def w1(source: Path, out: Path) -> Callable[[], Written]:
    """Parquet to Delta."""
    import pyarrow.parquet as pq

    def batches() -> Iterator[Any]:
        for path in sorted(source.iterdir()):
            yield from pq.ParquetFile(path).iter_batches(batch_size=250_000)

    return _load(batches, out)


def w2(source: Path, out: Path) -> Callable[[], Written]:
    """JSON lines to Delta."""
    import orjson

    def pages() -> Iterator[Any]:
        for path in sorted(source.iterdir()):
            with gzip.open(path, "rb") as file:
                rows = [orjson.loads(line) for line in file]
            for start in range(0, len(rows), 5_000):
                yield rows[start : start + 5_000]

    return _load(pages, out)


def _load(rows: Callable[[], Iterator[Any]], out: Path) -> Callable[[], Written]:
    import dlt
    from dlt.destinations import filesystem

    def work() -> Written:
        pipeline = dlt.pipeline(
            pipeline_name=f"bench_{out.name}",
            pipelines_dir=str(out / "pipelines"),
            destination=filesystem(bucket_url=str(out / "lake")),
            dataset_name="bench",
        )
        resource = dlt.resource(rows, name="rows", table_format="delta")
        pipeline.run(resource, loader_file_format="parquet").raise_on_failed_jobs()
        return Written(table=out / "lake" / "bench" / "rows")

    return work
