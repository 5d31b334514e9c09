"""Small neighbouring chunks joined to ones of the wanted size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import pyarrow as pa

from lakeray.errors import ReadError
from lakeray.importer.readers.port import Chunk


def coalesced(chunks: Iterable[Chunk], aim: int) -> Iterator[Chunk]:
    """The same rows in the same order, in chunks of up to about ``aim`` bytes as long as their columns stay the same.

    Parsers are fastest on blocks that fit the processor's cache, what comes after them on more rows. Nothing is copied.
    What was read before an error comes before it.
    """
    held: list[Chunk] = []
    size = 0
    waiting = iter(chunks)
    while True:
        try:
            chunk = next(waiting, None)
        except ReadError:
            if held:
                yield _joined(held)
            raise
        if chunk is None:
            break
        if held and not (size < aim and _alike(held[0], chunk)):
            yield _joined(held)
            held, size = [], 0
        held.append(chunk)
        size += chunk.table.nbytes
    if held:
        yield _joined(held)


def _alike(first: Chunk, second: Chunk) -> bool:
    """Whether two chunks have the same columns, at least one.

    Arrow forgets how many rows joined tables have when they have no columns.
    """
    return bool(first.table.num_columns and first.table.schema.equals(second.table.schema))


def _joined(chunks: list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    extras = None
    if any(chunk.extras is not None for chunk in chunks):
        none = (pa.nulls(len(chunk.rows), pa.string()) if chunk.extras is None else chunk.extras for chunk in chunks)
        extras = pa.concat_arrays(list(none))
    return Chunk(
        table=pa.concat_tables([chunk.table for chunk in chunks]),
        rows=pa.concat_arrays([chunk.rows for chunk in chunks]),
        refused=list(chain.from_iterable(chunk.refused for chunk in chunks)),
        extras=extras,
    )
