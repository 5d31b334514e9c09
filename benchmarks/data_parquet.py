"""W1's input: flat Parquet files of five columns, about 25 bytes a row, snappy like most lakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.hashing import below, fraction

EPOCH_US = 1_704_067_200_000_000
"""2024-01-01T00:00:00Z."""
_NAMES = 200_000
_SPREAD_US = 3_600_000_000


def rows(first: int, count: int) -> pa.Table:
    """Rows ``first`` to ``first + count``: ids scrambled within the file, times within an hour of a steady clock."""
    ids = np.arange(first, first + count, dtype=np.uint64)
    ids = ids[np.argsort(below(ids, 1, 1 << 30), kind="stable")]
    placed_at = EPOCH_US + ids.astype(np.int64) * 500_000 + below(ids, 2, _SPREAD_US)
    names = pa.array([f"customer-{number:06d}" for number in range(_NAMES)])
    return pa.table(
        {
            "id": pa.array(ids.astype(np.int64)),
            "amount": pa.array(np.round(fraction(ids, 3) * 10_000, 2)),
            "quantity": pa.array(below(ids, 4, 10_000), pa.int64()),
            "customer": names.take(pa.array(below(ids, 5, _NAMES))),
            "placed_at": pa.array(placed_at).cast(pa.timestamp("us", tz="UTC")),
        }
    )


def write(path: Path, first: int, count: int) -> dict[str, Any]:
    """One file."""
    table = rows(first, count)
    pq.write_table(table, path, compression="snappy", row_group_size=250_000)
    times = table["placed_at"].cast(pa.int64())
    return {
        "rows": count,
        "sum_id": pa.compute.sum(table["id"]).as_py(),
        "sum_quantity": pa.compute.sum(table["quantity"]).as_py(),
        "min_time_us": pa.compute.min(times).as_py(),
        "max_time_us": pa.compute.max(times).as_py(),
    }
