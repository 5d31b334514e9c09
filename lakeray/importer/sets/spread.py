"""Keys that are too many for one task are divided once among files that each task reads its own share of.

Without that every share would read the keys of all rows. Two passes over the keys, however many shares there are: one
writes them in the order of the shares, a piece at a time; the other reads, for one share, its row groups of each file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakeray.delta.query import between
from lakeray.importer.sets.keys import TableAt, incomparable, piece_of, share_of, whole_keys
from lakeray.importer.sets.staged_rows import StagedRows
from lakeray.objects import join, open_store

STREAMED_ROWS = 500_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A file of keys: the row groups of each share, and the smallest and largest value of each key column."""

    path: str
    groups: dict[int, list[int]] = field(default_factory=dict)
    bounds: tuple[tuple[Any, Any], ...] = ()

    def rows(self, root: str, part: int) -> Iterator[pa.Table]:
        """The rows of one share, a row group at a time."""
        if part not in self.groups:
            return
        uri = join(root, self.path)
        with open_store(root).open(uri) as data:
            parquet = pq.ParquetFile(data)
            for number in self.groups[part]:
                yield parquet.read_row_group(number, use_threads=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpreadTask:
    """Divides the keys of the files at ``places`` into ``parts`` shares, in a file ``path`` beside them."""

    staged: StagedRows
    places: tuple[int, ...]
    key: tuple[str, ...]
    more: tuple[str, ...]
    parts: int
    path: str
    rows_at_once: int

    def run(self) -> Iterator[Spread]:
        """One message."""
        yield _spread(self._pieces(), self)

    @property
    def root(self) -> str:
        """Where the file is."""
        return self.staged.root

    def _pieces(self) -> Iterator[pa.Table]:
        columns = list(dict.fromkeys((*self.key, *self.more)))
        for place in self.places:
            position = 0
            for group in self.staged.groups(self.staged.files[place], columns):
                yield whole_keys(piece_of(group, place, position), self.key)
                position += group.num_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSpreadTask:
    """Divides the keys of a table alike; only those between ``bounds`` can be asked for. ``schema`` has the types of
    the keys, and of a column that is wanted beside them.
    """

    table: TableAt
    key: tuple[str, ...]
    schema: pa.Schema
    bounds: tuple[tuple[Any, Any], ...]
    parts: int
    root: str
    path: str
    rows_at_once: int

    def run(self) -> Iterator[Spread]:
        """One message."""
        yield _spread(self._pieces(), self)

    def _pieces(self) -> Iterator[pa.Table]:
        filters = [between(name, low, high) for name, (low, high) in zip(self.key, self.bounds, strict=True)]
        condition = " AND ".join(text for text in filters if text) or "true"
        for piece in self.table.rows(self.schema.names, condition, at_once=STREAMED_ROWS):
            yield whole_keys(piece.cast(self.schema), self.key)


def all_bounds(spreads: Sequence[Spread]) -> tuple[tuple[Any, Any], ...]:
    """The smallest and largest values over all of them, which are not empty."""
    columns = zip(*(spread.bounds for spread in spreads), strict=True)
    return tuple((min(low for low, _ in column), max(high for _, high in column)) for column in columns)


def _spread(pieces: Iterable[pa.Table], task: SpreadTask | TableSpreadTask) -> Spread:
    """Write the pieces' rows, ordered by share as many at once as the task may hold."""
    uri = join(task.root, task.path)
    found = Spread(path=task.path)
    bounds: list[tuple[Any, Any]] = []
    sink = writer = None
    count = 0
    try:
        for piece in collected(pieces, task.rows_at_once):
            if writer is None:
                sink = open_store(task.root).open_write(uri)
                # Read once, soon: speed counts, not size.
                writer = pq.ParquetWriter(
                    sink, piece.schema, compression="lz4", use_dictionary=False, write_statistics=False
                )
            now = [tuple(pc.min_max(piece[name]).as_py().values()) for name in task.key]
            bounds = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(bounds or now, now, strict=True)]
            part = share_of([piece[name] for name in task.key], task.parts)
            order = np.argsort(part, kind="stable")
            ordered = piece.take(pa.array(order))
            edges = np.searchsorted(part[order], np.arange(task.parts + 1))
            for share in np.flatnonzero(np.diff(edges)).tolist():
                rows = ordered.slice(edges[share], edges[share + 1] - edges[share])
                writer.write_table(rows, row_group_size=rows.num_rows)
                found.groups.setdefault(share, []).append(count)
                count += 1
        if writer is not None and sink is not None:
            writer.close()
            sink.close()
    except BaseException as error:
        if sink is not None:
            getattr(sink, "discard", sink.close)()
        if isinstance(error, pa.ArrowNotImplementedError | pa.ArrowInvalid):
            raise incomparable(task.key, error) from error
        raise
    return Spread(path=found.path, groups=found.groups, bounds=tuple(bounds))


def collected(pieces: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows, about so many at once; no piece is empty."""
    held: list[pa.Table] = []
    count = 0
    for piece in pieces:
        for start in range(0, piece.num_rows, rows):
            held.append(piece.slice(start, rows))
            count += held[-1].num_rows
            if count >= rows:
                yield pa.concat_tables(held)
                held, count = [], 0
    if held:
        yield pa.concat_tables(held)
