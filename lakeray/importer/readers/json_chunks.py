"""Every record of a JSON block becomes a row or a refused record with its reason."""

from __future__ import annotations

import json
import math
import operator
import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa

from lakeray.importer.readers.blocks import Block, Origin, is_utf8, rows_of, too_long_reason, undecodable
from lakeray.importer.readers.json_apart import extra_text, set_apart
from lakeray.importer.readers.json_mixed import holds_inexact, mixed_table
from lakeray.importer.readers.json_table import MAX_DEPTH, NotATable, TableReader, read_json
from lakeray.importer.readers.json_types import large_floats
from lakeray.importer.readers.port import Chunk, ReadOptions

_SMALL = 1 << 20
_HEAD = 1 << 16
_CRASH_DEPTH = 500  # pyarrow recurses; far below what its stack bears
_SPACE = b" \t\r\n"
_OPEN, _CLOSE, _LIST = 0x7B, 0x7D, 0x5B
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")

Reasons = dict[int, tuple[str, int | None]]


class _Object(msgspec.Struct):
    """Any JSON object; msgspec skips over the fields, which is the fastest way to know that a line is well-formed."""


_WELL_FORMED = msgspec.json.Decoder(_Object).decode


class JsonChunks:
    """Turns blocks of one object into chunks.

    Fast where every record of a block is an object and types agree; otherwise malformed records are found and refused
    one by one, and values of columns whose types clash go to ``extras``. NaN and Infinity are read as Python's json
    writes them. A field that appears twice, a number that no 64-bit float reaches, or more than 64 levels of nesting
    make a record malformed.
    """

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._tables = TableReader(options.wire_schema)
        self._learnt = False

    def chunks(self, block: Block) -> Iterator[Chunk]:
        """One chunk, or several small ones where a block needs slow work; none for a block without records."""
        limit = self._options.max_record_bytes
        if block.too_long is not None:
            yield _only_refused(block, {0: (too_long_reason(block.too_long, limit), None)})
            return
        block = _trimmed(block)
        if not len(block):
            return
        suspects = self._suspects(block)
        if not suspects and is_utf8(block.data):
            self._learn(block)
            try:
                table, large = self._tables.parse(block.data, len(block))
            except NotATable:
                pass
            else:
                if not large or not _lost_digits(table, large, block.record):
                    yield Chunk(table=table, rows=rows_of(block))
                    return
        yield from self._salvaged(block, suspects)

    def _learn(self, block: Block) -> None:
        """Look at the first records alone, so that what they teach does not make a whole block be read twice."""
        if not self._learnt and len(block.data) > _HEAD:
            count = max(1, int(np.searchsorted(block.ends, _HEAD)))
            with suppress(NotATable):
                self._tables.parse(block.data[: block.ends[count - 1]], count)
        self._learnt = True

    def _suspects(self, block: Block) -> Reasons:
        """Records that must not reach pyarrow: no objects, too long, nested too deeply."""
        array = np.frombuffer(block.data, np.uint8)
        odd = (array[block.starts] != _OPEN) | (array[block.ends - 1] != _CLOSE)
        found: Reasons = {index: diagnosis(block.record(index)) for index in np.flatnonzero(odd).tolist()}
        lengths = block.ends - block.starts
        if lengths.max() > 2 * _CRASH_DEPTH:
            opens = np.flatnonzero((array == _OPEN) | (array == _LIST))
            counts = np.searchsorted(opens, block.ends) - np.searchsorted(opens, block.starts)
            for index in np.flatnonzero(counts > _CRASH_DEPTH).tolist():
                if (depth := depth_of_text(block.record(index))) > MAX_DEPTH:
                    found[index] = (_depth_reason(depth), None)
        limit = self._options.max_record_bytes
        for index in np.flatnonzero(lengths > limit).tolist():
            found[index] = (too_long_reason(int(lengths[index]), limit), None)
        return found

    def _salvaged(self, block: Block, suspects: Reasons) -> Iterator[Chunk]:
        reasons: Reasons = dict(suspects)
        invalid = {} if is_utf8(block.data) else undecodable(block)
        for index, offset in invalid.items():
            reasons.setdefault(index, ("the text is not valid in its encoding", offset))
        kept = np.ones(len(block), np.bool_)
        kept[list(reasons)] = False
        candidates = np.flatnonzero(kept)
        records = block.records(kept)
        for position, reason in _malformed(records).items():
            reasons[int(candidates[position])] = reason
            kept[candidates[position]] = False
        try:
            table = self._rest(block, kept, candidates, records)
        except NotATable as finding:
            good = [record for record, is_kept in zip(records, kept[candidates], strict=True) if is_kept]
            del records
            if (apart := self._apart(good, finding)) is not None:
                table, extras = apart
                yield replace(_chunk(block, table, kept, reasons), extras=extras)
            elif len(block.data) > _SMALL and len(block) > 1:
                for part in _parts(block):
                    yield from self.chunks(part)
            else:
                yield self._slow(block, reasons, kept, finding)
            return
        yield _chunk(block, table, kept, reasons)

    def _rest(self, block: Block, kept: Any, candidates: Any, records: list[bytes]) -> Any:
        """The table of the kept records. Raises NotATable."""
        count = int(kept.sum())
        if not count:
            return pa.table({})
        text = bytearray(block.data)
        for index in np.flatnonzero(~kept):
            start, end = int(block.starts[index]), int(block.ends[index])
            text[start:end] = b" " * (end - start)
        table, large = self._tables.parse(bytes(text), count)
        good = [record for record, is_kept in zip(records, kept[candidates], strict=True) if is_kept] if large else []
        if large and _lost_digits(table, large, good.__getitem__):
            raise NotATable(columns=tuple(large))
        return table

    def _apart(self, records: list[bytes], finding: NotATable) -> tuple[Any, Any] | None:
        """The table of some records and their extras where values of odd kinds are few; None where more is wrong."""
        found = set_apart(self._tables, records, finding) if finding.path is not None else None
        if found is None:
            return None
        table, large, taken = found
        if any(isinstance(_strictly(records[row]), str) for row in taken):
            return None
        if large and _lost_digits(table, large, records.__getitem__):
            return None
        texts = [extra_text(taken[row]) if row in taken else None for row in range(len(records))]
        return table, pa.array(texts, pa.string())

    def _slow(self, block: Block, reasons: Reasons, kept: Any, finding: NotATable) -> Chunk:
        """A small block of which every record is looked at in Python."""
        objects: list[dict[str, Any]] = []
        records: list[bytes] = []
        for index in np.flatnonzero(kept).tolist():
            record = block.record(index)
            value = _strictly(record)
            if isinstance(value, str):
                reasons[index] = (value, None)
                kept[index] = False
            else:
                objects.append(value)
                records.append(record)
        table, extras = mixed_table(self._tables, records, objects, finding, self._options.wire_schema)
        return replace(_chunk(block, table, kept, reasons), extras=extras)


def _chunk(block: Block, table: Any, kept: Any, reasons: Reasons) -> Chunk:
    refused = [block.refuse(index, *reasons[index]) for index in sorted(reasons)]
    return Chunk(table=table, rows=rows_of(block, kept), refused=refused)


def _only_refused(block: Block, reasons: Reasons) -> Chunk:
    return _chunk(block, pa.table({}), np.zeros(len(block), np.bool_), reasons)


def _trimmed(block: Block) -> Block:
    """The block without white space around its records; lines of nothing else go, elements of an array stay."""
    array = np.frombuffer(block.data, np.uint8)
    starts, ends = block.starts, block.ends
    if not len(starts) or ((array[starts] == _OPEN) & (array[ends - 1] == _CLOSE)).all():
        return block
    starts, ends = starts.copy(), ends.copy()
    space = np.zeros(256, np.bool_)
    space[list(_SPACE)] = True
    for _ in range(32):
        left = (starts < ends) & space[array[starts.clip(max=len(array) - 1)]]
        starts += left
        right = (starts < ends) & space[array[ends - 1]]
        ends -= right
        if not (left.any() or right.any()):
            break
    else:
        for index in np.flatnonzero(
            (starts < ends) & (space[array[starts.clip(max=len(array) - 1)]] | space[array[ends - 1]])
        ):
            text = block.data[starts[index] : ends[index]]
            starts[index] += len(text) - len(text.lstrip(_SPACE))
            ends[index] = max(starts[index], ends[index] - (len(text) - len(text.rstrip(_SPACE))))
    full = (starts < ends) | block.keep_empty
    return replace(block, starts=starts[full], ends=ends[full])


def _parts(block: Block) -> Iterator[Block]:
    """The same records in blocks of at most about a megabyte each."""
    first = 0
    while first < len(block):
        begin = int(block.starts[first])
        after = max(first + 1, int(np.searchsorted(block.ends, begin + _SMALL // 2, side="right")))
        end = int(block.ends[after - 1])
        line, column = block.place(first)
        low, high = np.searchsorted(block.newlines, [begin, end])
        yield Block(
            data=block.data[begin:end],
            starts=block.starts[first:after] - begin,
            ends=block.ends[first:after] - begin,
            newlines=block.newlines[low:high] - begin,
            origin=Origin(row=block.row(first), line=line, column=column - 1),
            keep_empty=block.keep_empty,
        )
        first = after


def _malformed(records: list[bytes]) -> Reasons:
    """Which of the records are not one well-formed object each."""
    found: Reasons = {}
    waiting = iter(records)
    while True:
        try:
            deque(map(_WELL_FORMED, waiting), maxlen=0)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            position = len(records) - operator.length_hint(waiting) - 1
            reason = diagnosis(records[position])
            if not _has_only_special_numbers(records[position]):
                found[position] = reason
        else:
            return found


def _has_only_special_numbers(record: bytes) -> bool:
    """Whether a record is malformed only for NaN or Infinity, which pyarrow reads, as it does in whole blocks."""
    if b"NaN" not in record and b"Inf" not in record:
        return False
    if record[:1] != b"{" or depth_of_text(record) > MAX_DEPTH:
        return False
    try:
        json.loads(record)  # knows Infinity, but not Inf
        return bool(read_json(record).num_rows == 1)
    except ValueError as error:  # pa.ArrowInvalid is one
        return "changed from" in str(error) or "specified twice" in str(error)


def diagnosis(record: bytes) -> tuple[str, int | None]:
    """Why a record is not a well-formed object, with the offset of the fault in bytes where it is known."""
    if not record:
        return "the element is empty", 0
    if (depth := depth_of_text(record)) > MAX_DEPTH:
        return _depth_reason(depth), None
    try:
        value = orjson.loads(record)
    except orjson.JSONDecodeError as error:
        offset = len(record.decode("utf-8", "replace")[: error.pos].encode()) if is_utf8(record) else None
        what = error.msg.partition(": line ")[0]
        return f"the JSON is malformed: {what}", offset
    if not isinstance(value, dict):
        kinds = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "an array"}
        return f"the value is {kinds.get(type(value), 'null')}, not an object", 0
    try:
        _WELL_FORMED(record)
    except msgspec.DecodeError as error:
        return f"the JSON is malformed: {error}", None
    return "the record is not one JSON object", None


def depth_of_text(record: bytes) -> int:
    """How deeply brackets nest in a record, those in strings left out."""
    if record.count(b"[") + record.count(b"{") <= MAX_DEPTH:
        return 0
    level = deepest = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub(b"", record)):
        level += 1 if bracket in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def _depth_reason(depth: int) -> str:
    return f"the record is nested {depth} levels deep, more than {MAX_DEPTH}"


class _NotStrict(ValueError):
    """The reason as text."""


def _no_twin(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotStrict("a field appears twice in one object")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _NotStrict("a number is too large for a 64-bit float")
    return value


def _strictly(record: bytes) -> dict[str, Any] | str:
    """The object of a well-formed record, or the reason why it is refused nevertheless."""
    if (depth := depth_of_text(record)) > MAX_DEPTH:
        return _depth_reason(depth)
    try:
        value = json.loads(record, object_pairs_hook=_no_twin, parse_float=_finite)
    except _NotStrict as error:
        return str(error)
    except json.JSONDecodeError as error:
        return f"the JSON is malformed: {error.msg}"
    except (ValueError, RecursionError):
        return "a number has too many digits"
    return value if isinstance(value, dict) else "the value is not an object"


def _lost_digits(table: Any, columns: list[str], record: Any) -> bool:
    """Whether an integer of one of the columns became a float that is not equal to it."""
    for name in columns:
        column = table.column(name)
        if column.num_chunks == 1 and column.type == pa.float64():
            rows: Any = large_floats(column.chunk(0)).tolist()
        else:
            rows = range(table.num_rows)
        try:
            if any(holds_inexact(json.loads(record(row)).get(name)) for row in rows):
                return True
        except ValueError:  # Inf or -NaN, which pyarrow takes for numbers
            return True
    return False
