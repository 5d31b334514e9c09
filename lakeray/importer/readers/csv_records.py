"""The records of delimited text, cut out of a stream in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lakeray.importer.readers.blocks import RAW_BYTES, Block, Origin, Positions
from lakeray.importer.readers.csv_dialect import Dialect, Grammar, grammar_of
from lakeray.importer.readers.stream import Source

BAD_QUOTE = "a quoted field has text after its closing quote"
UNENDED = "a quoted field is not closed"
_LINE_END = re.compile(rb"\r\n?|\n")
_NEWLINE, _RETURN = 10, 13


@dataclass(kw_only=True, slots=True)
class _Cut:
    """Records found at the beginning of a text, ``used`` bytes of it, and why some are faulty, by index."""

    starts: list[Any] = field(default_factory=list)
    ends: list[Any] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)
    used: int = 0

    @property
    def count(self) -> int:
        return sum(map(len, self.starts))

    def add(self, starts: Any, ends: Any) -> None:
        filled = ends > starts
        if not filled.all():
            starts, ends = starts[filled], ends[filled]
        self.starts.append(starts)
        self.ends.append(ends)


class RecordCutter:
    """Cuts text of one dialect at the ends of records.

    A field that begins with a quote ends at the next one that is not doubled, over lines if need be. Where something
    else than a delimiter follows, or nothing closes it within ``limit`` bytes, its line alone is faulty and the next
    line begins a record.
    """

    def __init__(self, dialect: Dialect, limit: int) -> None:
        self._dialect = dialect
        self._grammar: Grammar = grammar_of(dialect)
        self._limit = limit

    def blocks(self, source: Source, size: int, origin: Origin) -> Iterator[tuple[Block, dict[int, str]]]:
        """Blocks of about ``size`` bytes, with the reasons for which some of their records are refused."""
        carry = b""
        while True:
            piece = source.read(size)
            text = carry + piece
            if not text:
                return
            cut = self._cut(text, final=not piece)
            block = _block(text, cut, origin)
            if len(block):
                yield block, cut.faults
            origin = _after(origin, block, text[: cut.used])
            carry = text[cut.used :]
            if not piece:
                return
            if len(carry) > self._limit + RAW_BYTES and not _LINE_END.search(carry):
                lost, carry = _skip_line(source, len(carry), carry[:RAW_BYTES])
                yield _giant(*lost, origin), {}
                origin = Origin(row=origin.row + 1, line=origin.line + 1)

    def _cut(self, text: bytes, *, final: bool) -> _Cut:
        cut = _Cut()
        shape = text
        if self._grammar.escaped is not None and self._dialect.escape is not None:
            shape = self._grammar.escaped.sub(b"__", text) if self._dialect.escape.encode() in text else text
        array = np.frombuffer(shape, np.uint8)
        ends, after = _line_ends(array, final=final)
        quotes: Positions | None = None
        if self._dialect.quote and self._dialect.quote.encode() in shape:
            quotes = np.flatnonzero(array == ord(self._dialect.quote))
        if quotes is not None and not _alternate(array, quotes, ord(self._dialect.delimiter)):
            self._walk(text, cut, final=final)
            return cut
        if quotes is not None:
            outside = np.searchsorted(quotes, ends) & 1 == 0
            ends, after = ends[outside], after[outside]
        if len(ends):
            starts = np.zeros_like(ends)
            starts[1:] = after[:-1]
            cut.add(starts, ends)
            cut.used = int(after[-1])
        if cut.used < len(text) and (final or len(text) - cut.used > self._limit):
            self._walk(text, cut, final=final)
        return cut

    def _walk(self, text: bytes, cut: _Cut, *, final: bool) -> None:
        """Go record by record from ``cut.used`` on, where quotes do not simply alternate."""
        starts: list[int] = []
        ends: list[int] = []
        before = cut.count
        while cut.used < len(text):
            begin = cut.used
            match = self._grammar.record.match(text, begin)
            if match is None:
                room = not final and len(text) - begin <= self._limit
                unended = self._grammar.unended.match(text, begin)
                if unended is not None and room:
                    break
                line = _LINE_END.search(text, begin)
                if not final and (line is None or (line.end() == len(text) and text.endswith(b"\r"))):
                    break  # a newline may follow in the next piece
                end, cut.used = line.span() if line else (len(text), len(text))
                if end > begin:
                    cut.faults[before + len(starts)] = BAD_QUOTE if unended is None else UNENDED
            else:
                end = match.end()
                if not final and end + 1 >= len(text) and not text.endswith(b"\n"):
                    break
                line = _LINE_END.match(text, end)
                cut.used = line.end() if line else end
            if end > begin:
                starts.append(begin)
                ends.append(end)
        if starts:
            cut.add(np.array(starts, np.int64), np.array(ends, np.int64))


def _line_ends(array: Any, *, final: bool) -> tuple[Positions, Positions]:
    """Where lines end, and where the following ones begin: at a newline, a carriage return, or both."""
    newlines = np.flatnonzero(array == _NEWLINE)
    returns = np.flatnonzero(array == _RETURN)
    if not len(returns):
        return newlines, newlines + 1
    if returns[-1] == len(array) - 1 and not final:
        returns = returns[:-1]  # a newline may follow in the next piece
    paired = array[np.minimum(returns + 1, len(array) - 1)] == _NEWLINE
    both = np.zeros(len(array) + 1, np.bool_)
    both[returns[paired] + 1] = True
    single = newlines[~both[newlines]]
    ends = np.concatenate((single, returns))
    after = np.concatenate((single + 1, returns + 1 + paired))
    order = np.argsort(ends, kind="stable")
    return ends[order], after[order]


def _alternate(array: Any, quotes: Positions, delimiter: int) -> bool:
    """Whether quotes open only at a field's begin and close only at its end, but for doubled ones."""
    edge = np.zeros(256, np.bool_)
    edge[[delimiter, _NEWLINE, _RETURN, array[quotes[0]]]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    before = edge[array[opening - 1]] | (opening == 0)
    after = edge[array[np.minimum(closing + 1, len(array) - 1)]] | (closing == len(array) - 1)
    return bool(before.all() and after.all())


def _block(text: bytes, cut: _Cut, origin: Origin) -> Block:
    none = np.empty(0, np.int64)
    starts = np.concatenate(cut.starts) if cut.starts else none
    ends = np.concatenate(cut.ends) if cut.ends else none
    data = text[: cut.used]
    return Block(data=data, starts=starts, ends=ends, newlines=none, origin=origin)


def _after(origin: Origin, block: Block, used: bytes) -> Origin:
    return Origin(row=origin.row + len(block), line=origin.line + count_lines(used))


def count_lines(text: bytes) -> int:
    """How many lines end in a text."""
    lines = text.count(b"\n")
    return lines + text.count(b"\r") - text.count(b"\r\n") if b"\r" in text else lines


def _skip_line(source: Source, held: int, prefix: bytes) -> tuple[tuple[bytes, int], bytes]:
    while piece := source.read(1 << 20):
        found = _LINE_END.search(piece)
        if found:
            return (prefix, held + found.start()), piece[found.end() :]
        held += len(piece)
    return (prefix, held), b""


def _giant(prefix: bytes, length: int, origin: Origin) -> Block:
    zero = np.zeros(1, np.int64)
    return Block(
        data=prefix,
        starts=zero,
        ends=zero + len(prefix),
        newlines=np.empty(0, np.int64),
        origin=origin,
        too_long=length,
    )
