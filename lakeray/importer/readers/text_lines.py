"""Text, one row a line."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from lakeray.importer.readers.blocks import (
    RAW_BYTES,
    Block,
    Origin,
    all_line_spans,
    is_utf8,
    rows_of,
    too_long_reason,
    undecodable,
    whole_lines,
)
from lakeray.importer.readers.port import Chunk, ReadOptions
from lakeray.importer.readers.stream import Source


def read_text(source: Source, options: ReadOptions, *, name: str) -> Iterator[Chunk]:
    """Chunks of one column ``value`` without line ends.

    Empty lines are rows; what follows the last line end is one only if there is something.
    """
    del name
    row = 1
    limit = options.max_record_bytes
    for data, length in whole_lines(source, max(options.chunk_bytes, 1), limit):
        starts, ends, newlines = all_line_spans(data)
        if length is not None:
            starts, ends = np.zeros(1, np.int64), np.full(1, min(len(data), RAW_BYTES), np.int64)
        origin = Origin(row=row, line=row)
        block = Block(data=data, starts=starts, ends=ends, newlines=newlines, origin=origin, too_long=length)
        yield _chunk(block, limit)
        row += len(block)


def _chunk(block: Block, limit: int) -> Chunk:
    lengths = block.ends - block.starts if block.too_long is None else np.array([block.too_long])
    reasons: dict[int, tuple[str, int | None]] = {
        int(index): (too_long_reason(int(lengths[index]), limit), None) for index in np.flatnonzero(lengths > limit)
    }
    if block.too_long is None and not is_utf8(block.data):
        for index, offset in undecodable(block).items():
            reasons.setdefault(index, ("the text is not valid in its encoding", offset))
    kept = np.ones(len(block), np.bool_)
    kept[list(reasons)] = False
    values = pa.array(block.records(kept), pa.binary()).cast(pa.string())
    refused = [block.refuse(index, *reasons[index]) for index in sorted(reasons)]
    return Chunk(table=pa.table({"value": values}), rows=rows_of(block, kept), refused=refused)
