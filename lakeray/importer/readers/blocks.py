"""Blocks of whole records, cut out of a stream of text in bounded memory."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lakeray.importer.readers.port import Refused
from lakeray.importer.readers.stream import Source

RAW_BYTES = 64 * 1024
Positions = npt.NDArray[np.int64]
_NEWLINE = 10
_RETURN = 13


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Where a block begins: the 1-based number of its first record and line, and the bytes before it on that line."""

    row: int = 1
    line: int = 1
    column: int = 0


@dataclass(kw_only=True, slots=True, eq=False)
class Block:
    """Some records: record ``i`` is ``data[starts[i]:ends[i]]``.

    ``newlines`` are the positions of line ends in ``data``.

    ``too_long`` is the length of the only record when it is above the limit; ``data`` then holds its first 64 KiB only.
    With ``keep_empty`` a record of nothing but white space is a record all the same.
    """

    data: bytes
    starts: Positions
    ends: Positions
    newlines: Positions
    origin: Origin
    too_long: int | None = None
    keep_empty: bool = False

    def __len__(self) -> int:
        return len(self.starts)

    def record(self, index: int) -> bytes:
        """The bytes of one record."""
        return self.data[self.starts[index] : self.ends[index]]

    def records(self, chosen: npt.NDArray[np.bool_] | None = None) -> list[bytes]:
        """The bytes of every record, or of the chosen ones."""
        starts, ends = (self.starts, self.ends) if chosen is None else (self.starts[chosen], self.ends[chosen])
        data = self.data
        return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def row(self, index: int) -> int:
        """The 1-based number of one record in its object."""
        return self.origin.row + index

    def place(self, index: int, offset: int = 0) -> tuple[int, int]:
        """Line and column, both 1-based, of the byte ``offset`` of one record; columns count bytes."""
        position = int(self.starts[index]) + offset
        before = int(np.searchsorted(self.newlines, position))
        if before == 0:
            return self.origin.line, self.origin.column + position + 1
        return self.origin.line + before, position - int(self.newlines[before - 1])

    def refuse(self, index: int, reason: str, offset: int | None = None) -> Refused:
        """The record as a refused one; its column only where the fault's ``offset`` is known."""
        line, column = self.place(index, offset or 0)
        raw = self.data[self.starts[index] : min(self.ends[index], self.starts[index] + RAW_BYTES)]
        return Refused(
            row=self.row(index), line=line, column=None if offset is None else column, reason=reason, raw=raw
        )


def rows_of(block: Block, kept: npt.NDArray[np.bool_] | None = None) -> Any:
    """The record numbers of a block's rows as an Arrow array."""
    numbers = np.arange(block.origin.row, block.origin.row + len(block), dtype=np.int64)
    return pa.array(numbers if kept is None else numbers[kept])


def too_long_reason(length: int, limit: int) -> str:
    """Why a record above the limit is refused."""
    return f"the record is {length} bytes long, above the limit of {limit} (max_record_bytes)"


def whole_lines(source: Source, size: int, limit: int) -> Iterator[tuple[bytes, int | None]]:
    """Text of whole lines of about ``size`` bytes, each ending with a newline except perhaps the last.

    A line above ``limit`` that does not fit into one piece comes as (its first bytes, its length) without its line end.
    """
    carry: list[bytes] = []
    held = 0
    while piece := source.read(size):
        cut = piece.rfind(b"\n") + 1
        if cut:
            yield b"".join([*carry, piece[:cut]]), None
            carry, held = [piece[cut:]], len(piece) - cut
            continue
        carry.append(piece)
        held += len(piece)
        if held > limit + 1:
            prefix = b"".join(carry)[:RAW_BYTES]
            carry = []
            held, rest = _skip_line(source, size, held)
            yield prefix, held
            carry, held = [rest], len(rest)
    if held:
        yield b"".join(carry), None


def _skip_line(source: Source, size: int, held: int) -> tuple[int, bytes]:
    while piece := source.read(min(size, 1 << 20)):
        cut = piece.find(b"\n")
        if cut >= 0:
            return held + cut, piece[cut + 1 :]
        held += len(piece)
    return held, b""


def line_spans(data: bytes) -> tuple[Positions, Positions, Positions]:
    """Starts and ends of every line of ``data`` that is not empty, and the positions of line ends.

    A carriage return before the line end is not part of the line.
    """
    starts, ends, newlines = all_line_spans(data)
    full = ends > starts
    if not full.all():
        starts, ends = starts[full], ends[full]
    return starts, ends, newlines


def all_line_spans(data: bytes) -> tuple[Positions, Positions, Positions]:
    """Starts, ends (without a carriage return) and positions of line ends of every line of ``data``."""
    array = np.frombuffer(data, np.uint8)
    newlines = np.flatnonzero(array == _NEWLINE)
    ends = newlines
    if len(data) and array[-1] != _NEWLINE:
        ends = np.append(newlines, len(data))
    starts = np.empty_like(ends)
    if len(ends):
        starts[0] = 0
        starts[1:] = ends[:-1] + 1
    before = array[np.maximum(ends - 1, 0)]
    returns = (before == _RETURN) & (ends > starts)
    if returns.any():
        ends = ends - returns
    return starts, ends, newlines


def is_utf8(data: bytes) -> bool:
    """Whether all of ``data`` is valid UTF-8, at about 20 GB/s."""
    if data.isascii():
        return True
    offsets = pa.py_buffer(np.array([0, len(data)], np.int64))
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(data)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def undecodable(block: Block) -> dict[int, int]:
    """Records of a block that are not valid UTF-8, each with the offset of its first such byte."""
    found: dict[int, int] = {}
    view = memoryview(block.data)
    position = 0
    while position < len(view):
        try:
            codecs.utf_8_decode(view[position:], "strict", True)
        except UnicodeDecodeError as error:
            at = position + error.start
            index = int(np.searchsorted(block.starts, at, side="right")) - 1
            if index >= 0 and at < block.ends[index]:
                found[index] = at - int(block.starts[index])
            following = index + 1
            position = int(block.starts[following]) if following < len(block) else len(view)
        else:
            break
    return found
