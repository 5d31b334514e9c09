"""JSON text in, an Arrow table out, with text kept as text."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.types as pt

from lakeray.importer.readers.json_types import (
    Carrier,
    as_carried,
    depth_of,
    holds_large_floats,
    merged,
    temporal_columns,
    wire_schema,
)
from lakeray.transform.delta_types import holds_decimal

MAX_DEPTH = 64
_CLASH = re.compile(r"JSON parse error: Column\((/.*)\) changed from \w+ to \w+ in row \d+", re.DOTALL)
_MALFORMED = "JSON parse error: "
_ZEROS = r"(\.[0-9]*?)0+$"
_WAYS: tuple[tuple[bool, Carrier], ...] = ((True, "text"), (False, "text"))
_DECIMAL_WAYS: tuple[tuple[bool, Carrier], ...] = (
    (True, "text"),
    (True, "decimal"),
    (True, "wide"),
    (False, "text"),
    (False, "decimal"),
    (False, "wide"),
)
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
    Decimals arrive as such or as text, with every digit that was written, whatever else does not fit.
    """

    def __init__(self, wanted: Any | None) -> None:
        self._explicit = wire_schema(wanted)
        self.decimals = {name: kind for name, kind in self._explicit.items() if holds_decimal(kind)}
        """The columns with decimals at any depth, in the types that are wanted."""

    def parse(self, data: bytes, count: int) -> tuple[Any, list[str]]:
        """The table of ``count`` objects, and the names of columns in which large integers may have become floats.

        Raises NotATable.
        """
        table = self._fitting(data)
        if isinstance(table, NotATable):
            try:
                raise table
            finally:
                del table  # the traceback would hold the text until the garbage is collected
        return table, _checked(table, count)

    def _fitting(self, data: bytes) -> Any | NotATable:
        """The table in the first types that fit, or what kept the last ones from fitting."""
        finding = NotATable()
        for wanted, carrier in _DECIMAL_WAYS if self.decimals else _WAYS:
            known = self._explicit if wanted else self.decimals
            try:
                return self._parse(data, known, carrier, learn=wanted)
            except pa.ArrowInvalid as error:
                again = _finding(error)
                finding = again if again.path or not finding.path else finding
                if not known or not _of_types(error):
                    break
        return finding

    def _parse(self, data: bytes, known: dict[str, Any], carrier: Carrier, *, learn: bool) -> Any:
        table = read_json(data, self._carried(known, carrier))
        guessed = temporal_columns(table.schema)
        if guessed:
            known = merged(guessed, known)
            if learn:
                self._explicit = known
            table = read_json(data, self._carried(known, carrier))
        for name in self.decimals if carrier != "text" else ():
            position = table.schema.get_field_index(name)
            if position >= 0:
                table.column(position).validate(full=True)  # it may hold more digits than its type
                if carrier == "wide":
                    table = table.set_column(position, name, _as_text(table.column(position).combine_chunks()))
        return table

    def _carried(self, known: dict[str, Any], carrier: Carrier) -> dict[str, Any]:
        if not self.decimals:
            return known
        return {name: as_carried(kind, carrier) for name, kind in known.items()}


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


def _of_types(error: pa.ArrowInvalid) -> bool:
    """Whether well-formed JSON does not fit the types that it was read as."""
    return not str(error).startswith(_MALFORMED) or _CLASH.match(str(error)) is not None


def _as_text(array: Any) -> Any:
    """An array with its decimals as plain text, without zeros at the end."""
    kind = array.type
    if pt.is_decimal(kind):
        texts = pc.replace_substring_regex(array.cast(pa.string()), _ZEROS, r"\1")
        return pc.utf8_rtrim(texts, ".")
    mask = array.is_null() if pt.is_nested(kind) else None
    if pt.is_struct(kind):
        names = [field.name for field in kind]
        return pa.StructArray.from_arrays([_as_text(child) for child in array.flatten()], names=names, mask=mask)
    if pt.is_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths)])
        return pa.ListArray.from_arrays(offsets, _as_text(array.flatten()), mask=mask)
    return array


def _finding(error: pa.ArrowInvalid) -> NotATable:
    text = str(error)
    clash = _CLASH.match(text)
    if clash is None:
        found = _PATH.search(text)
        return NotATable(path=found.group(1)) if found and "changed from" in text else NotATable()
    return NotATable(path=clash.group(1))
