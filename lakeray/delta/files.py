"""The data files of one version of a table, with what its log knows of each.

Whoever removes a file must name it exactly as the log does, and may skip a file only by what its statistics promise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from lakeray.delta.partitions import partition_value
from lakeray.delta.table import TableHandle
from lakeray.errors import UnsupportedTable


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """What the log promises of one column in one file.

    Every value lies within ``low`` and ``high`` (None: nothing is promised; upper bounds of strings and instants may be
    loose); ``nulls`` counts nulls, None when nobody counted.
    """

    low: Any = None
    high: Any = None
    nulls: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFile:
    """A live data file.

    ``path`` is relative to the table and raw, ``logged`` the same as the log spells it (percent-encoded).
    ``partition_values`` are in the protocol's strings, ``partition`` in Python's values. ``rows`` is None without
    statistics. ``bounds`` holds the columns that were asked for, as far as the file has statistics of them.
    """

    path: str
    logged: str
    size_bytes: int
    rows: int | None
    partition_values: dict[str, str | None]
    partition: dict[str, Any]
    bounds: dict[str, Bounds] = field(default_factory=dict)


def data_files(handle: TableHandle, columns: Collection[str] = ()) -> list[DataFile]:
    """The live data files of the handle's version, with the statistics of the (top-level, not nested) ``columns``."""
    adds = pa.table(handle.delta.get_add_actions())
    count = adds.num_rows
    partitions = _children(adds, "partition", handle.partition_by)
    stats = {name: _children(adds, name, columns) for name in ("min", "max", "null_count")}
    rows = adds["num_records"].to_pylist() if "num_records" in adds.column_names else [None] * count
    found = []
    for place, (logged, size) in enumerate(zip(adds["path"].to_pylist(), adds["size_bytes"].to_pylist(), strict=True)):
        partition = {name: partitions[name][place] if name in partitions else None for name in handle.partition_by}
        found.append(
            DataFile(
                path=unquote(logged),
                logged=logged,
                size_bytes=size,
                rows=rows[place],
                partition_values={name: partition_value(value) for name, value in partition.items()},
                partition=partition,
                bounds=dict(_bounds(stats, columns, place)),
            )
        )
    return found


def _children(adds: pa.Table, name: str, wanted: Collection[str]) -> dict[str, list[Any]]:
    """The wanted children of a struct column as lists."""
    if name not in adds.column_names or not pa.types.is_struct(adds.schema.field(name).type):
        return {}
    column = adds[name].combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    kind = column.type
    return {
        kind.field(place).name: column.field(place).to_pylist()
        for place in range(kind.num_fields)
        if kind.field(place).name in wanted and not pa.types.is_nested(kind.field(place).type)
    }


def _bounds(
    stats: dict[str, dict[str, list[Any]]], columns: Collection[str], place: int
) -> Iterator[tuple[str, Bounds]]:
    for name in columns:
        low, high, nulls = (stats[part][name][place] if name in stats[part] else None for part in stats)
        if low is not None or high is not None or nulls is not None:
            yield name, Bounds(low=low, high=high, nulls=nulls)


def check_no_deletion_vectors(handle: TableHandle) -> None:
    """Raise UnsupportedTable when rows of live files are marked as deleted: reading a file would bring them back."""
    features = {*(handle.delta.protocol().reader_features or ()), *(handle.delta.protocol().writer_features or ())}
    if "deletionVectors" in features and pa.table(handle.delta.deletion_vectors()).num_rows:
        raise UnsupportedTable(
            f"the table at {handle.uri} has deletion vectors; nothing was written",
            uri=handle.uri,
            hint="have the engine that writes them purge them first (REORG TABLE ... APPLY (PURGE))",
        )
