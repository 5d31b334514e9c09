"""The contract of a reader: bytes of one object in, chunks of rows and refused records out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

import pyarrow as pa


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """One record that cannot be read.

    ``row`` is its 1-based number among all records of the object, refused ones included. ``line`` and ``column`` are
    1-based where the format has lines. ``reason`` never quotes the record's content. ``raw`` is the record's own
    bytes, cut to 64 KiB, or None.
    """

    row: int
    line: int | None = None
    column: int | None = None
    reason: str
    raw: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Rows in wire types, as the format gives them (CSV: all strings), with where they came from.

    ``rows`` holds the 1-based record number of every row of ``table`` (int64); ``refused`` the records between them.
    ``extras`` holds, row by row, a JSON object text of fields that could not be put into ``table``'s columns because
    their type clashed within the chunk (None where all fitted), or is None when there are none at all.
    """

    table: pa.Table
    rows: pa.Int64Array
    refused: list[Refused] = field(default_factory=list)
    extras: pa.StringArray | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadOptions:
    """How to read objects of one source.

    ``wire_schema`` holds the types to read known columns as (from inference or hints): a reader uses it where that is
    faster or needed and never fails because of it; what is not in it is inferred. ``columns`` asks for these columns
    only where the format makes that cheap. ``chunk_bytes`` is the aim for the memory of a chunk; ``max_record_bytes``
    the size above which a record is refused.
    """

    format: str
    compression: str | None = None
    encoding: str = "utf-8"
    wire_schema: pa.Schema | None = None
    max_record_bytes: int = 16 * 2**20
    chunk_bytes: int = 16 * 2**20
    options: dict[str, object] = field(default_factory=dict)


class Reader(Protocol):
    """Reads one object.

    Yields chunks in record order, with memory bounded by a small multiple of ``chunk_bytes`` plus
    ``max_record_bytes`` (columnar formats: plus one row group, stripe or batch), whatever the object's size. A
    malformed record is refused by itself. Raises ReadError, with line or offset where known, when nothing after some
    point can be read (truncated gzip, broken footer); chunks yielded before that were good. Never yields a null for a
    value that was there.
    """

    def __call__(self, file: BinaryIO, options: ReadOptions) -> Iterator[Chunk]: ...
