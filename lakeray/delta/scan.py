"""Rows of one data file, in the table's columns, a stretch at a time.

A data file has no partition columns, may lack columns that the table got later, and may hold a type in another
layout than the table's; what comes out is as the table says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from lakeray.errors import TableError
from lakeray.objects import join, open_store

_BUFFER_BYTES = 4 * 2**20
"""What is read of a column at once: a column chunk of a large row group does not come into memory whole."""


class Scan:
    """One open data file; use it in a ``with`` block. ``partition`` holds its partition values as Python values."""

    def __init__(self, root_uri: str, path: str, *, schema: pa.Schema, partition: Mapping[str, Any]) -> None:
        self._uri = join(root_uri, path)
        self._schema = schema
        self._partition = partition
        self._file = open_store(self._uri).open(self._uri)
        try:
            self._parquet = pq.ParquetFile(self._file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        except BaseException:
            self._file.close()
            raise
        self._names = set(self._parquet.schema_arrow.names)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parquet.close()
        self._file.close()

    @property
    def row_groups(self) -> int:
        """How many row groups the file has."""
        return int(self._parquet.num_row_groups)

    def part(self, number: int, of: int) -> range:
        """The row groups of part ``number`` (from 0) when the file is cut into ``of`` parts."""
        return range(self.row_groups * number // of, self.row_groups * (number + 1) // of)

    def tables(self, groups: Sequence[int], *, columns: Sequence[str] | None = None, rows: int) -> Iterator[pa.Table]:
        """The rows of these row groups in order, at most ``rows`` at a time."""
        wanted = self._schema if columns is None else pa.schema([self._schema.field(name) for name in columns])
        stored = [item.name for item in wanted if item.name in self._names and item.name not in self._partition]
        for group in groups:
            if not stored:
                yield from self._empty(wanted, group, rows)
                continue
            batches = self._parquet.iter_batches(batch_size=rows, row_groups=[group], columns=stored, use_threads=False)
            for batch in batches:
                yield self._conformed(pa.Table.from_batches([batch]), wanted)

    def _empty(self, wanted: pa.Schema, group: int, rows: int) -> Iterator[pa.Table]:
        """Stretches of a row group of which the file stores no wanted column."""
        left = self._parquet.metadata.row_group(group).num_rows
        while left > 0:
            count = min(left, rows)
            yield pa.Table.from_arrays([self._absent(item, count) for item in wanted], schema=wanted)
            left -= count

    def _conformed(self, table: pa.Table, wanted: pa.Schema) -> pa.Table:
        columns = []
        for item in wanted:
            if item.name in self._partition or item.name not in self._names:
                columns.append(self._absent(item, table.num_rows))
                continue
            column = table.column(item.name)
            if column.type != item.type:
                try:
                    column = column.cast(item.type)
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                    raise TableError(
                        f"the column {item.name!r} of {self._uri} is {column.type}, which is not the table's "
                        f"{item.type}: {error}",
                        uri=self._uri,
                    ) from error
            columns.append(column)
        return pa.Table.from_arrays(columns, schema=wanted)

    def _absent(self, item: pa.Field, count: int) -> pa.Array:
        value = self._partition.get(item.name)
        return pa.nulls(count, item.type) if value is None else pa.repeat(pa.scalar(value, item.type), count)
