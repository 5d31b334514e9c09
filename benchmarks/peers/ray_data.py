"""Ray Data's own Delta writer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.answers import Written
from benchmarks.peers import ray_local

stop = ray_local.stop


def start() -> None:
    """Start Ray, silence its bars."""
    ray_local.start()
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False


def w1(source: Path, out: Path) -> Callable[[], Written]:
    """Parquet to Delta."""
    import ray.data

    table = out / "table"

    def work() -> Written:
        ray.data.read_parquet(str(source)).write_delta(str(table))
        return Written(table=table)

    return work


def w2(source: Path, out: Path) -> Callable[[], Written]:
    """JSON lines to Delta."""
    import ray.data

    table = out / "table"

    def work() -> Written:
        read = ray.data.read_json(str(source), file_extensions=None, arrow_open_stream_args={"compression": "gzip"})
        read.map_batches(_microseconds, batch_format="pyarrow", batch_size=None).write_delta(str(table))
        return Written(table=table)

    return work


def _microseconds(table):  # type: ignore[no-untyped-def]
    """The times, inferred in seconds, in the microseconds that Delta takes."""
    import pyarrow as pa

    place = table.schema.get_field_index("at")
    return table.set_column(place, "at", table["at"].cast(pa.timestamp("us", tz="UTC")))
