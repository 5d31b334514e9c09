"""JSON lines or one JSON array, in chunks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lakeray.errors import ReadError
from lakeray.importer.readers.blocks import Block, Origin, line_spans, whole_lines
from lakeray.importer.readers.coalesce import coalesced
from lakeray.importer.readers.json_array import array_blocks
from lakeray.importer.readers.json_chunks import JsonChunks
from lakeray.importer.readers.port import Chunk, ReadOptions
from lakeray.importer.readers.stream import Source

SHAPES = ("auto", "lines", "array")
_BLOCK_BYTES = 4 << 20  # larger blocks parse slower
_SPACE = b" \t\r\n"


def read_json(source: Source, options: ReadOptions, *, name: str) -> Iterator[Chunk]:
    """Chunks of UTF-8 text without a byte order mark.

    ``options.options["shape"]`` is ``lines``, ``array`` or ``auto``: then text that begins with a bracket is an array.
    In lines, every line that is not blank is a record. Raises ReadError for a damaged array, and for a shape that is
    not known.
    """
    shape = options.options.get("shape", "auto")
    if shape not in SHAPES:
        raise ReadError(f"JSON shape {shape!r} is not known", hint=f"one of {', '.join(SHAPES)}", uri=name)
    begin, origin = _skip_blank(source)
    if not begin:
        return
    if shape == "auto":
        shape = "array" if begin == b"[" else "lines"
    size = max(1, min(options.chunk_bytes, _BLOCK_BYTES))
    chunks = JsonChunks(options)
    if shape == "lines":
        blocks = line_blocks(source, size, options.max_record_bytes, origin)
    elif begin == b"[":
        source.read(1)
        origin = Origin(row=1, line=origin.line, column=origin.column + 1)
        blocks = array_blocks(source, size, options.max_record_bytes, origin, name=name)
    else:
        raise ReadError("the object does not begin with '[' as a JSON array does", hint="set shape: lines", uri=name)
    parsed = (chunk for block in blocks for chunk in chunks.chunks(block))
    yield from coalesced(parsed, options.chunk_bytes)


def line_blocks(source: Source, size: int, limit: int, origin: Origin) -> Iterator[Block]:
    """Blocks of about ``size`` bytes whose records are the lines that are not blank."""
    row, line, column = origin.row, origin.line, origin.column
    for data, length in whole_lines(source, size, limit):
        if length is None:
            starts, ends, newlines = line_spans(data)
            if _any_blank(data, starts):
                filled = np.array([bool(data[s:e].strip(_SPACE)) for s, e in zip(starts, ends, strict=True)], np.bool_)
                starts, ends = starts[filled], ends[filled]
            lines = len(newlines)
        else:
            starts, ends = np.zeros(1, np.int64), np.full(1, len(data), np.int64)
            newlines, lines = np.empty(0, np.int64), 1
        here = Origin(row=row, line=line, column=column)
        yield Block(data=data, starts=starts, ends=ends, newlines=newlines, origin=here, too_long=length)
        row, line, column = row + len(starts), line + lines, 0


def _any_blank(data: bytes, starts: np.typing.NDArray[np.int64]) -> bool:
    first = np.frombuffer(data, np.uint8)[starts]
    return bool(((first == _SPACE[0]) | (first == _SPACE[1]) | (first == _SPACE[2])).any())


def _skip_blank(source: Source) -> tuple[bytes, Origin]:
    """Read past white space; the byte that comes next, and its place."""
    line, column = 1, 0
    while piece := source.read(1 << 16):
        text = piece.lstrip(_SPACE)
        gone = piece[: len(piece) - len(text)]
        lines = gone.count(b"\n")
        line, column = line + lines, len(gone) - gone.rfind(b"\n") - 1 if lines else column + len(gone)
        if text:
            source.unread(text)
            return text[:1], Origin(line=line, column=column)
    return b"", Origin()
