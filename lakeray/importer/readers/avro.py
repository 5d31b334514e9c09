"""Avro object container files, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from lakeray.errors import ReadError
from lakeray.importer.readers.avro_types import Converter, column_types
from lakeray.importer.readers.port import Chunk, ReadOptions
from lakeray.importer.readers.sniff import looks_like
from lakeray.importer.readers.stream import WatchedFile

_MAGIC = b"Obj\x01"


def read_avro(file: WatchedFile, options: ReadOptions, *, name: str) -> Iterator[Chunk]:
    """Chunks of one block after the other.

    Logical types arrive as Arrow's. A union of null with one type is that type; one of several other types, like a type
    that contains itself, arrives as JSON text. Raises ReadError for a broken header or block, with the record from
    which on nothing is readable.
    """
    import fastavro

    head = file.read(1024)
    file.seek(0)
    if not head.startswith(_MAGIC):
        raise ReadError(
            f"the object is not Avro: it looks like {looks_like(head)}"
            if head
            else "the object is not Avro: it is empty",
            hint="set the source's format to what the objects are, or narrow its uri to the right ones",
            uri=name,
        )
    row, number = 1, 1
    try:
        blocks: Any = fastavro.block_reader(file)
        converters = column_types(blocks.writer_schema)
    except Exception as error:  # noqa: BLE001 - see _damaged
        raise _damaged(file, name, "the Avro header cannot be read", error) from None
    while True:
        try:
            block = next(blocks, None)
            if block is None:
                return
            records = list(block)
            table = _table(records, converters)
        except Exception as error:  # noqa: BLE001 - see _damaged
            what = f"Avro block {number} cannot be read, from row {row} on"
            raise _damaged(file, name, what, error) from None
        step = max(1, min(len(records), options.chunk_bytes // max(1, table.nbytes // max(1, len(records)))))
        for start in range(0, len(records), step):
            part = table.slice(start, step)
            rows = pa.array(np.arange(row + start, row + start + part.num_rows, dtype=np.int64))
            yield Chunk(table=part, rows=rows)
        row += len(records)
        number += 1


def _table(records: list[Any], converters: dict[str, Converter] | Converter) -> Any:
    if isinstance(converters, Converter):
        return pa.table({"value": pa.array(map(converters.value, records), converters.type, len(records))})
    columns = {
        name: pa.array([converter.value(record[name]) for record in records], converter.type)
        for name, converter in converters.items()
    }
    if not columns:
        return pa.Table.from_pylist([{} for _ in records], schema=pa.schema([]))
    return pa.table(columns)


def _damaged(file: WatchedFile, name: str, what: str, error: Exception) -> BaseException:
    """A ReadError, or the store's own error: fastavro raises almost anything on damaged bytes."""
    if file.error is not None:
        return file.error
    why = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
    return ReadError(f"{what} ({why})", hint="write the object again; rows before were readable", uri=name)
