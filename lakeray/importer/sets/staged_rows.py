"""The rows of staged files before any commit names them, each with the object and record that it came from.

While a batch is settled, every staged data file has a file beside it (``delta.writer.beside_path``) with the columns of
``BESIDE``. They never reach the table.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakeray.delta.staged import StagedFile
from lakeray.delta.writer import beside_path
from lakeray.objects import ObjectStore, join, open_store

OBJECT, ORDINAL, ROW = "__lakeray_object", "__lakeray_ordinal", "__lakeray_row"
BESIDE = pa.schema([(OBJECT, pa.int32()), (ORDINAL, pa.int64()), (ROW, pa.int64())])
"""Index of the object in the manifest; running number among the object's written rows, which never changes from one
attempt to the next; 1-based number of the record in the object, null where a hook made rows."""


def with_origin(table: pa.Table, *, index: int, start: int, numbers: pa.Int64Array) -> pa.Table:
    """``table``, rows of the object at ``index`` of which ``start`` are staged already, with the columns of
    ``BESIDE``.
    """
    count = table.num_rows
    origin = (
        pa.repeat(pa.scalar(index, pa.int32()), count),
        pa.array(np.arange(start, start + count, dtype=np.int64)),
        numbers,
    )
    for item, column in zip(BESIDE, origin, strict=True):
        table = table.append_column(item, column)
    return table


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedRows:
    """Some staged files under ``root``, whose columns are of ``schema``: the table's, partition columns included."""

    root: str
    files: tuple[StagedFile, ...]
    schema: pa.Schema

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(file.rows for file in self.files)

    def groups(self, file: StagedFile, columns: Sequence[str], *, origin: bool = True) -> Iterator[pa.Table]:
        """The file's row groups in order, with ``columns`` in the schema's types, and those of ``BESIDE`` behind
        them. One row group is in memory at a time.
        """
        store = open_store(self.root)
        with store.open(join(self.root, file.path)) as data:
            parquet = pq.ParquetFile(data)
            stored = [name for name in columns if name in parquet.schema_arrow.names]
            beside = _beside(store, join(self.root, beside_path(file.path))) if origin else None
            for number in range(parquet.num_row_groups):
                count = parquet.metadata.row_group(number).num_rows
                found = parquet.read_row_group(number, columns=stored, use_threads=False) if stored else None
                arrays = [self._column(found, name, file, count) for name in columns]
                fields = [self.schema.field(name) for name in columns]
                if beside is not None:
                    marks = beside.read_row_group(number, use_threads=False)
                    arrays += marks.columns
                    fields += list(marks.schema)
                yield pa.table(arrays, schema=pa.schema([pa.field(item.name, item.type) for item in fields]))

    def _column(self, found: pa.Table | None, name: str, file: StagedFile, count: int) -> pa.ChunkedArray | pa.Array:
        kind = self.schema.field(name).type
        if name in file.partition_values:
            return pa.repeat(pa.scalar(file.partition_values[name], pa.string()).cast(kind), count)
        if found is None or name not in found.column_names:
            return pa.nulls(count, kind)
        column = found[name]
        return column if column.type == kind else column.cast(kind)

    def remove(self) -> None:
        """Delete the files and what lies beside them."""
        store = open_store(self.root)
        for file in self.files:
            store.delete(join(self.root, file.path))
        self.forget_origin()

    def forget_origin(self) -> None:
        """Delete what lies beside the files: nothing needs to know any more where rows came from."""
        store = open_store(self.root)
        for file in self.files:
            store.delete(join(self.root, beside_path(file.path)))


def _beside(store: ObjectStore, uri: str) -> pq.ParquetFile:
    # A few bytes a row: read at once, so that no second connection stays open beside the data's.
    return pq.ParquetFile(io.BytesIO(store.read(uri)))


Marked = dict[int, np.ndarray[Any, Any]]
"""Rows of some files: a bit for each row (``np.packbits``) by the file's place in a ``StagedRows``."""


def marked(places: pa.Array, positions: pa.Array, files: Sequence[StagedFile]) -> Marked:
    """The rows at ``positions`` of the files at ``places``."""
    found: Marked = {}
    for place in pc.unique(places).to_pylist():
        flags = np.zeros(files[place].rows, dtype=bool)
        flags[positions.filter(pc.equal(places, place)).to_numpy(zero_copy_only=False)] = True
        found[place] = np.packbits(flags)
    return found


def joined(parts: Sequence[Marked]) -> Marked:
    """All rows that any of the parts marks."""
    whole: Marked = {}
    for part in parts:
        for place, bits in part.items():
            whole[place] = bits if place not in whole else whole[place] | bits
    return whole


def count_marked(rows: Marked) -> int:
    """How many rows are marked."""
    return sum(int(np.unpackbits(bits).sum()) for bits in rows.values())
