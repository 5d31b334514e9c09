"""Columns whose values are of several types, without losing one."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.types as pt

from lakeray.importer.readers.json_table import NotATable, TableReader
from lakeray.importer.readers.json_types import EXACT_INTEGERS, as_carried, wire_schema

_MISSING = object()
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def mixed_table(
    tables: TableReader, records: list[bytes], objects: list[dict[str, Any]], finding: NotATable, wanted: Any | None
) -> tuple[Any, Any | None]:
    """The table of some objects and their ``extras``: where a column's types clash its most frequent kind stays.

    ``records`` and ``objects`` are the same things as text and as values. Columns without a clash are read by pyarrow.
    """
    if not records:
        return pa.table({}), None
    names = dict.fromkeys(name for value in objects for name in value)
    hard = _blamed(finding, names)
    while True:
        try:
            table, large = tables.parse(b"\n".join(_without(records, objects, hard)), len(records))
        except NotATable as found:
            hard |= (_blamed(found, names) - hard) or set(names)
            continue
        fresh = {name for name in large if any(holds_inexact(value.get(name)) for value in objects)}
        if fresh <= hard:
            break
        hard |= fresh
    misfits: list[dict[str, Any]] = [{} for _ in objects]
    known = wire_schema(wanted)
    for name in (name for name in names if name in hard):
        values, kind = [value.get(name, _MISSING) for value in objects], known.get(name)
        if name in tables.decimals:
            values, kind = _with_digits(records, name, kind), as_carried(kind, "text")
        array = _column(values, kind, name, misfits)
        position = table.schema.get_field_index(name)
        table = table.append_column(name, array) if position < 0 else table.set_column(position, name, array)
    if not any(misfits):
        return table, None
    return table, pa.array([_dumped(value) if value else None for value in misfits], pa.string())


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


def _with_digits(records: list[bytes], name: str, kind: Any) -> list[Any]:
    """A column's values; numbers are text where ``kind`` has a decimal."""
    found = []
    for record in records:
        value = json.loads(record, parse_float=_Number, parse_int=_Number)
        found.append(_texts(value[name], kind) if name in value else _MISSING)
    return found


def _texts(value: Any, kind: Any | None) -> Any:
    if isinstance(value, _Number):
        return str(value) if kind is not None and pt.is_decimal(kind) else json.loads(value)
    if isinstance(value, dict):
        types = {field.name: field.type for field in kind} if kind is not None and pt.is_struct(kind) else {}
        return {name: _texts(item, types.get(name)) for name, item in value.items()}
    if isinstance(value, list):
        inner = kind.value_type if kind is not None and pt.is_list(kind) else None
        return [_texts(item, inner) for item in value]
    return value


def holds_inexact(value: Any) -> bool:
    """Whether an integer at any depth of a JSON value is not exact as a 64-bit float."""
    if isinstance(value, int) and not isinstance(value, bool):
        return not exact_as_float(value)
    if isinstance(value, dict):
        return any(map(holds_inexact, value.values()))
    return isinstance(value, list) and any(map(holds_inexact, value))


def exact_as_float(value: int) -> bool:
    """Whether an integer is one of those that a 64-bit float holds."""
    if abs(value) <= EXACT_INTEGERS:
        return True
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _blamed(finding: NotATable, names: dict[str, None]) -> set[str]:
    if finding.columns:
        return set(finding.columns)
    if finding.path is None:
        return set()
    path = finding.path[1:]
    return {name for name in names if path == name or path.startswith(f"{name}/")}


def _without(records: list[bytes], objects: list[dict[str, Any]], hard: set[str]) -> list[bytes]:
    """The records without some of their fields, everything else verbatim."""
    if not hard:
        return records
    out = []
    for record, value in zip(records, objects, strict=True):
        try:
            fields = _FIELDS(record)
        except msgspec.DecodeError:  # NaN or Infinity
            out.append(json.dumps({k: v for k, v in value.items() if k not in hard}).encode())
        else:
            for name in hard:
                fields.pop(name, None)
            out.append(msgspec.json.encode(fields))
    return out


def _column(values: list[Any], wanted: Any | None, name: str, misfits: list[dict[str, Any]]) -> Any:
    kind = _chosen(values, wanted)
    column: list[Any] = []
    for value, misfit in zip(values, misfits, strict=True):
        if value is _MISSING or value is None:
            column.append(None)
        elif _fits(value, kind):
            column.append(value)
        else:
            column.append(None)
            misfit[name] = value
    return pa.array(column, kind)


def _chosen(values: list[Any], wanted: Any | None) -> Any:
    """The type of most values: the wanted one if half of them fit it, else what the most frequent kind unifies to."""
    present = [value for value in values if value is not _MISSING and value is not None]
    if wanted is not None and 2 * sum(_fits(value, wanted) for value in present) >= len(present):
        return wanted
    kinds = Counter(map(_kind, present))
    if not kinds:
        return pa.null()
    kind = kinds.most_common(1)[0][0]
    chosen = pa.null()
    for value in present:
        if _kind(value) == kind:
            chosen = _unified(chosen, _inferred(value)) or chosen
    return chosen


def _kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def _inferred(value: Any) -> Any:  # noqa: PLR0911 - one kind a return
    if value is None:
        return pa.null()
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        return pa.int64()
    if isinstance(value, float):
        return pa.float64()
    if isinstance(value, str):
        return pa.string()
    if isinstance(value, dict):
        return pa.struct([(name, _inferred(item)) for name, item in value.items()])
    item = pa.null()
    for element in value:
        item = _unified(item, _inferred(element)) or item
    return pa.list_(item)


def _unified(first: Any, second: Any) -> Any | None:
    """A type for values of both, or None where there is none; parts that clash inside keep the first's type."""
    if pt.is_null(first) or first == second:
        return second
    if pt.is_null(second):
        return first
    if {first, second} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pt.is_struct(first) and pt.is_struct(second):
        fields = {field.name: field.type for field in first}
        for field in second:
            here = fields.get(field.name, pa.null())
            fields[field.name] = _unified(here, field.type) or here
        return pa.struct(list(fields.items()))
    if pt.is_list(first) and pt.is_list(second):
        return pa.list_(_unified(first.value_type, second.value_type) or first.value_type)
    return None


def _fits(value: Any, kind: Any) -> bool:  # noqa: PLR0911 - one kind a return
    """Whether a value can be put into a type and come out as it was."""
    if value is None:
        return True
    if isinstance(value, bool):
        return bool(pt.is_boolean(kind))
    if isinstance(value, int):
        if pt.is_float64(kind):
            return abs(value) <= EXACT_INTEGERS  # pyarrow takes no larger ones, even exact
        return bool(pt.is_integer(kind)) and _in_range(value, kind)
    if isinstance(value, float):
        return bool(pt.is_float64(kind))
    if isinstance(value, str):
        return bool(pt.is_string(kind))
    if isinstance(value, dict):
        types = {field.name: field.type for field in kind} if pt.is_struct(kind) else {}
        return bool(pt.is_struct(kind)) and all(n in types and _fits(v, types[n]) for n, v in value.items())
    return bool(pt.is_list(kind)) and all(_fits(item, kind.value_type) for item in value)


def _in_range(value: int, kind: Any) -> bool:
    if pt.is_unsigned_integer(kind):
        return 0 <= value < int(2 ** int(kind.bit_width))
    half = int(2 ** (int(kind.bit_width) - 1))
    return -half <= value < half


def _dumped(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """The value with NaN and Infinity as text, for which JSON has no numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
