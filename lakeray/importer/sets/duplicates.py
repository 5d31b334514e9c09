"""Which staged rows have a key that another row has, found in memory that the batch cannot grow.

A batch too large for one task is divided by a hash of the key (see ``keys``), by way of files where the shares are many
(see ``spread``), and each task holds the rows of its share alone. A table's keys are streamed past them; the range of
the share's keys lets the engine pass over files that cannot hold any. Which row of a key stays depends on the manifest
alone: rows are ordered by their object's place in it and their place in the object.
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
from lakeray.importer.sets.keys import PLACE, POSITION, TableAt, incomparable, keyed_rows, keyed_schema
from lakeray.importer.sets.spread import STREAMED_ROWS, Spread, collected
from lakeray.importer.sets.staged_rows import OBJECT, ORDINAL, Marked, StagedRows, marked

RANK, FILLED = "__lakeray_rank", "__lakeray_filled"


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateTask:
    """Finds duplicates in one share; the message marks them.

    ``latest`` names a column whose largest value stays, otherwise ``keep`` decides. ``table`` is looked at too where it
    is given: its rows stay. ``window`` is (column, seconds): only rows of a key that close are duplicates. Where the
    keys have been divided, ``spread`` are the files' and ``known`` the table's.
    """

    staged: StagedRows
    key: tuple[str, ...]
    keep: Literal["first", "last"] = "first"
    latest: str | None = None
    table: TableAt | None = None
    window: tuple[str, float] | None = None
    part: int = 0
    parts: int = 1
    spread: tuple[Spread, ...] = ()
    known: Spread | None = None

    def run(self) -> Iterator[Marked]:
        """One message."""
        more = more_columns(self.latest, self.window)
        rows = share_rows(self.staged, self.key, more, part=self.part, parts=self.parts, spread=self.spread)
        if not rows.num_rows:
            yield {}
            return
        try:
            lost = self._lost(_ranked(rows, self.latest))
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise incomparable(self.key, error) from error
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
        if self.known is not None:
            yield from collected(self.known.rows(self.staged.root, self.part), STREAMED_ROWS)
            return
        names = list(dict.fromkeys([*self.key, *more_columns(None, self.window)]))
        bounds = [pc.min_max(rows[name]).as_py() for name in self.key]
        filters = [between(name, b["min"], b["max"]) for name, b in zip(self.key, bounds, strict=True)]
        condition = " AND ".join(text for text in filters if text) or "true"
        for piece in self.table.rows(names, condition, at_once=STREAMED_ROWS):
            yield piece.cast(pa.schema([rows.schema.field(name) for name in piece.column_names]))

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


def more_columns(latest: str | None, window: tuple[str, float] | None) -> list[str]:
    """The columns beside the key that decide."""
    return [name for name in (latest, window[0] if window else None) if name]


def share_rows(
    staged: StagedRows, key: Sequence[str], more: Sequence[str], *, part: int, parts: int, spread: Sequence[Spread]
) -> pa.Table:
    """The rows of one share, from where they are: in files of their own, or among all others."""
    if not spread:
        return keyed_rows(staged, key, more, part=part, parts=parts)
    held = [piece for each in spread for piece in each.rows(staged.root, part)]
    return pa.concat_tables(held or [keyed_schema(staged, list(dict.fromkeys((*key, *more)))).empty_table()])


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
    spread: tuple[Spread, ...] = ()
    same_type: bool = True
    """Whether both columns have one type; otherwise texts are compared, and no file can be passed over."""

    def run(self) -> Iterator[Marked]:
        """One message."""
        chosen = tuple(range(len(self.staged.files))) if self.places is None else self.places
        some = StagedRows(
            root=self.staged.root, files=tuple(self.staged.files[n] for n in chosen), schema=self.staged.schema
        )
        rows = share_rows(some, [self.column], [], part=self.part, parts=self.parts, spread=self.spread)
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
