"""Delimited text as rows of strings; every record that has no place is refused by itself."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from lakeray.errors import ReadError
from lakeray.importer.readers.blocks import Block, Origin, is_utf8, rows_of, too_long_reason, undecodable
from lakeray.importer.readers.coalesce import coalesced
from lakeray.importer.readers.csv_dialect import Dialect, dialect_of, unique_names
from lakeray.importer.readers.csv_records import RecordCutter, count_lines
from lakeray.importer.readers.port import Chunk, ReadOptions, Refused
from lakeray.importer.readers.stream import Source

_BLOCK_BYTES = 4 << 20  # parsing is slower above; about 100,000 rows


def read_csv(source: Source, options: ReadOptions, *, name: str) -> Iterator[Chunk]:
    """Chunks of UTF-8 text without a byte order mark, every column a string.

    The header is no record: row 1 is the first record after it. Blank lines are none either. A file with only a header
    gives one chunk without rows. Raises ReadError for a header that cannot be read and for options that make no sense.
    """
    yield from coalesced(_blocks_read(source, options, name), options.chunk_bytes)


def _blocks_read(source: Source, options: ReadOptions, name: str) -> Iterator[Chunk]:
    dialect = dialect_of(options, name=name)
    size = min(options.chunk_bytes, _BLOCK_BYTES)
    skipped = _skip_lines(source, dialect.skip_lines)
    cutter = RecordCutter(dialect, options.max_record_bytes)
    table: _Table | None = None
    for block, faults in cutter.blocks(source, max(size, 1), Origin(line=1 + skipped)):
        here, reasons = block, faults
        if table is None:
            table = _Table(dialect, options.max_record_bytes, _columns(dialect, block, faults, name))
            if dialect.header:
                here, reasons = _without_header(block), {index - 1: why for index, why in faults.items()}
                if not len(here):
                    yield Chunk(table=table.empty(), rows=pa.array([], pa.int64()))
                    continue
        elif dialect.header:
            here = replace(block, origin=replace(block.origin, row=block.origin.row - 1))
        yield table.chunk(here, reasons)


class _Table:
    """Parses blocks of one file into chunks with the same columns."""

    def __init__(self, dialect: Dialect, limit: int, names: list[str]) -> None:
        self._dialect = dialect
        self._limit = limit
        self._names = names
        chosen = names if dialect.columns is None else [name for name in names if name in dialect.columns]
        self._schema = pa.schema([(name, pa.string()) for name in chosen])

    def empty(self) -> Any:
        """The table without rows."""
        return self._schema.empty_table()

    def chunk(self, block: Block, faults: dict[int, str]) -> Chunk:
        """All records of a block, as rows or refused."""
        reasons = dict(faults)
        if block.too_long is not None:
            reasons[0] = too_long_reason(block.too_long, self._limit)
        lengths = block.ends - block.starts
        for index in np.flatnonzero(lengths > self._limit):
            reasons[int(index)] = too_long_reason(int(lengths[index]), self._limit)
        if not is_utf8(block.data):
            for position, offset in undecodable(block).items():
                reasons.setdefault(position, f"byte {offset + 1} of the record is not valid in the text's encoding")
        kept = np.ones(len(block), np.bool_)
        kept[list(reasons)] = False
        data = block.data
        if reasons:
            data = b"\n".join(block.records(kept))
        table = self._parsed(block, data, np.flatnonzero(kept), reasons)
        if not reasons:
            return Chunk(table=table, rows=rows_of(block))
        kept[list(reasons)] = False
        refused = _refusals(block, reasons)
        return Chunk(table=table, rows=rows_of(block, kept), refused=refused)

    def _parsed(self, block: Block, data: bytes, indices: Any, reasons: dict[int, str]) -> Any:
        """The rows of the records at ``indices``, whose text is ``data``; records that are none get their reason."""
        if not len(indices):
            return self.empty()
        table, wrong = self._parse(data)
        if table is not None and table.num_rows + len(wrong) == len(indices):
            for number, found in wrong:
                reasons[int(indices[number - 1])] = f"expected {len(self._names)} columns, found {found}"
            return table
        if len(indices) == 1:
            reasons[int(indices[0])] = "the record cannot be read as one row"
            return self.empty()
        halves = np.array_split(indices, 2)
        texts = (b"\n".join([block.record(index) for index in half]) for half in halves)
        parts = [self._parsed(block, text, half, reasons) for text, half in zip(texts, halves, strict=True)]
        return pa.concat_tables(parts)

    def _parse(self, data: bytes) -> tuple[Any, list[tuple[int, int]]]:
        wrong: list[tuple[int, int]] = []

        def refuse(row: Any) -> str:
            wrong.append((row.number, row.actual_columns))
            return "skip"

        dialect = self._dialect
        try:
            table = pc.read_csv(
                pa.BufferReader(data if data.endswith((b"\n", b"\r")) else data + b"\n"),
                read_options=pc.ReadOptions(use_threads=False, column_names=self._names, block_size=len(data) + 64),
                parse_options=pc.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char=dialect.quote or False,
                    double_quote=dialect.quote is not None,
                    escape_char=dialect.escape or False,
                    invalid_row_handler=refuse,
                ),
                convert_options=pc.ConvertOptions(
                    column_types=dict.fromkeys(self._names, pa.string()),
                    include_columns=None if dialect.columns is None else self._schema.names,
                    strings_can_be_null=True,
                    null_values=list(dialect.null_values),
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowInvalid:
            return None, []
        return table, wrong


def _columns(dialect: Dialect, block: Block, faults: dict[int, str], name: str) -> list[str]:
    """The names of a file's columns, from its header or the width of its first record."""
    if dialect.names is not None and not dialect.header:
        return unique_names(dialect.names)
    if 0 in faults or block.too_long is not None:
        raise ReadError(
            f"line {block.origin.line}: the first record is malformed, so the columns are not known",
            hint="repair it, or give options: {names: [...], header: false}",
            uri=name,
        )
    if dialect.names is not None:
        return unique_names(dialect.names)
    try:
        fields = dialect.fields(block.record(0).decode("utf-8"))
    except (UnicodeDecodeError, csv.Error):
        raise ReadError(
            f"line {block.origin.line}: the header cannot be read in this encoding",
            hint="set encoding on the source, such as latin-1",
            uri=name,
        ) from None
    return unique_names(fields if dialect.header else [""] * len(fields))


def _without_header(block: Block) -> Block:
    if len(block) == 1:
        return replace(block, starts=block.starts[1:], ends=block.ends[1:])
    begin = int(block.starts[1])
    line = block.origin.line + count_lines(block.data[:begin])
    return replace(
        block,
        data=block.data[begin:],
        starts=block.starts[1:] - begin,
        ends=block.ends[1:] - begin,
        origin=replace(block.origin, line=line),
    )


def _refusals(block: Block, reasons: dict[int, str]) -> list[Refused]:
    """Refused records in order, each with the line that it begins on."""
    refused: list[Refused] = []
    line, position = block.origin.line, 0
    for index in sorted(reasons):
        start = int(block.starts[index])
        line, position = line + count_lines(block.data[position:start]), start
        record = block.refuse(index, reasons[index])
        refused.append(replace(record, line=line))
    return refused


def _skip_lines(source: Source, count: int) -> int:
    """Read past some lines; how many there were."""
    skipped = 0
    while skipped < count and (piece := source.read(1 << 16)):
        found = piece.find(b"\n")
        if found >= 0:
            source.unread(piece[found + 1 :])
            skipped += 1
    return skipped
