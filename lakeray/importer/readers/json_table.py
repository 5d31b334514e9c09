"""JSON text in, an Arrow table out, with text kept as text."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.json as pj

from lakeray.importer.readers.json_types import (
    depth_of,
    holds_large_floats,
    merged,
    temporal_columns,
    wire_schema,
)

MAX_DEPTH = 64
_CLASH = re.compile(r"JSON parse error: Column\((/.*)\) changed from \w+ to \w+ in row \d+", re.DOTALL)
_CONVERT = re.compile(r"Failed to convert JSON to ")
_PATH = re.compile(r"Column\((/.*)\)", re.DOTALL)


class NotATable(Exception):
    """Text that pyarrow does not turn into one table with a row for every record.

    ``path`` is pyarrow's name for the place of a clash of types; ``columns`` are top-level names whose arrays came out
    wrong; ``deep`` says that some record is nested too deeply.
    """

    def __init__(self, *, path: str | None = None, columns: tuple[str, ...] = (), deep: bool = False) -> None:
        super().__init__("not one table")
        self.path = path
        self.columns = columns
        self.deep = deep


class TableReader:
    """Reads blocks of one object.

    ``wanted`` holds the types to read known columns as; a block that does not fit them is read as its own values say.
    pyarrow takes text that looks like a time for a time, so columns where it did are remembered and read as strings.
    """

    def __init__(self, wanted: Any | None) -> None:
        self._explicit = wire_schema(wanted)

    def parse(self, data: bytes, count: int) -> tuple[Any, list[str]]:
        """The table of ``count`` objects, and the names of columns in which large integers may have become floats.

        Raises NotATable.
        """
        try:
            table = self._parse(data, self._explicit, learn=True)
        except pa.ArrowInvalid as error:
            if not self._explicit or not (_CLASH.match(str(error)) or _CONVERT.match(str(error))):
                raise _finding(error) from None
            try:
                table = self._parse(data, {}, learn=False)
            except pa.ArrowInvalid as again:
                raise _finding(again) from None
        return table, _checked(table, count)

    def _parse(self, data: bytes, explicit: dict[str, Any], *, learn: bool) -> Any:
        table = read_json(data, explicit)
        guessed = temporal_columns(table.schema)
        if not guessed:
            return table
        explicit = merged(guessed, explicit)
        if learn:
            self._explicit = explicit
        return read_json(data, explicit)


def read_json(data: bytes, explicit: dict[str, Any] | None = None) -> Any:
    """One table from objects one after the other; the caller has made sure that every line is an object.

    (pyarrow 26 ends the process on a top-level null and on some 10,000 levels of nesting.)
    """
    return pj.read_json(
        pa.BufferReader(data),
        read_options=pj.ReadOptions(use_threads=False, block_size=len(data) + 64),
        parse_options=pj.ParseOptions(
            explicit_schema=pa.schema(list(explicit.items())) if explicit else None, unexpected_field_behavior="infer"
        ),
    )


def _checked(table: Any, count: int) -> list[str]:
    if table.num_rows != count:
        raise NotATable
    # pyarrow 26 loses the leading nulls of a list such as [null, 1]: the array it builds is too short
    broken: list[str] = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            column.validate()
        except pa.ArrowInvalid:
            broken.append(name)
    if broken:
        raise NotATable(columns=tuple(broken))
    if any(depth_of(kind) >= MAX_DEPTH for kind in table.schema.types):
        raise NotATable(deep=True)
    return [n for n, column in zip(table.column_names, table.columns, strict=True) if holds_large_floats(column)]


def _finding(error: pa.ArrowInvalid) -> NotATable:
    text = str(error)
    clash = _CLASH.match(text)
    if clash is None:
        found = _PATH.search(text)
        return NotATable(path=found.group(1)) if found and "changed from" in text else NotATable()
    return NotATable(path=clash.group(1))
