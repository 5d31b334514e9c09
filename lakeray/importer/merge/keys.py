"""Which rows are the same, by columns of any comparable type and number.

Rows are looked up by one array, sorted by it and cut into ranges of it: the key column itself, or where there are
several, a text that two rows share exactly when they share all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.files import Bounds, DataFile

_RUNS = 256
_TICK = timedelta(milliseconds=1)


def key_array(table: pa.Table, key: Sequence[str]) -> pa.Array:
    """One value a row, equal for rows of one key; null where a key column is null, which is equal to nothing."""
    if len(key) == 1:
        return _combined(table.column(key[0]))
    parts: list[pa.Array] = []
    for name in key:
        text = _bytes(_combined(table.column(name)))
        parts += [pc.cast(pc.cast(pc.binary_length(text), pa.string()), pa.binary()), text]
    joined = pc.binary_join_element_wise(*parts, pa.scalar(b"\x00", pa.binary()))
    return _combined(joined)


def _combined(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if not isinstance(column, pa.ChunkedArray):
        return column
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined


def _bytes(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_binary(kind):
        return column
    if pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
    return column.cast(pa.string()).cast(pa.binary())


def group_ends(keys: pa.Array) -> np.ndarray[Any, Any]:
    """For each row of sorted, non-null ``keys`` whether the next row has another key."""
    count = len(keys)
    if count == 0:
        return np.zeros(0, dtype=bool)
    differ = pc.not_equal(keys.slice(0, count - 1), keys.slice(1)).to_numpy(zero_copy_only=False)
    return np.append(differ.astype(bool), True)


@dataclass(frozen=True, kw_only=True, slots=True)
class Zones:
    """Where the values of one column lie: disjoint runs ``lows[i] <= value <= highs[i]``, ascending."""

    lows: list[Any]
    highs: list[Any]

    @classmethod
    def of(cls, column: pa.ChunkedArray, *, sort: bool = True) -> Zones:
        """The zones of a column without nulls: runs of about as many values each."""
        values = _combined(column)
        values = values.take(pc.array_sort_indices(values)) if sort else values
        edges = np.unique(np.linspace(0, len(values), min(_RUNS, len(values)) + 1).astype(np.int64))
        firsts, lasts = pa.array(edges[:-1]), pa.array(edges[1:] - 1)
        return cls(lows=values.take(firsts).to_pylist(), highs=values.take(lasts).to_pylist())

    def overlap(self, low: Any, high: Any) -> bool:
        """Whether a value may lie between ``low`` and ``high`` (None: without a bound)."""
        try:
            return any((high is None or a <= high) and (low is None or b >= low) for a, b in self._runs())
        except TypeError:  # a statistic of another type than the column's
            return True

    def _runs(self) -> list[tuple[Any, Any]]:
        return list(zip(self.lows, self.highs, strict=True))


def may_hold(file: DataFile, zones: dict[str, Zones]) -> bool:
    """Whether the log allows that the file holds a row whose every key column lies in that column's zones."""
    return all(_column_may(file, name, zone) for name, zone in zones.items())


def _column_may(file: DataFile, name: str, zone: Zones) -> bool:
    if name in file.partition:
        value = file.partition[name]
        return value is not None and zone.overlap(value, value)
    bounds = file.bounds.get(name, Bounds())
    if file.rows is not None and bounds.nulls is not None and bounds.nulls >= file.rows:
        return False
    high = bounds.high
    # Other writers round an instant's upper bound down to the millisecond.
    high = high + _TICK if isinstance(high, datetime) else high
    return zone.overlap(bounds.low, high)
