"""Which Arrow types JSON is read as: numbers, booleans, lists, structs, and text that stays text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

EXACT_INTEGERS = 2.0**53


def wire_type(wanted: Any) -> Any | None:
    """The type in which JSON carries a column that shall become ``wanted``; None where inference knows better.

    Dates, times and binary values are text in JSON and stay so; floats are read as 64 bits, so that coercion later sees
    all digits. Of decimals see ``as_carried``.
    """
    if pt.is_boolean(wanted) or pt.is_integer(wanted) or pt.is_decimal(wanted):
        return wanted
    if pt.is_floating(wanted):
        return pa.float64()
    if pt.is_struct(wanted):
        return _struct((field.name, wire_type(field.type)) for field in wanted)
    if pt.is_list(wanted) or pt.is_large_list(wanted):
        item = wire_type(wanted.value_type)
        return None if item is None else pa.list_(item)
    if pt.is_temporal(wanted) or _is_text(wanted) or pt.is_binary(wanted) or pt.is_large_binary(wanted):
        return pa.string()
    return None


def wire_schema(wanted: Any | None) -> dict[str, Any]:
    """The columns of a schema in their wire types, without those that are left to inference."""
    pairs = ((field.name, wire_type(field.type)) for field in wanted or ())
    return {name: kind for name, kind in pairs if kind is not None}


Carrier = Literal["text", "decimal", "wide"]

_WIDE = pa.decimal256(57, 19)
_DIGITS = 38


def as_carried(kind: Any, carrier: Carrier) -> Any:
    """A wire type with its decimals as text, as they are, or with room for more digits.

    JSON carries decimals as strings or as bare numbers. pyarrow reads strings into either type and bare numbers into
    decimals alone, both without a detour through floats. (pyarrow 26 checks how many digits were written before it
    appends zeros up to the scale, and wraps around: precision and scale together must find room in the type's bits.)
    """
    if pt.is_struct(kind):
        return pa.struct([(field.name, as_carried(field.type, carrier)) for field in kind])
    if pt.is_list(kind):
        return pa.list_(as_carried(kind.value_type, carrier))
    if not pt.is_decimal(kind):
        return kind
    if carrier == "decimal":
        return kind if kind.precision + kind.scale <= _DIGITS else pa.decimal256(kind.precision, kind.scale)
    return pa.string() if carrier == "text" else _WIDE


def temporal_as_text(found: Any) -> Any | None:
    """The part of a type that pyarrow guessed to be a date or time, as strings; None where there is none."""
    if pt.is_temporal(found):
        return pa.string()
    if pt.is_struct(found):
        return _struct((field.name, temporal_as_text(field.type)) for field in found)
    if pt.is_list(found):
        item = temporal_as_text(found.value_type)
        return None if item is None else pa.list_(item)
    return None


def temporal_columns(schema: Any) -> dict[str, Any]:
    """The columns of a schema that hold a guessed date or time, with the types that keep their text."""
    pairs = ((field.name, temporal_as_text(field.type)) for field in schema)
    return {name: kind for name, kind in pairs if kind is not None}


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Columns of both, structs field by field; the first wins where they differ."""
    out = dict(first)
    for name, kind in second.items():
        out[name] = _merged_type(out[name], kind) if name in out else kind
    return out


def _merged_type(first: Any, second: Any) -> Any:
    if pt.is_struct(first) and pt.is_struct(second):
        both = merged({f.name: f.type for f in first}, {f.name: f.type for f in second})
        return pa.struct(list(both.items()))
    if pt.is_list(first) and pt.is_list(second):
        return pa.list_(_merged_type(first.value_type, second.value_type))
    return first


def _struct(pairs: Iterable[tuple[str, Any | None]]) -> Any | None:
    fields = [(name, kind) for name, kind in pairs if kind is not None]
    return pa.struct(fields) if fields else None


def _is_text(kind: Any) -> bool:
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def depth_of(kind: Any) -> int:
    """How many lists and structs lie around the innermost value of a type."""
    deepest, waiting = 0, [(kind, 0)]
    while waiting:
        current, level = waiting.pop()
        deepest = max(deepest, level)
        if pt.is_nested(current):
            children = [current.field(i).type for i in range(current.num_fields)]
            waiting.extend((child, level + 1) for child in children)
            deepest = max(deepest, level + 1)
    return deepest


def holds_large_floats(array: Any) -> bool:
    """Whether a float at any depth is no number, or large enough to stand for an integer it cannot hold."""
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    for chunk in chunks:
        if pt.is_float64(chunk.type):
            if len(large_floats(chunk)):
                return True
        elif (pt.is_struct(chunk.type) or pt.is_list(chunk.type)) and any(map(holds_large_floats, _children(chunk))):
            return True
    return False


def _children(chunk: Any) -> list[Any]:
    return list(chunk.flatten()) if pt.is_struct(chunk.type) else [chunk.flatten()]


def large_floats(chunk: Any) -> Any:
    """Positions of the values of a float64 array from 2**53 upwards in magnitude, and of those that are not numbers."""
    data = chunk.buffers()[1]
    if data is None or not len(chunk):
        return np.empty(0, np.int64)
    values = np.frombuffer(data, np.float64, count=len(chunk), offset=8 * chunk.offset)
    if values.max() < EXACT_INTEGERS and values.min() > -EXACT_INTEGERS:
        return np.empty(0, np.int64)
    return np.flatnonzero(~(np.abs(values) < EXACT_INTEGERS))
