"""What workers do to put rows into other files: each reads some files and stages others, in bounded memory.

Every task can be done again from its beginning: what a dead worker wrote lies under names that no commit will know.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from lakeray.delta.arrange.zorder import in_order, places, ranges_of
from lakeray.delta.files import DataFile
from lakeray.delta.parquet import WriteOptions
from lakeray.delta.scan import Scan
from lakeray.delta.staged import StagedFile
from lakeray.delta.statistics import Indexed
from lakeray.delta.writer import StagedWriter
from lakeray.errors import TableError

RANGE = "_lakeray_range"
_MOST_ROWS, _FEWEST_ROWS, _MEASURED_ROWS = 131_072, 256, 1_024
_STRETCH_SHARE = 16
"""Of a task's memory, rows that are read at once may take this fraction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where rows are read from and written to. ``prefix`` begins the names of new files; each try of a task adds its
    own word to it.
    """

    uri: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    options: WriteOptions
    prefix: str
    memory_bytes: int

    def scan(self, path: str, partition: Mapping[str, Any]) -> Scan:
        """One file."""
        return Scan(self.uri, path, schema=self.schema, partition=partition)

    def writer(self) -> StagedWriter:
        """A writer under names of this try."""
        return StagedWriter(
            self.uri,
            schema=self.schema,
            partition_by=list(self.partition_by),
            prefix=f"{self.prefix}-{secrets.token_hex(4)}",
            options=self.options,
        )

    def read(self, path: str, partition: Mapping[str, Any]) -> Iterator[pa.Table]:
        """All rows of a file, in stretches that fit."""
        with self.scan(path, partition) as scan:
            stretch = self._stretch(scan)
            yield from scan.tables(range(scan.row_groups), rows=stretch)

    def _stretch(self, scan: Scan) -> int:
        """How many rows fit at once, judged by the first ones: encoded sizes say little of texts that repeat."""
        first = next(iter(scan.tables(range(min(1, scan.row_groups)), rows=_MEASURED_ROWS)), None)
        if first is None or not first.num_rows:
            return _MOST_ROWS
        fitting = self.memory_bytes // _STRETCH_SHARE * int(first.num_rows) // max(1, int(first.nbytes))
        return max(_FEWEST_ROWS, min(_MOST_ROWS, fitting))


@dataclass(frozen=True, kw_only=True, slots=True)
class Arranged:
    """New files that hold exactly the rows of the old ones of bin ``number``."""

    number: int
    adds: list[StagedFile]
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactTask:
    """Puts the files of each bin (by its number) together, rows as they are, in their order."""

    bins: tuple[tuple[int, tuple[DataFile, ...]], ...]
    place: Place

    def run(self) -> Iterator[list[Arranged]]:
        """One message."""
        done = []
        for number, files in self.bins:
            writer, rows = self.place.writer(), 0
            try:
                for file in files:
                    for table in self.place.read(file.path, file.partition):
                        writer.write(table)
                        rows += table.num_rows
                done.append(arranged(self.place.uri, number, writer.close(), rows))
            except BaseException:
                writer.discard()
                raise
        yield done


def arranged(uri: str, number: int, adds: list[StagedFile], rows: int) -> Arranged:
    """The answer of a task, after a look at whether its files hold the rows that it read."""
    written = sum(file.rows for file in adds)
    if written != rows:
        raise TableError(f"{rows} rows of {uri} were read and {written} written: nothing is committed", uri=uri)
    return Arranged(number=number, adds=adds, rows=rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """Some rows of one partition, ordering columns only; ``rows`` and ``row_bytes`` (in memory) of the whole file."""

    number: int
    table: pa.Table
    rows: int
    row_bytes: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleTask:
    """Takes a random ``share`` of the rows of some files (with the numbers of their partitions)."""

    files: tuple[tuple[int, DataFile], ...]
    columns: tuple[str, ...]
    share: tuple[float, ...]
    place: Place

    def run(self) -> Iterator[list[Sample]]:
        """One message."""
        yield [self._of(number, file, share) for (number, file), share in zip(self.files, self.share, strict=True)]

    def _of(self, number: int, file: DataFile, share: float) -> Sample:
        random = _random(file.path)
        with self.place.scan(file.path, file.partition) as scan:
            groups = range(scan.row_groups)
            first = next(iter(scan.tables(groups[:1], rows=_MEASURED_ROWS)), self.place.schema.empty_table())
            found, rows = [first.slice(0, 0).select(self.columns)], 0
            for table in scan.tables(groups, columns=self.columns, rows=_MOST_ROWS):
                rows += table.num_rows
                found.append(table.filter(pa.array(random.random(table.num_rows) < share)))
        return Sample(
            number=number,
            table=pa.concat_tables(found).combine_chunks(),
            rows=rows,
            row_bytes=first.nbytes / max(1, first.num_rows),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitTask:
    """Deals the rows of some files out to ranges of the curve: one scratch file or a few for each range."""

    files: tuple[DataFile, ...]
    cuts: dict[str, pa.Array]
    range_cuts: Any
    place: Place
    scratch: str

    def run(self) -> Iterator[list[StagedFile]]:
        """One message; the range stands in the files' partition values."""
        schema = self.place.schema.append(pa.field(RANGE, pa.int32()))
        options = WriteOptions(row_group_bytes=self.place.memory_bytes // 4, indexed=Indexed(leaves=0))
        writer = replace(self.place, uri=self.scratch, schema=schema, partition_by=(RANGE,), options=options).writer()
        try:
            for file in self.files:
                random = _random(file.path)
                for table in self.place.read(file.path, file.partition):
                    ranges = ranges_of(places(table, self.cuts), self.range_cuts, random)
                    writer.write(table.append_column(schema.field(RANGE), pa.array(ranges)))
            yield writer.close()
        except BaseException:
            writer.discard()
            raise


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A file to be read: of the table itself (``scratch`` None), or below a scratch folder."""

    path: str
    partition: dict[str, Any]
    scratch: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SortTask:
    """Writes one part after the other, each in the order of the curve; only one part is in memory at a time."""

    number: int
    parts: tuple[tuple[Piece, ...], ...]
    cuts: dict[str, pa.Array]
    place: Place

    def run(self) -> Iterator[list[Arranged]]:
        """One message."""
        writer, rows = self.place.writer(), 0
        try:
            for part in self.parts:
                for table in self._sorted(part):
                    writer.write(table)
                    rows += table.num_rows
            yield [arranged(self.place.uri, self.number, writer.close(), rows)]
        except BaseException:
            writer.discard()
            raise

    def _sorted(self, part: Sequence[Piece]) -> Iterator[pa.Table]:
        read = [table for piece in part for table in self._read(piece)]
        if not read:
            return
        whole = pa.concat_tables(read).combine_chunks()
        read.clear()
        order = in_order(whole, self.cuts)
        stretch = max(_FEWEST_ROWS, min(_MOST_ROWS, whole.num_rows // 4))
        for start in range(0, whole.num_rows, stretch):
            yield whole.take(order.slice(start, stretch))

    def _read(self, piece: Piece) -> Iterator[pa.Table]:
        place = self.place if piece.scratch is None else replace(self.place, uri=piece.scratch)
        return place.read(piece.path, piece.partition)


def _random(path: str) -> np.random.Generator:
    """The same for the same file, so that a task that is done again does the same."""
    return np.random.default_rng(zlib.crc32(path.encode()))
