"""The elements of one top-level JSON array, cut out of a stream in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lakeray.errors import ReadError
from lakeray.importer.readers.blocks import RAW_BYTES, Block, Origin, Positions
from lakeray.importer.readers.stream import Source

_SPACE = b" \t\r\n"
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_COMMA, _QUOTE, _NEWLINE = 0x2C, 0x22, 0x0A
_STRUCTURAL = np.zeros(256, np.bool_)
_STRUCTURAL[list(b'"[]{},')] = True
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1


class _Scanner:
    """Finds the commas between elements and the bracket that ends the array, however the text is divided."""

    def __init__(self) -> None:
        self._depth = 1
        self._in_string = False
        self._escaping = False

    def feed(self, piece: bytes) -> tuple[Positions, int | None]:
        """Positions of commas between elements in ``piece``, and that of the closing bracket if it is there."""
        array = np.frombuffer(self._masked(piece), np.uint8)
        places = np.flatnonzero(_STRUCTURAL[array])
        kinds = array[places]
        quotes = kinds == _QUOTE
        # parity survives the overflow of 8 bits
        inside = (np.cumsum(quotes, dtype=np.uint8) + np.uint8(self._in_string)) & 1
        outside = (quotes | inside.view(np.bool_)) == 0
        self._in_string = bool(inside[-1]) if len(inside) else self._in_string
        places, kinds = places[outside], kinds[outside]
        depths = self._depth + np.cumsum(_STEP[kinds], dtype=np.int32)
        if not len(depths):
            return places, None
        ends = np.flatnonzero(depths <= 0)
        if len(ends):
            last = int(ends[0])
            commas: npt.NDArray[np.bool_] = (kinds[:last] == _COMMA) & (depths[:last] == 1)
            return places[:last][commas], int(places[last])
        self._depth = int(depths[-1])
        return places[(kinds == _COMMA) & (depths == 1)], None

    def _masked(self, piece: bytes) -> bytes:
        """The piece with every escape blotted out."""
        if self._escaping:
            piece = b"_" + piece[1:]
            self._escaping = False
        if b"\\" in piece:
            piece = _ESCAPED.sub(b"__", piece)
            self._escaping = piece.endswith(b"\\")
        return piece


class _Cutter:
    """Collects the text of unfinished elements, and makes blocks of finished ones."""

    def __init__(self, origin: Origin, limit: int) -> None:
        self.origin = origin
        self._limit = limit
        self._held: list[bytes] = []
        self._length = 0
        self._huge: Origin | None = None

    def hold(self, piece: bytes) -> None:
        """Keep text of an unfinished element; above the limit only its length and first bytes."""
        self._length += len(piece)
        if self._huge is not None:
            self.origin = _after(self.origin, piece)
            return
        self._held.append(piece)
        if self._length > self._limit + 2 * RAW_BYTES:
            text = b"".join(self._held)
            self._huge, self.origin = self.origin, _after(self.origin, text)
            self._held = [text[:RAW_BYTES]]

    def cut(self, piece: bytes, marks: Positions) -> Iterator[Block]:
        """Blocks of the elements that end at ``marks``; the text behind the last one is left to the caller."""
        if self._huge is not None:
            yield self._too_long(self._length + int(marks[0]))
            self.origin = _after(self.origin, piece[: marks[0] + 1], records=1)
            piece, marks = piece[marks[0] + 1 :], marks[1:] - (marks[0] + 1)
            if not len(marks):
                return
        text = b"".join([*self._held, piece[: marks[-1] + 1]])
        ends = marks + self._length
        self._held, self._length = [], 0
        array = np.frombuffer(text, np.uint8).copy()
        newlines = np.flatnonzero(array == _NEWLINE)
        array[ends] = _NEWLINE
        starts = np.zeros_like(ends)
        starts[1:] = ends[:-1] + 1
        yield Block(
            data=array.tobytes(), starts=starts, ends=ends, newlines=newlines, origin=self.origin, keep_empty=True
        )
        self.origin = _after(self.origin, text, records=len(ends))

    def _too_long(self, length: int) -> Block:
        assert self._huge is not None
        prefix = self._held[0]
        one = np.zeros(1, np.int64)
        block = Block(
            data=prefix,
            starts=one,
            ends=one + len(prefix),
            newlines=np.empty(0, np.int64),
            origin=self._huge,
            too_long=length,
        )
        self._held, self._length, self._huge = [], 0, None
        return block

    @property
    def pending(self) -> bool:
        """Whether text of an element is held that is more than white space."""
        return any(piece.strip(_SPACE) for piece in self._held)


def array_blocks(source: Source, size: int, limit: int, origin: Origin, *, name: str) -> Iterator[Block]:
    """Blocks of an array's elements; ``source`` begins behind the opening bracket, at ``origin``.

    Raises ReadError when the array is not closed or something follows it; the elements before that came already.
    """
    scanner, cutter = _Scanner(), _Cutter(origin, limit)
    while piece := source.read(size):
        commas, close = scanner.feed(piece)
        if close is None:
            rest = piece
            if len(commas):
                rest = piece[commas[-1] + 1 :]
                yield from cutter.cut(piece, commas)
            cutter.hold(rest)
            continue
        last = piece[commas[-1] + 1 if len(commas) else 0 : close]
        marks = np.append(commas, close)
        if not len(commas) and cutter.origin.row == 1 and not cutter.pending and not last.strip(_SPACE):
            marks = commas  # an empty array
        if len(marks):
            yield from cutter.cut(piece, marks)
        if piece[close : close + 1] != b"]":
            raise _damaged(name, cutter.origin, "a bracket closes that was never opened")
        _must_end(source, piece[close + 1 :], cutter.origin, name)
        return
    raise _damaged(name, cutter.origin, "it is not closed")


def _must_end(source: Source, rest: bytes, origin: Origin, name: str) -> None:
    while True:
        if rest.strip(_SPACE):
            raise _damaged(name, origin, "something follows it")
        rest = source.read(1 << 20)
        if not rest:
            return


def _damaged(name: str, origin: Origin, what: str) -> ReadError:
    return ReadError(
        f"the JSON array is damaged: {what}, near line {origin.line}, after element {origin.row - 1}",
        hint="repair the object; if it holds JSON lines, set options: {shape: lines} on the source",
        uri=name,
    )


def _after(origin: Origin, text: bytes, records: int = 0) -> Origin:
    lines = text.count(b"\n")
    column = len(text) - text.rfind(b"\n") - 1 if lines else origin.column + len(text)
    return Origin(row=origin.row + records, line=origin.line + lines, column=column)
