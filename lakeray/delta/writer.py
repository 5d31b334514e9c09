"""Data files of a Delta table are staged here: written under attempt-unique names that no commit knows yet."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress

import pyarrow as pa

from lakeray.delta.parquet import ParquetFile, WriteOptions
from lakeray.delta.partitions import Values, check_partition_types, folder, split
from lakeray.delta.staged import StagedFile
from lakeray.delta.statistics import Indexed
from lakeray.delta.types import delta_type, same_shape
from lakeray.errors import ObjectError, TableError
from lakeray.objects import ObjectStore, join, open_store

_SPLIT_BYTES = 8 * 2**20


class StagedWriter:
    """Streams tables of one schema into staged Parquet files.

    ``schema`` is the table's, partition columns included, in types that Delta can hold; ``prefix`` must be unique for
    each attempt, because files are named ``{prefix}-{k:05d}.parquet``. Partition columns are not stored in the files;
    an empty string in one is null to Delta. Rows keep their order within a partition. ``beside`` columns are not the
    table's: they go, row by row in the same row groups, to a file next to each data file (``beside_path``) that no
    commit names. Not safe for several threads. After an error call ``discard``.
    """

    def __init__(
        self,
        root_uri: str,
        *,
        schema: pa.Schema,
        partition_by: list[str],
        prefix: str,
        options: WriteOptions | None = None,
        beside: Sequence[str] = (),
        store: ObjectStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_partition_types(schema, partition_by)
        self._root = root_uri
        self._schema = schema
        self._partition_by = list(partition_by)
        self._not_null = [column.name for column in schema if not column.nullable]
        inside = [column for column in schema if column.name not in partition_by]
        self._file_schema = pa.schema([column for column in inside if column.name not in beside])
        self._beside = pa.schema([column for column in inside if column.name in beside])
        self._prefix = prefix
        self._options = options or WriteOptions()
        self._store = store or open_store(root_uri)
        self._clock = clock
        self._unsplit = _Buffer()
        self._buffers: dict[Values, _Buffer] = {}
        self._open: OrderedDict[Values, ParquetFile | _Pair] = OrderedDict()
        self._done: list[StagedFile] = []
        self._count = 0
        self._buffered = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes of rows in memory that no file has yet."""
        return self._buffered

    @property
    def bytes_written(self) -> int:
        """Compressed bytes handed to the store so far."""
        return sum(file.size_bytes for file in self._done) + sum(file.size for file in self._open.values())

    def write(self, table: pa.Table) -> None:
        """Take rows in; columns may come in any order. Raises TableError unless names and types are the schema's."""
        if not table.schema.equals(self._schema):
            table = self._conformed(table)
        for name in self._not_null:
            if table.column(name).null_count:
                raise TableError(
                    f"the column {name!r} of {self._root} takes no null, but rows have one",
                    uri=self._root,
                    hint="an expectation can quarantine such rows first",
                )
        if table.num_rows:
            self._buffered += self._unsplit.add(table)
        if not self._partition_by or self._unsplit.size >= min(_SPLIT_BYTES, self._options.row_group_bytes // 8):
            self._split()
        while self._buffered >= self._options.row_group_bytes:
            self._flush(max(self._buffers, key=lambda key: self._buffers[key].size))

    def _split(self) -> None:
        """Move what was taken in to its partitions: much at once, as each one costs the same however few rows."""
        if not self._unsplit.rows:
            return
        self._buffered -= self._unsplit.size
        for key, rows in split(self._unsplit.take(None), self._partition_by):
            buffer = self._buffers.setdefault(key, _Buffer())
            self._buffered += buffer.add(rows)
            while buffer.rows >= self._options.row_group_rows:
                self._flush(key, self._options.row_group_rows)

    def close(self) -> list[StagedFile]:
        """Finish all files; those named in the answer are whole in the store. No rows, no files."""
        self._split()
        for key in list(self._open):  # each open file first takes what is buffered for it
            if key in self._buffers:
                self._flush(key)
            if key in self._open:
                self._finish(key)
        for key in list(self._buffers):
            self._flush(key)
            if key in self._open:
                self._finish(key)
        return list(self._done)

    def discard(self) -> None:
        """Drop everything, written files too; for use after an error, so what cannot be removed is left to vacuum."""
        for file in self._open.values():
            with suppress(Exception):
                file.discard()
        for staged in self._done:
            for path in (staged.path, *((beside_path(staged.path),) if self._beside else ())):
                with suppress(ObjectError, OSError):
                    self._store.delete(join(self._root, path))
        self._open.clear()
        self._unsplit = _Buffer()
        self._buffers.clear()
        self._done.clear()
        self._buffered = 0

    def _conformed(self, table: pa.Table) -> pa.Table:
        """The table in the schema's column order, with its nullability; never another type."""
        if sorted(table.column_names) != sorted(self._schema.names):
            raise TableError(
                f"rows with columns {table.column_names} do not fit the table at {self._root}",
                hint=f"the table's columns are {self._schema.names}",
                uri=self._root,
            )
        try:
            return pa.Table.from_arrays([_as_type(table.column(c.name), c) for c in self._schema], schema=self._schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise TableError(f"rows do not fit the table at {self._root}: {error}", uri=self._root) from error

    def _flush(self, key: Values, rows: int | None = None) -> None:
        """Write the partition's buffer, or its first ``rows`` rows, as one row group."""
        buffer = self._buffers[key]
        before = buffer.size
        group = buffer.take(rows)
        self._buffered -= before - buffer.size
        if not buffer.rows:
            del self._buffers[key]
        file = self._file_for(key, group)
        file.write(group)
        if file.size >= self._options.target_file_bytes:
            self._finish(key)

    def _file_for(self, key: Values, sample: pa.Table) -> ParquetFile | _Pair:
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        if len(self._open) >= self._options.open_files:
            self._finish(next(iter(self._open)))
        path = f"{folder(self._partition_by, key)}{self._prefix}-{self._count:05d}.parquet"
        self._count += 1
        file = self._create(path, self._file_schema, sample)
        self._open[key] = _Pair(file, self._beside, sample, self._create) if self._beside else file
        return self._open[key]

    def _create(self, path: str, schema: pa.Schema, sample: pa.Table) -> ParquetFile:
        sink = self._store.open_write(join(self._root, path))
        return ParquetFile(path, sink, schema, sample.select(schema.names), self._options)

    def _finish(self, key: Values) -> None:
        values = dict(zip(self._partition_by, key, strict=True))
        staged = self._open[key].close(values, int(self._clock() * 1000), self._options.indexed)
        del self._open[key]
        self._done.append(staged)


def beside_path(path: str) -> str:
    """Where the ``beside`` columns of the data file at ``path`` are."""
    return f"{path.removesuffix('.parquet')}.beside.parquet"


class _Pair:
    """A data file with the file beside it, written and ended together."""

    def __init__(
        self,
        data: ParquetFile,
        beside: pa.Schema,
        sample: pa.Table,
        create: Callable[[str, pa.Schema, pa.Table], ParquetFile],
    ) -> None:
        self._data = data
        try:
            self._beside = create(beside_path(data.path), beside, sample)
        except BaseException:
            data.discard()
            raise

    @property
    def size(self) -> int:
        """Compressed bytes of the data so far."""
        return self._data.size

    def write(self, group: pa.Table) -> None:
        """Add one row group to both."""
        for file in (self._data, self._beside):
            file.write(group.select(file.schema.names))

    def close(self, values: dict[str, str | None], modified_ms: int, indexed: Indexed) -> StagedFile:
        """Finish both; the data file."""
        self._beside.close({}, modified_ms, indexed)
        return self._data.close(values, modified_ms, indexed)

    def discard(self) -> None:
        """Leave nothing behind."""
        self._beside.discard()
        self._data.discard()


class _Buffer:
    """Rows of one partition on their way into a row group."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.rows = 0
        self.size = 0

    def add(self, table: pa.Table) -> int:
        """Take rows in; says how many bytes they are."""
        added = int(table.nbytes)
        self.tables.append(table)
        self.rows += table.num_rows
        self.size += added
        return added

    def take(self, rows: int | None) -> pa.Table:
        """Give the first ``rows`` rows (all for None) out."""
        whole = pa.concat_tables(self.tables) if len(self.tables) > 1 else self.tables[0]
        if rows is None or rows >= self.rows:
            self.tables, self.rows, self.size = [], 0, 0
            return whole
        rest = whole.slice(rows)
        self.tables, self.rows, self.size = [rest], rest.num_rows, int(rest.nbytes)
        return whole.slice(0, rows)


def _as_type(column: pa.ChunkedArray, wanted: pa.Field) -> pa.ChunkedArray:
    """The column in the wanted layout (string for large_string, say), never in another type: ArrowTypeError."""
    if column.type == wanted.type:
        return column
    if delta_type(column.type) != wanted.type and not same_shape(column.type, wanted.type):
        raise pa.ArrowTypeError(f"the column {wanted.name!r} is {column.type}, not {wanted.type}")
    return column.cast(wanted.type)
