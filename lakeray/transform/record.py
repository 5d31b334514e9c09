"""Rows as JSON texts that lose nothing a person would want back.

Numbers, texts, booleans, nested lists and structs are JSON's own. Timestamps, dates and times are ISO 8601 texts;
decimals, integers beyond 64 bits, NaN and the infinities are texts; bytes are base64; a map with text keys is an
object, any other a list of pairs.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.types as pt

from lakeray.transform.delta_types import is_list, is_text

_INT64 = 1 << 63
_UINT64 = 1 << 64
_NANOS = 1_000_000_000


def json_text(value: object) -> str:
    """``value`` (already made of JSON's own types, by ``json_values`` or a JSON parser) as compact JSON text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a decimal, an integer beyond 64 bits, half a surrogate pair, deep nesting
        return json.dumps(_of_json(value), separators=(",", ":"))


def _of_json(value: object) -> object:
    if isinstance(value, dict):
        return {key: _of_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_of_json(item) for item in value]
    if isinstance(value, Decimal):
        return str(value)
    return str(value) if isinstance(value, int) and not -_INT64 <= value < _UINT64 else value


def json_values(array: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values of ``array``, in order, made of JSON's own types; null is None."""
    if isinstance(array, pa.ChunkedArray):
        return [value for chunk in array.chunks for value in json_values(chunk)]
    convert = _converter(array.type)
    values: list[Any] = _plain(array)
    return values if convert is None else [None if value is None else convert(value) for value in values]


def _plain(array: pa.Array) -> Any:
    if pt.is_timestamp(array.type) and array.type.unit == "ns":
        return array.cast(pa.int64()).to_pylist()
    if pt.is_time(array.type) or pt.is_duration(array.type):
        return array.cast(pa.int64() if array.type.bit_width == 64 else pa.int32()).to_pylist()  # noqa: PLR2004
    if pt.is_nested(array.type) or isinstance(array.type, pa.BaseExtensionType):
        return [scalar if scalar.is_valid else None for scalar in array]
    try:
        return array.to_pylist()
    except (OverflowError, ValueError):  # dates outside the years 1 to 9999
        return array.cast(pa.string()).to_pylist()


def _converter(kind: pa.DataType) -> Callable[[Any], Any] | None:
    if pt.is_boolean(kind) or pt.is_integer(kind) or is_text(kind) or pt.is_null(kind):
        return None
    if pt.is_timestamp(kind) and kind.unit == "ns":
        return lambda value: _nanosecond_text(value, zoned=kind.tz is not None)
    if pt.is_time(kind) or pt.is_duration(kind):
        return _clock(kind)
    if pt.is_nested(kind) or isinstance(kind, pa.BaseExtensionType):
        return _from_scalar
    return _simple


def _clock(kind: pa.DataType) -> Callable[[Any], Any]:
    per_second = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": _NANOS}[kind.unit]
    if pt.is_duration(kind):
        return lambda value: f"PT{Decimal(value) / per_second}S"
    return lambda value: _time_text(value, per_second)


def _time_text(value: int, per_second: int) -> str:
    seconds, fraction = divmod(value, per_second)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    if not fraction:
        return text
    digits = len(str(per_second)) - 1
    return f"{text}.{fraction:0{digits}d}".rstrip("0")


def _nanosecond_text(value: int, *, zoned: bool) -> str:
    seconds, nanos = divmod(value, _NANOS)
    text = (dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)).isoformat()  # noqa: DTZ001  epoch arithmetic
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"{text}{fraction}{'Z' if zoned else ''}"


def _simple(value: Any) -> Any:  # noqa: PLR0911  a table of types
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _UINT64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _special(value)
    if isinstance(value, dt.datetime):
        return _instant(value)
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _special(value: float) -> str:
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _instant(value: dt.datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat() + "Z"


def _from_scalar(scalar: Any) -> Any:  # noqa: PLR0911  a table of types
    if not scalar.is_valid:
        return None
    kind = scalar.type
    if isinstance(kind, pa.BaseExtensionType):
        return _from_scalar(scalar.value)
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind) or pt.is_union(kind):
        return _simple(scalar.as_py())
    if pt.is_struct(kind):
        return {name: _from_scalar(scalar[position]) for position, name in enumerate(kind.names)}
    if pt.is_map(kind):
        return _pairs(kind, scalar)
    if is_list(kind):
        return json_values(scalar.values)
    return json_values(pa.repeat(scalar, 1))[0]


def _pairs(kind: pa.DataType, scalar: Any) -> Any:
    entries = scalar.values
    keys, items = json_values(entries.field(0)), json_values(entries.field(1))
    if is_text(kind.key_type):
        return dict(zip(keys, items, strict=True))
    return [list(pair) for pair in zip(keys, items, strict=True)]


def records(
    table: pa.Table, *, without: Iterable[str] = (), masks: Mapping[str, Callable[[pa.Array], pa.Array]] | None = None
) -> pa.StringArray:
    """Each row of ``table`` as one JSON object text, ``without`` some columns, with ``masks`` put over others."""
    left_out = set(without)
    columns: dict[str, Sequence[Any]] = {}
    for name in table.column_names:
        if name in left_out:
            continue
        column = table[name]
        mask = (masks or {}).get(name)
        columns[name] = json_values(column if mask is None else mask(column))
    names = list(columns)
    if not names:
        return pa.array(["{}"] * len(table), pa.string())
    rows = zip(*columns.values(), strict=True)
    return pa.array([json_text(dict(zip(names, row, strict=True))) for row in rows], pa.string())
