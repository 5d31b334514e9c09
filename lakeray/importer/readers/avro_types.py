"""The Arrow types of Avro schemas, with how values get into them."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_PRIMITIVES = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL = {
    "int-date": pa.date32(),
    "int-time-millis": pa.time32("ms"),
    "long-time-micros": pa.time64("us"),
    "long-timestamp-millis": pa.timestamp("ms", "UTC"),
    "long-timestamp-micros": pa.timestamp("us", "UTC"),
    "long-local-timestamp-millis": pa.timestamp("ms"),
    "long-local-timestamp-micros": pa.timestamp("us"),
}
_DECIMAL128_DIGITS = 38


@dataclass(frozen=True, kw_only=True, slots=True)
class Converter:
    """An Arrow type, with the function that makes fastavro's value fit it."""

    type: Any
    value: Callable[[Any], Any]


def column_types(schema: Any) -> dict[str, Converter] | Converter:
    """A converter for every field of a record schema; for any other schema the one of its only column."""
    names: dict[str, Any] = {}
    found = _resolved(schema, names)
    if isinstance(found, dict) and found.get("type") in ("record", "error"):
        _remember(found, names)
        inside = frozenset({str(found.get("name"))})
        return {field["name"]: _converter(field["type"], names, inside) for field in found["fields"]}
    return _converter(schema, names, frozenset())


def as_json(value: Any) -> str | None:
    """A value as JSON text; bytes as base64, decimals, dates and times as text."""
    if value is None:
        return None
    return json.dumps(value, default=_json_default, ensure_ascii=False, separators=(",", ":"))


def _json_default(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal | uuid.UUID):
        return str(value)
    raise TypeError(type(value).__name__)


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> Any:
    return None if value is None else str(value)


_JSON = Converter(type=pa.string(), value=as_json)


def _resolved(schema: Any, names: dict[str, Any]) -> Any:
    return names.get(schema, schema) if isinstance(schema, str) else schema


def _remember(schema: dict[str, Any], names: dict[str, Any]) -> None:
    if "name" in schema:
        names[str(schema["name"])] = schema


def _converter(  # noqa: PLR0911 - one kind a return
    schema: Any, names: dict[str, Any], inside: frozenset[str]
) -> Converter:
    schema = _resolved(schema, names)
    if isinstance(schema, list):
        return _union(schema, names, inside)
    if isinstance(schema, str):
        return Converter(type=_PRIMITIVES[schema], value=_same) if schema in _PRIMITIVES else _JSON
    kind = schema["type"]
    if isinstance(kind, dict | list):
        return _converter(kind, names, inside)
    _remember(schema, names)
    if kind in ("record", "error"):
        return _record(schema, names, inside)
    if kind == "array":
        item = _converter(schema["items"], names, inside)
        return Converter(type=pa.list_(item.type), value=_each(item))
    if kind == "map":
        item = _converter(schema["values"], names, inside)
        return Converter(type=pa.map_(pa.string(), item.type), value=_pairs(item))
    if kind == "enum":
        return Converter(type=pa.string(), value=_same)
    return _scalar(schema, kind)


def _scalar(schema: dict[str, Any], kind: str) -> Converter:
    logical = schema.get("logicalType")
    if logical == "decimal":
        precision, scale = int(schema["precision"]), int(schema.get("scale", 0))
        make = pa.decimal128 if precision <= _DECIMAL128_DIGITS else pa.decimal256
        return Converter(type=make(precision, scale), value=_same)
    if logical == "uuid":
        return Converter(type=pa.string(), value=_text)
    if (found := _LOGICAL.get(f"{kind}-{logical}")) is not None:
        return Converter(type=found, value=_same)
    if kind == "fixed":
        return Converter(type=pa.binary(int(schema["size"])), value=_same)
    return Converter(type=_PRIMITIVES[kind], value=_same)


def _record(schema: dict[str, Any], names: dict[str, Any], inside: frozenset[str]) -> Converter:
    name = str(schema.get("name"))
    if name in inside:
        return _JSON
    fields = {field["name"]: _converter(field["type"], names, inside | {name}) for field in schema["fields"]}

    def convert(value: Any) -> Any:
        return None if value is None else {key: item.value(value.get(key)) for key, item in fields.items()}

    return Converter(type=pa.struct([(key, item.type) for key, item in fields.items()]), value=convert)


def _union(schema: list[Any], names: dict[str, Any], inside: frozenset[str]) -> Converter:
    branches = [branch for branch in schema if branch != "null"]
    if not branches:
        return Converter(type=pa.null(), value=_same)
    if len(branches) == 1:
        return _converter(branches[0], names, inside)
    for branch in branches:
        _converter(branch, names, inside)  # names defined here may be used later
    if all(branch in ("int", "long") for branch in branches):
        return Converter(type=pa.int64(), value=_same)
    return _JSON


def _each(item: Converter) -> Callable[[Any], Any]:
    return lambda value: None if value is None else [item.value(element) for element in value]


def _pairs(item: Converter) -> Callable[[Any], Any]:
    return lambda value: None if value is None else [(key, item.value(element)) for key, element in value.items()]
