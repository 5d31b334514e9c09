"""Parquet, ORC and Arrow IPC objects, a part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from lakeray.errors import ReadError
from lakeray.importer.readers.port import Chunk, ReadOptions
from lakeray.importer.readers.sniff import looks_like
from lakeray.importer.readers.stream import WatchedFile

_MOST_ROWS = 1 << 20
_HEAD = 1024


def read_parquet(file: WatchedFile, options: ReadOptions, *, name: str) -> Iterator[Chunk]:
    """Chunks of about ``chunk_bytes`` out of one row group after the other.

    Raises ReadError for a broken footer or row group.
    """
    import pyarrow.parquet as pq

    _expect(file, (b"PAR1",), "Parquet", name)
    with _damage(file, name, "the Parquet footer cannot be read: the object is truncated or damaged"):
        parquet = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True)
        metadata, columns = parquet.metadata, _columns(options, parquet.schema_arrow)
    row = 1
    for group in range(metadata.num_row_groups):
        with _damage(file, name, f"row group {group + 1} of {metadata.num_row_groups} cannot be read"):
            part = metadata.row_group(group)
            rows = _batch_rows(part.total_byte_size, part.num_rows, options.chunk_bytes)
            batches = parquet.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)
        begin = row
        while True:
            with _damage(file, name, f"row group {group + 1} of {metadata.num_row_groups} cannot be read", row):
                batch = next(batches, None)
                if batch is None:
                    break
                _valid(batch)
            yield _chunk(pa.Table.from_batches([batch]), row)
            row += batch.num_rows
        if row - begin != part.num_rows:
            raise _error(name, f"row group {group + 1} promises {part.num_rows} rows and holds {row - begin}", row)


def read_orc(file: WatchedFile, options: ReadOptions, *, name: str) -> Iterator[Chunk]:
    """Chunks of one stripe after the other. Raises ReadError for a broken footer or stripe."""
    from pyarrow import orc

    _expect(file, (b"ORC",), "ORC", name)
    with _damage(file, name, "the ORC footer cannot be read: the object is truncated or damaged"):
        reader = orc.ORCFile(file)
        columns = _columns(options, reader.schema)
    row = 1
    for stripe in range(reader.nstripes):
        with _damage(file, name, f"stripe {stripe + 1} of {reader.nstripes} cannot be read", row):
            batch = reader.read_stripe(stripe, columns=columns)
            table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
            _valid(table)
        yield from _slices(table, row, options.chunk_bytes)
        row += table.num_rows
    if row - 1 != reader.nrows:
        raise _error(name, f"the footer promises {reader.nrows} rows and the stripes hold {row - 1}", row)


def read_arrow(file: WatchedFile, options: ReadOptions, *, name: str) -> Iterator[Chunk]:
    """Chunks of one record batch after the other, of a file or a stream. Raises ReadError for a broken part."""
    head = _expect(file, (b"ARROW1", b"\xff\xff\xff\xff"), "Arrow IPC", name)
    row = 1
    with _damage(file, name, "the Arrow schema or footer cannot be read: the object is truncated or damaged"):
        reader: Any = pa.ipc.open_file(file) if head.startswith(b"ARROW1") else pa.ipc.open_stream(file)
        columns = _columns(options, reader.schema)
        batches = _file_batches(reader) if head.startswith(b"ARROW1") else iter(reader)
    number = 1
    while True:
        with _damage(file, name, f"record batch {number} cannot be read", row):
            batch = next(batches, None)
            if batch is None:
                return
            batch.validate(full=True)
            table = pa.Table.from_batches([batch])
        table = table if columns is None else table.select(columns)
        yield from _slices(table, row, options.chunk_bytes)
        row += table.num_rows
        number += 1


def _file_batches(reader: Any) -> Iterator[Any]:
    for index in range(reader.num_record_batches):
        yield reader.get_batch(index)


def _expect(file: WatchedFile, magics: tuple[bytes, ...], what: str, name: str) -> bytes:
    head = file.read(_HEAD)
    file.seek(0)
    if not head.startswith(magics):
        raise ReadError(
            f"the object is not {what}: it looks like {looks_like(head)}"
            if head
            else f"the object is not {what}: it is empty",
            hint="set the source's format to what the objects are, or narrow its uri to the right ones",
            uri=name,
        )
    return head


@contextmanager
def _damage(file: WatchedFile, name: str, what: str, row: int | None = None) -> Iterator[None]:
    """Errors of Arrow as ReadError; those of the store below as they are."""
    try:
        yield
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        KeyError,
        IndexError,
        OverflowError,
        MemoryError,
        TypeError,
    ) as error:
        if file.error is not None:
            raise file.error from None
        why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise _error(name, f"{what} ({why})", row) from None


def _error(name: str, what: str, row: int | None) -> ReadError:
    place = "" if row is None else f", from row {row} on"
    return ReadError(f"{what}{place}", hint="write the object again; rows before were readable", uri=name)


def _columns(options: ReadOptions, schema: Any) -> list[str] | None:
    """The wanted columns that there are, None for all. Raises ValueError where a name at any depth is not text."""
    waiting = list(schema)
    while waiting:
        field = waiting.pop()
        if not isinstance(field.name, str):
            raise TypeError("a column has no name")
        waiting.extend(field.type.field(i) for i in range(field.type.num_fields))
    wanted = options.options.get("columns")
    if not isinstance(wanted, list | tuple):
        return None
    return [field for field in schema.names if field in wanted]


def _batch_rows(size: int, rows: int, aim: int) -> int:
    each = max(1, size // max(1, rows))
    return max(1, min(_MOST_ROWS, aim // each))


def _slices(table: Any, row: int, aim: int) -> Iterator[Chunk]:
    rows = _batch_rows(table.nbytes, table.num_rows, aim)
    for start in range(0, table.num_rows, rows):
        yield _chunk(table.slice(start, rows), row + start)


def _chunk(table: Any, row: int) -> Chunk:
    return Chunk(table=table, rows=pa.array(np.arange(row, row + table.num_rows, dtype=np.int64)))


def _valid(data: Any) -> None:
    """Text that is not UTF-8 must not pass: it cannot be told apart later."""
    data.validate(full=True)
