"""Data files of a Delta table are staged here: written under attempt-unique names that no commit knows yet."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakeray.delta.partitions import Values, check_partition_types, folder, split
from lakeray.delta.staged import StagedFile
from lakeray.delta.statistics import Indexed, file_statistics
from lakeray.errors import ObjectError, TableError
from lakeray.objects import ObjectStore, join, open_store

_SAMPLE_ROWS = 8_192
_FEW = 0.25  # distinct values for each sampled row; below it a dictionary is smaller than the values


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteOptions:
    """How data files look, with what that costs in memory.

    ``row_group_bytes`` (in memory, uncompressed) bounds what a writer buffers over all its partitions; a row group closes at that many bytes or
    at ``row_group_rows`` rows. A file closes once it has ``target_file_bytes`` (compressed, on disk). ``open_files`` bounds how many files of
    different partitions are open at a time, each with its upload buffer. ``indexed`` says which columns get statistics.
    """

    target_file_bytes: int = 256 * 2**20
    row_group_rows: int = 1_000_000
    row_group_bytes: int = 96 * 2**20
    compression: str = "zstd"
    compression_level: int | None = 1
    open_files: int = 8
    indexed: Indexed = field(default_factory=Indexed)


class StagedWriter:
    """Streams tables of one schema into staged Parquet files.

    ``schema`` is the table's, partition columns included, in types that Delta can hold; ``prefix`` must be unique for each attempt, because files are
    named ``{prefix}-{k:05d}.parquet``. Partition columns are not stored in the files; an empty string in one is null to Delta.
    Rows keep their order within a partition. Not safe for several threads. After an error call ``discard``.
    """

    def __init__(
        self,
        root_uri: str,
        *,
        schema: pa.Schema,
        partition_by: list[str],
        prefix: str,
        options: WriteOptions | None = None,
        store: ObjectStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_partition_types(schema, partition_by)
        self._root = root_uri
        self._schema = schema
        self._partition_by = list(partition_by)
        self._file_schema = pa.schema([column for column in schema if column.name not in partition_by])
        self._prefix = prefix
        self._options = options or WriteOptions()
        self._store = store or open_store(root_uri)
        self._clock = clock
        self._buffers: dict[Values, _Buffer] = {}
        self._open: OrderedDict[Values, _OpenFile] = OrderedDict()
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
        """Take rows in; columns may come in any order but must have the schema's names and types. Raises TableError otherwise."""
        if not table.schema.equals(self._schema):
            table = self._conformed(table)
        for key, rows in split(table, self._partition_by):
            buffer = self._buffers.setdefault(key, _Buffer())
            self._buffered += buffer.add(rows)
            while buffer.rows >= self._options.row_group_rows:
                self._flush(key, self._options.row_group_rows)
        while self._buffered >= self._options.row_group_bytes:
            self._flush(max(self._buffers, key=lambda key: self._buffers[key].size))

    def close(self) -> list[StagedFile]:
        """Finish all files; those named in the answer are whole in the store. No rows, no files."""
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
            with suppress(ObjectError, OSError):
                self._store.delete(join(self._root, staged.path))
        self._open.clear()
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

    def _file_for(self, key: Values, sample: pa.Table) -> _OpenFile:
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        if len(self._open) >= self._options.open_files:
            self._finish(next(iter(self._open)))
        path = f"{folder(self._partition_by, key)}{self._prefix}-{self._count:05d}.parquet"
        self._count += 1
        sink = self._store.open_write(join(self._root, path))
        file = _OpenFile(path, sink, self._file_schema, sample, self._options)
        self._open[key] = file
        return file

    def _finish(self, key: Values) -> None:
        values = dict(zip(self._partition_by, key, strict=True))
        staged = self._open[key].close(values, int(self._clock() * 1000), self._options.indexed)
        del self._open[key]
        self._done.append(staged)


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


class _OpenFile:
    """One Parquet file being written."""

    def __init__(
        self, path: str, sink: BinaryIO, schema: pa.Schema, sample: pa.Table, options: WriteOptions
    ) -> None:
        self._path = path
        self._sink = sink
        self._schema = schema
        self._nan_columns: set[tuple[str, ...]] = set()
        self._floats = [path for path, kind in _struct_leaves(schema) if pa.types.is_floating(kind)]
        try:
            self._counted = _Counted(sink)
            self._parquet = pq.ParquetWriter(
                self._counted,
                schema,
                compression=options.compression,
                compression_level=options.compression_level,
                use_dictionary=dictionary_columns(sample),
                write_statistics=True,
                store_schema=False,
                version="2.6",
            )
        except BaseException:
            _abandon(sink)
            raise

    @property
    def size(self) -> int:
        """Compressed bytes so far."""
        return self._counted.size

    def write(self, group: pa.Table) -> None:
        """Add one row group."""
        for path in self._floats:
            if path not in self._nan_columns and _has_nan(group, path):
                self._nan_columns.add(path)
        self._parquet.write_table(group, row_group_size=max(group.num_rows, 1))

    def close(self, values: dict[str, str | None], modified_ms: int, indexed: Indexed) -> StagedFile:
        """Finish the file; it is whole in the store when this returns."""
        self._parquet.close()
        footer = self._parquet.writer.metadata
        size = self._counted.size
        self._sink.close()
        return StagedFile(
            path=self._path,
            size_bytes=size,
            rows=footer.num_rows,
            partition_values=values,
            modified_ms=modified_ms,
            stats=file_statistics(footer, self._schema, indexed=indexed, nan_columns=self._nan_columns),
        )

    def discard(self) -> None:
        """Leave nothing behind under the file's name."""
        _abandon(self._sink)


class _Counted:
    """A sink that counts: uploads cannot tell their position, and the footer's size has no other witness."""

    closed = False

    def __init__(self, sink: BinaryIO) -> None:
        self._sink = sink
        self.size = 0

    def write(self, data: Any) -> int:
        """Pass on."""
        count = memoryview(data).nbytes
        self._sink.write(data)
        self.size += count
        return count

    def tell(self) -> int:
        """Bytes written."""
        return self.size

    def flush(self) -> None:
        """The sink flushes when it likes."""

    def close(self) -> None:
        """The sink is closed by its owner, after the footer was read."""

    def writable(self) -> bool:
        """Always."""
        return True

    def readable(self) -> bool:
        """Never."""
        return False

    def seekable(self) -> bool:
        """Never."""
        return False


def _abandon(sink: BinaryIO) -> None:
    discard = getattr(sink, "discard", None)
    if discard is not None:
        discard()


def _as_type(column: pa.ChunkedArray, wanted: pa.Field) -> pa.ChunkedArray:
    """The column in the wanted type where only the layout differs (string or large_string, child names); otherwise ArrowTypeError."""
    if column.type == wanted.type:
        return column
    return column.cast(wanted.type)


def dictionary_columns(sample: pa.Table) -> list[str]:
    """The Parquet paths of columns with few distinct values among the first rows: a dictionary pays there, costs elsewhere."""
    rows = sample.slice(0, _SAMPLE_ROWS)
    found = []
    for name in rows.column_names:
        for path, values in _leaf_arrays(rows.column(name), name):
            filled = len(values) - values.null_count
            if pa.types.is_boolean(values.type) or filled == 0:
                continue
            if pc.count_distinct(values).as_py() <= max(filled * _FEW, 1):
                found.append(path)
    return found


def _leaf_arrays(column: pa.ChunkedArray, path: str) -> list[tuple[str, pa.ChunkedArray]]:
    kind = column.type
    if pa.types.is_struct(kind):
        fields = [(child.name, pc.struct_field(column, [place])) for place, child in enumerate(kind)]
        return [leaf for name, values in fields for leaf in _leaf_arrays(values, f"{path}.{name}")]
    if pa.types.is_map(kind):
        entries = [("key", pa.chunked_array([c.keys for c in column.chunks], kind.key_type))]
        entries.append(("value", pa.chunked_array([c.items for c in column.chunks], kind.item_type)))
        return [leaf for name, values in entries for leaf in _leaf_arrays(values, f"{path}.key_value.{name}")]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _leaf_arrays(pc.list_flatten(column), f"{path}.list.element")
    return [(path, column)]


def _struct_leaves(schema: pa.Schema) -> list[tuple[tuple[str, ...], pa.DataType]]:
    """Leaves that are below structs only, with their types."""
    found: list[tuple[tuple[str, ...], pa.DataType]] = []

    def walk(kind: pa.DataType, path: tuple[str, ...]) -> None:
        if pa.types.is_struct(kind):
            for child in kind:
                walk(child.type, (*path, child.name))
        else:
            found.append((path, kind))

    for column in schema:
        walk(column.type, (column.name,))
    return found


def _has_nan(table: pa.Table, path: tuple[str, ...]) -> bool:
    values = table.column(path[0])
    for name in path[1:]:
        values = pc.struct_field(values, [values.type.get_field_index(name)])
    return bool(pc.any(pc.is_nan(values)).as_py())
