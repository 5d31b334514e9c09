"""Which staged rows have a key that another row has, found in memory that the batch cannot grow.

A batch too large for one task is divided by a hash of the key: each task reads the key columns of all files, a row
group at a time, and holds the rows of its share alone. A table's keys are streamed past them; the range of the share's
keys lets the engine pass over files that cannot hold any. Which row of a key stays depends on the manifest alone: rows
are ordered by their object's place in it and their place in the object.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.query import between, quoted_name, stream_at
from lakeray.errors import TransformError
from lakeray.importer.sets.staged_rows import OBJECT, ORDINAL, Marked, StagedRows, marked

RANK, PLACE, POSITION, FILLED = "__lakeray_rank", "__lakeray_place", "__lakeray_position", "__lakeray_filled"
STREAMED_ROWS = 500_000
_TEXT_BYTES = 12
_COLUMN_BYTES, _ROW_BYTES = 32, 40
"""What a key column and the marks of one row take in memory, about; for the number of shares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableAt:
    """One version of a table."""

    uri: str
    version: int


def shares(staged: StagedRows, columns: int, *, memory_bytes: int, slots: int) -> int:
    """Into how many tasks the rows of ``staged`` are divided by key: so many that each holds half its memory."""
    needed = staged.count * (columns * _COLUMN_BYTES + _ROW_BYTES)
    least = slots if staged.count > STREAMED_ROWS else 1
    return max(least, -(-needed // (memory_bytes // 2)))


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


def keyed_rows(staged: StagedRows, key: Sequence[str], more: Sequence[str], *, part: int, parts: int) -> pa.Table:
    """The rows of one share with a whole key: their ``key`` and ``more`` columns, origin, file and position in it."""
    columns = list(dict.fromkeys((*key, *more)))
    held: list[pa.Table] = []
    for place, file in enumerate(staged.files):
        position = 0
        for group in staged.groups(file, columns):
            count = group.num_rows
            keep = np.ones(count, dtype=bool)
            for name in key:
                keep &= group[name].is_valid().to_numpy()
            if parts > 1:
                keep &= share_of([group[name] for name in key], parts) == part
            where = group.append_column(PLACE, pa.repeat(pa.scalar(place, pa.int32()), count))
            where = where.append_column(POSITION, pa.array(np.arange(position, position + count, dtype=np.int64)))
            position += count
            held.append(where.filter(pa.array(keep)))
    if held:
        return pa.concat_tables(held)
    names = [staged.schema.field(name) for name in columns]
    marks = [(OBJECT, pa.int32()), (ORDINAL, pa.int64()), (PLACE, pa.int32()), (POSITION, pa.int64())]
    return pa.schema([*names, *marks]).empty_table()


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateTask:
    """Finds duplicates in one share; the message marks them.

    ``latest`` names a column whose largest value stays, otherwise ``keep`` decides. ``table`` is looked at too where it
    is given: its rows stay. ``window`` is (column, seconds): only rows of a key that close are duplicates.
    """

    staged: StagedRows
    key: tuple[str, ...]
    keep: Literal["first", "last"] = "first"
    latest: str | None = None
    table: TableAt | None = None
    window: tuple[str, float] | None = None
    part: int = 0
    parts: int = 1

    def run(self) -> Iterator[Marked]:
        """One message."""
        more = [name for name in (self.latest, self.window[0] if self.window else None) if name]
        rows = keyed_rows(self.staged, self.key, more, part=self.part, parts=self.parts)
        if not rows.num_rows:
            yield {}
            return
        try:
            lost = self._lost(_ranked(rows, self.latest))
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise TransformError(
                f"rows cannot be compared by {', '.join(self.key)}: {error}",
                hint="a key is made of columns of plain types: texts, numbers, dates, timestamps",
            ) from error
        yield marked(lost[PLACE].combine_chunks(), lost[POSITION].combine_chunks(), self.staged.files)

    def _lost(self, rows: pa.Table) -> pa.Table:
        there = np.zeros(rows.num_rows, dtype=bool)
        for known in self._table_rows(rows):
            there[self._matches(rows, known)] = True
        if self.window is not None:
            return rows.filter(pa.array(there | self._close_in_batch(rows, there)))
        which = "max" if self.keep == "last" or self.latest else "min"
        best = rows.select([*self.key, RANK]).group_by(list(self.key), use_threads=False).aggregate([(RANK, which)])
        stays = np.zeros(rows.num_rows, dtype=bool)
        stays[best[f"{RANK}_{which}"].to_numpy()] = True
        return rows.filter(pa.array(there | ~stays))

    def _table_rows(self, rows: pa.Table) -> Iterator[pa.Table]:
        """The table's keys (and times) that may be among the rows', a piece at a time."""
        if self.table is None:
            return
        names = [*self.key, *([self.window[0]] if self.window else [])]
        bounds = [pc.min_max(rows[name]).as_py() for name in self.key]
        filters = [between(name, b["min"], b["max"]) for name, b in zip(self.key, bounds, strict=True)]
        condition = " AND ".join(text for text in filters if text) or "true"
        listed = ", ".join(quoted_name(name) for name in names)
        sql = f"SELECT {listed} FROM this WHERE {condition}"  # noqa: S608 - quoted
        for piece in stream_at(self.table.uri, self.table.version, sql, rows=STREAMED_ROWS):
            yield piece.cast(pa.schema([rows.schema.field(name) for name in names]))

    def _matches(self, rows: pa.Table, known: pa.Table) -> np.ndarray[Any, Any]:
        """Ranks of the rows whose key, near in time where that matters, is among ``known``."""
        if self.window is None and len(self.key) == 1:
            found = pc.is_in(rows[self.key[0]], value_set=known[self.key[0]].combine_chunks())
            return np.flatnonzero(found.to_numpy())
        own = rows.select([*self.key, RANK])
        if self.window is None:
            hits = own.join(known, keys=list(self.key), join_type="left semi", use_threads=False)
            return np.asarray(hits[RANK].to_numpy())
        times = known.select(list(self.key)).append_column("__then", _instants(known[self.window[0]]))
        own = own.append_column("__now", _instants(rows[self.window[0]]))
        pairs = own.join(times, keys=list(self.key), join_type="inner", use_threads=False)
        apart = pc.abs(pc.subtract(pairs["__now"], pairs["__then"]))
        near = pc.fill_null(pc.less_equal(apart, int(self.window[1] * 1e6)), False)
        return np.asarray(pairs.filter(near)[RANK].to_numpy())

    def _close_in_batch(self, rows: pa.Table, gone: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Rows that lie near an earlier row of their key that stays."""
        assert self.window is not None
        near, lost = int(self.window[1] * 1e6), np.zeros(rows.num_rows, dtype=bool)
        times = _instants(rows[self.window[0]]).to_pylist()
        keys = rows.select([*self.key, RANK]).group_by(list(self.key), use_threads=False)
        for ranks in keys.aggregate([(RANK, "list")])[f"{RANK}_list"].to_pylist():
            if len(ranks) == 1:
                continue
            kept: list[int] = []
            for rank in sorted(ranks):
                time = times[rank]
                if time is None or gone[rank]:
                    continue
                at = bisect.bisect_left(kept, time)
                if any(abs(time - other) <= near for other in kept[max(0, at - 1) : at + 1]):
                    lost[rank] = True
                else:
                    kept.insert(at, time)
        return lost


def _ranked(rows: pa.Table, latest: str | None) -> pa.Table:
    """The rows in the order in which they were read (by ``latest`` before that, nulls first), numbered."""
    order = [(OBJECT, "ascending"), (ORDINAL, "ascending")]
    if latest:
        rows = rows.append_column(FILLED, rows[latest].is_valid())
        order = [(FILLED, "ascending"), (latest, "ascending"), *order]
    rows = rows.take(pc.sort_indices(rows, sort_keys=order))
    return rows.append_column(RANK, pa.array(np.arange(rows.num_rows, dtype=np.int64)))


def _instants(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Microseconds since 1970. Raises TransformError for a column without them."""
    kind = column.type
    if not pa.types.is_timestamp(kind) and not pa.types.is_date(kind):
        raise TransformError(
            f"a window needs a timestamp or date column, not one of type {kind}", hint="see deduplicate.within.column"
        )
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    return column.cast(pa.timestamp("us", tz=zone)).cast(pa.int64())


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceTask:
    """Finds the rows of one share whose ``column`` holds a value that ``table`` has nowhere in ``to``; the message
    marks them. ``places`` are the files to look at.

    With few referenced values every task takes some files and streams all values past them (a broadcast join); with
    many it takes a share of the values from all files.
    """

    staged: StagedRows
    column: str
    table: TableAt
    to: str
    part: int = 0
    parts: int = 1
    places: tuple[int, ...] | None = None
    same_type: bool = True
    """Whether both columns have one type; otherwise texts are compared, and no file can be passed over."""

    def run(self) -> Iterator[Marked]:
        """One message."""
        chosen = tuple(range(len(self.staged.files))) if self.places is None else self.places
        some = StagedRows(
            root=self.staged.root, files=tuple(self.staged.files[n] for n in chosen), schema=self.staged.schema
        )
        rows = keyed_rows(some, [self.column], [], part=self.part, parts=self.parts)
        values = pc.unique(rows[self.column])
        missing = self._missing(values)
        lost = rows.filter(pc.is_in(rows[self.column], value_set=missing)) if len(missing) else rows.slice(0, 0)
        found = marked(lost[PLACE].combine_chunks(), lost[POSITION].combine_chunks(), some.files)
        yield {chosen[place]: bits for place, bits in found.items()}

    def _missing(self, values: pa.Array) -> pa.Array:
        """Those of the distinct ``values`` that the table does not have."""
        if not len(values):
            return values
        bounds = pc.min_max(values).as_py()
        condition = (between(self.to, bounds["min"], bounds["max"]) if self.same_type else None) or "true"
        sql = f"SELECT {quoted_name(self.to)} AS value FROM this WHERE {condition}"  # noqa: S608 - quoted
        found, texts = np.zeros(len(values), dtype=bool), None
        for piece in stream_at(self.table.uri, self.table.version, sql, rows=STREAMED_ROWS):
            known = piece["value"].combine_chunks()
            if known.type == values.type:
                found |= pc.is_in(values, value_set=known).to_numpy(zero_copy_only=False)
            else:
                texts = values.cast(pa.string()) if texts is None else texts
                found |= pc.is_in(texts, value_set=known.cast(pa.string())).to_numpy(zero_copy_only=False)
        return values.filter(pa.array(~found))
