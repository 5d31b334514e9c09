"""One object as one row of bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from lakeray.importer.readers.blocks import RAW_BYTES, too_long_reason
from lakeray.importer.readers.port import Chunk, ReadOptions, Refused
from lakeray.importer.readers.stream import Source


def read_binary(source: Source, options: ReadOptions, *, name: str) -> Iterator[Chunk]:
    """One chunk with one row, column ``content``, refused above ``max_record_bytes``: more is never held in memory."""
    del name
    content = source.read(options.max_record_bytes + 1)
    length = len(content)
    if length <= options.max_record_bytes:
        table = pa.table({"content": pa.array([content], pa.large_binary() if length >= 2**31 else pa.binary())})
        yield Chunk(table=table, rows=pa.array([1], pa.int64()))
        return
    while piece := source.read(1 << 20):
        length += len(piece)
    refused = Refused(row=1, reason=too_long_reason(length, options.max_record_bytes), raw=content[:RAW_BYTES])
    empty = pa.table({"content": pa.array([], pa.binary())})
    yield Chunk(table=empty, rows=pa.array([], pa.int64()), refused=[refused])
