"""Keys of staged rows: in which share of them each belongs, and where its row is.

A batch too large for one task is divided by a hash of the key, so that equal keys meet in one task. Rows without a
whole key have no duplicates and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.query import quoted_name, stream_at
from lakeray.errors import TransformError
from lakeray.importer.provenance.columns import RowsOf
from lakeray.importer.sets.staged_rows import OBJECT, ORDINAL, StagedRows

PLACE, POSITION = "__lakeray_place", "__lakeray_position"
FEW_ROWS = 500_000
"""Rows up to which one task is enough where memory allows it."""
_TEXT_BYTES = 12
_COLUMN_BYTES, _ROW_BYTES = 32, 40
"""What a key column and the marks of one row take in memory, about; for the number of shares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableAt:
    """One version of a table, but for the rows that ``going`` picks."""

    uri: str
    version: int
    going: RowsOf | None = None

    def rows(self, names: Sequence[str], condition: str, *, at_once: int) -> Iterator[pa.Table]:
        """The columns ``names`` of the rows for which ``condition`` (SQL) is true, about ``at_once`` rows a table."""
        read = list(dict.fromkeys((*names, *(self.going.columns if self.going else ()))))
        listed = ", ".join(map(quoted_name, read))
        sql = f"SELECT {listed} FROM this WHERE {condition}"  # noqa: S608 - quoted
        for piece in stream_at(self.uri, self.version, sql, rows=at_once):
            stay = piece.filter(pc.invert(self.going.pick(piece))) if self.going else piece
            yield stay.select(list(names))


def shares(staged: StagedRows, columns: int, *, memory_bytes: int, slots: int) -> int:
    """Into how many tasks the rows of ``staged`` are divided by key: so many that each holds half its memory."""
    needed = staged.count * row_bytes(columns)
    least = slots if staged.count > FEW_ROWS else 1
    return max(least, -(-needed // (memory_bytes // 2)))


def row_bytes(columns: int) -> int:
    """What a row of so many key columns takes in memory, about."""
    return columns * _COLUMN_BYTES + _ROW_BYTES


def share_of(keys: Sequence[pa.ChunkedArray], parts: int) -> np.ndarray[Any, Any]:
    """The share of each row, from the values of its key; equal keys have one share."""
    mixed = np.zeros(len(keys[0]), dtype=np.uint64)
    for column in keys:
        mixed = (mixed ^ _codes(column)) * np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing (Knuth, TAOCP 3, 6.4)
        mixed ^= mixed >> np.uint64(32)
    return np.asarray(mixed % np.uint64(parts), dtype=np.int64)


def _codes(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """A number for each value, equal for equal ones; nulls have any. Of texts the last bytes count, with the length."""
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        return np.asarray(column.fill_null(0.0).to_numpy() + 0.0).view(np.uint64)
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        column = column.cast(pa.int32()) if pa.types.is_date32(kind) else column
        return np.asarray(column.cast(pa.int64()).fill_null(0).to_numpy()).view(np.uint64)
    text = column.cast(pa.large_string() if not pa.types.is_binary(kind) else pa.large_binary()).fill_null("")
    joined = text.combine_chunks()
    _, offsets, data = joined.buffers()
    ends = np.frombuffer(offsets, np.int64)[joined.offset : joined.offset + len(joined) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    lengths = np.diff(ends)
    code = lengths.astype(np.uint64)
    for back in range(1, _TEXT_BYTES + 1):
        letters = content[np.maximum(ends[1:] - back, 0)]
        code = code * np.uint64(257) + np.where(lengths >= back, letters, 0).astype(np.uint64)
    return code


def incomparable(key: Sequence[str], error: Exception) -> TransformError:
    """What to say of a key that Arrow cannot compare."""
    return TransformError(
        f"rows cannot be compared by {', '.join(key)}: {error}",
        hint="a key is made of columns of plain types: texts, numbers, dates, timestamps",
    )


def whole_keys(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """The rows whose key has no null."""
    keep = np.ones(rows.num_rows, dtype=bool)
    for name in key:
        keep &= rows[name].is_valid().to_numpy()
    return rows if keep.all() else rows.filter(pa.array(keep))


def piece_of(group: pa.Table, place: int, position: int) -> pa.Table:
    """Rows that follow each other in the file at ``place`` from ``position`` on, with where they are."""
    count = group.num_rows
    where = group.append_column(PLACE, pa.repeat(pa.scalar(place, pa.int32()), count))
    return where.append_column(POSITION, pa.array(np.arange(position, position + count, dtype=np.int64)))


def keyed_rows(staged: StagedRows, key: Sequence[str], more: Sequence[str], *, part: int, parts: int) -> pa.Table:
    """The rows of one share with a whole key: their ``key`` and ``more`` columns, origin, file and position in it."""
    columns = list(dict.fromkeys((*key, *more)))
    held: list[pa.Table] = [keyed_schema(staged, columns).empty_table()]
    for place, file in enumerate(staged.files):
        position = 0
        for group in staged.groups(file, columns):
            rows = whole_keys(piece_of(group, place, position), key)
            position += group.num_rows
            if parts > 1:
                rows = rows.filter(pa.array(share_of([rows[name] for name in key], parts) == part))
            held.append(rows)
    return pa.concat_tables(held[1:] or held)


def keyed_schema(staged: StagedRows, columns: Sequence[str]) -> pa.Schema:
    """The columns of ``keyed_rows`` where there are none."""
    names = [staged.schema.field(name) for name in columns]
    marks = [(OBJECT, pa.int32()), (ORDINAL, pa.int64()), (PLACE, pa.int32()), (POSITION, pa.int64())]
    return pa.schema([*names, *marks])
