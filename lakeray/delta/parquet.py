"""One staged Parquet file, encoded for speed, with its statistics."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakeray.delta.staged import StagedFile
from lakeray.delta.statistics import Indexed, file_statistics, leaves

_SAMPLE_ROWS = 8_192
_FEW = 0.25  # distinct values for each sampled row; below it a dictionary is smaller than the values
_VAIN = 0.95  # of the size before compression; above it a codec costs time and saves nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteOptions:
    """How data files look, with what that costs in memory.

    ``row_group_bytes`` (in memory, uncompressed) bounds what a writer buffers over all its partitions; a row group
    closes at that many bytes or at ``row_group_rows`` rows. A file closes once it has ``target_file_bytes``
    (compressed, on disk). ``open_files`` bounds how many files of different partitions are open at a time, each with
    its upload buffer. ``indexed`` says which columns get statistics.
    """

    target_file_bytes: int = 256 * 2**20
    row_group_rows: int = 1_000_000
    row_group_bytes: int = 96 * 2**20
    compression: str = "zstd"
    compression_level: int | None = 1
    open_files: int = 8
    indexed: Indexed = field(default_factory=Indexed)


class ParquetFile:
    """One Parquet file being written: its ``path`` in the table, its ``schema``."""

    def __init__(self, path: str, sink: BinaryIO, schema: pa.Schema, sample: pa.Table, options: WriteOptions) -> None:
        self.path = path
        self._sink = sink
        self.schema = schema
        self._nan_columns: set[tuple[str, ...]] = set()
        self._floats = [leaf.path for leaf in leaves(schema) if not leaf.repeated and pa.types.is_floating(leaf.kind)]
        try:
            self._counted = CountedSink(sink)
            self._parquet = pq.ParquetWriter(self._counted, schema, **_layout(sample, schema, options))
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
            path=self.path,
            size_bytes=size,
            rows=footer.num_rows,
            partition_values=values,
            modified_ms=modified_ms,
            stats=file_statistics(footer, self.schema, indexed=indexed, nan_columns=self._nan_columns),
        )

    def discard(self) -> None:
        """Leave nothing behind under the file's name."""
        self._counted.mute()
        with suppress(Exception):
            self._parquet.close()  # or its finaliser would write a footer
        _abandon(self._sink)


class CountedSink:
    """A sink that counts: uploads cannot tell their position, and the footer's size has no other witness."""

    closed = False

    def __init__(self, sink: BinaryIO) -> None:
        self._sink: BinaryIO | None = sink
        self.size = 0

    def mute(self) -> None:
        """Pass nothing on any more."""
        self._sink = None

    def write(self, data: Any) -> int:
        """Pass on."""
        count = memoryview(data).nbytes
        if self._sink is not None:
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


def _layout(sample: pa.Table, schema: pa.Schema, options: WriteOptions) -> dict[str, Any]:
    """How each column is encoded and compressed, as arguments of pyarrow's writer, judged by the first rows."""
    few = dictionary_columns(sample)
    differences = delta_columns(sample, few)
    layout: dict[str, Any] = {
        "compression": options.compression,
        "compression_level": options.compression_level,
        "use_dictionary": few,
        "column_encoding": dict.fromkeys(differences, "DELTA_BINARY_PACKED") or None,
        "write_statistics": True,
        "store_schema": False,
        "version": "2.6",
    }
    packed = _incompressible(sample.slice(0, _SAMPLE_ROWS), schema, differences, layout)
    if packed:
        rest = [path for name in schema.names for path, _ in _leaf_arrays(sample.column(name), name)]
        rest = [path for path in rest if path not in packed]
        layout["compression"] = {**dict.fromkeys(rest, options.compression), **dict.fromkeys(packed, "none")}
        if options.compression_level is not None:
            layout["compression_level"] = dict.fromkeys(rest, options.compression_level)
    return layout


def _incompressible(rows: pa.Table, schema: pa.Schema, among: list[str], layout: dict[str, Any]) -> set[str]:
    """Those columns that a codec does not make smaller, found by writing ``rows``: packed differences are mostly so."""
    if not among or layout["compression"] == "none":
        return set()
    target = io.BytesIO()
    with pq.ParquetWriter(target, schema, **layout) as writer:
        writer.write_table(rows.select(schema.names))
    group = writer.writer.metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    return {
        column.path_in_schema
        for column in columns
        if column.path_in_schema in among and column.total_compressed_size > _VAIN * column.total_uncompressed_size
    }


def dictionary_columns(sample: pa.Table) -> list[str]:
    """The Parquet paths of columns with few distinct values among the first rows: there a dictionary pays."""
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


def delta_columns(sample: pa.Table, few: list[str]) -> list[str]:
    """The Parquet paths of integers and timestamps without a dictionary: differences are fast to write, and small."""
    found = []
    for name in sample.column_names:
        for path, values in _leaf_arrays(sample.column(name), name):
            kind = values.type
            if path not in few and (pa.types.is_int64(kind) or pa.types.is_int32(kind) or pa.types.is_timestamp(kind)):
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


def _has_nan(table: pa.Table, path: tuple[str, ...]) -> bool:
    values = table.column(path[0])
    for name in path[1:]:
        values = pc.struct_field(values, [values.type.get_field_index(name)])
    return bool(pc.any(pc.is_nan(values)).as_py())
