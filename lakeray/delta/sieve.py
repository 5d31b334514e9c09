"""Rows are taken out of data files by copying what stays: a data file is never changed.

A file without a row to take out stays as it is, one without a row to keep goes as a whole, of any other what stays is
staged in new files. Memory is bounded by a stretch of rows and one row group, whatever the size of the file.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.files import DataFile
from lakeray.delta.parquet import WriteOptions
from lakeray.delta.scan import Scan
from lakeray.delta.staged import StagedFile
from lakeray.delta.writer import StagedWriter
from lakeray.objects import join

CHANGE_TYPE = pa.field("_change_type", pa.string())
CHANGE_FOLDER = "_change_data"
_ROWS = 65_536


class Picker(Protocol):
    """Says of each row whether it is to be taken out. Picklable."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What ``pick`` looks at."""
        ...

    def pick(self, table: pa.Table) -> pa.BooleanArray:
        """True for each row that goes; never null."""
        ...

    def counts(self, table: pa.Table) -> Mapping[Any, int]:
        """How many rows of ``table``, all of which go, belong to what."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Sieved:
    """What is left of ``file``: ``kept`` are new files; ``counts`` say whose rows went, none when no row did, and then
    the file stays. ``changes`` are change data files of the rows that went.
    """

    file: DataFile
    kept: list[StagedFile]
    changes: list[StagedFile]
    counts: Mapping[Hashable, int]

    @property
    def rows(self) -> int:
        """Rows that went."""
        return sum(self.counts.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The table that files are read from and written to. ``change_feed``: rows that go are told to readers."""

    uri: str
    schema: pa.Schema
    partition_by: tuple[str, ...]
    change_feed: bool
    options: WriteOptions

    def writer(self, prefix: str) -> StagedWriter:
        """For data files."""
        return StagedWriter(
            self.uri, schema=self.schema, partition_by=list(self.partition_by), prefix=prefix, options=self.options
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SieveTask:
    """Takes the picked rows out of one file; ``prefix`` begins the names of this attempt's files."""

    file: DataFile
    layout: Layout
    picker: Picker
    prefix: str

    def run(self) -> Iterator[Sieved]:
        """One message."""
        writer, changes = self.layout.writer(self.prefix), ChangeWriter(self.layout, self.prefix)
        try:
            yield self._sieved(writer, changes)
        except BaseException:
            writer.discard()
            changes.discard()
            raise

    def _sieved(self, writer: StagedWriter, changes: ChangeWriter) -> Sieved:
        file, layout = self.file, self.layout
        counts: dict[Hashable, int] = {}
        with Scan(layout.uri, file.path, schema=layout.schema, partition=file.partition) as scan:
            masks = [self._mask(scan, group, counts) for group in range(scan.row_groups)]
            if not counts:
                return Sieved(file=file, kept=[], changes=[], counts={})
            if layout.change_feed or not all(pc.all(mask).as_py() for mask in masks):
                for group, mask in enumerate(masks):
                    self._copy(scan, group, mask, writer, changes)
        return Sieved(file=file, kept=writer.close(), changes=changes.close(), counts=counts)

    def _mask(self, scan: Scan, group: int, counts: dict[Hashable, int]) -> pa.BooleanArray:
        """Which rows of the row group go: a bit a row."""
        masks = [pa.array([], pa.bool_())]
        for table in scan.tables([group], columns=self.picker.columns, rows=_ROWS):
            mask = self.picker.pick(table)
            if pc.any(mask).as_py():
                for key, count in self.picker.counts(table.filter(mask)).items():
                    counts[key] = counts.get(key, 0) + count
            masks.append(mask)
        return pa.concat_arrays(masks)

    def _copy(self, scan: Scan, group: int, mask: pa.BooleanArray, writer: StagedWriter, changes: ChangeWriter) -> None:
        done = 0
        for table in scan.tables([group], rows=_ROWS):
            goes = mask.slice(done, table.num_rows)
            done += table.num_rows
            if self.layout.change_feed:
                changes.write(table.filter(goes), "delete")
            writer.write(table.filter(pc.invert(goes)))


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangesTask:
    """Tells readers of a change data feed of every row of one file: that it was inserted, or deleted."""

    file: DataFile
    layout: Layout
    kind: str
    prefix: str

    def run(self) -> Iterator[list[StagedFile]]:
        """One message: the change data files."""
        layout, file = self.layout, self.file
        changes = ChangeWriter(layout, self.prefix)
        try:
            with Scan(layout.uri, file.path, schema=layout.schema, partition=file.partition) as scan:
                for table in scan.tables(range(scan.row_groups), rows=_ROWS):
                    changes.write(table, self.kind)
            yield changes.close()
        except BaseException:
            changes.discard()
            raise


class ChangeWriter:
    """Writes change data files: rows of the table with what became of each.

    Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md#change-data-files
    """

    def __init__(self, layout: Layout, prefix: str) -> None:
        self._schema = pa.schema([*(item.with_nullable(True) for item in layout.schema), CHANGE_TYPE])
        self._writer = StagedWriter(
            join(layout.uri, CHANGE_FOLDER),
            schema=self._schema,
            partition_by=list(layout.partition_by),
            prefix=prefix,
            options=layout.options,
        )

    def write(self, table: pa.Table, kind: str) -> None:
        """Rows of one kind: insert, update_preimage, update_postimage, delete."""
        if table.num_rows:
            self._writer.write(table.append_column(CHANGE_TYPE, pa.repeat(pa.scalar(kind), table.num_rows)))

    def close(self) -> list[StagedFile]:
        """The files, as the table's log names them."""
        return [replace(file, path=f"{CHANGE_FOLDER}/{file.path}") for file in self._writer.close()]

    def discard(self) -> None:
        """Drop everything."""
        self._writer.discard()
