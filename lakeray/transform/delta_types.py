"""The nearest type that a Delta table can hold, for every Arrow type.

================================  ================================================================================
Arrow                             Delta-writable
================================  ================================================================================
null                              None: nothing can be said until a value is seen; the same for lists and maps of
                                  null, and structs without a field that has a type
bool, int8/16/32/64, date32       itself
uint8, uint16, uint32             int16, int32, int64
uint64                            int64 (a value above 2^63-1 does not fit)
float16                           float32
float32, float64                  itself
decimal32/64/128(p, s)            decimal128(p, s), s from 0 to p
decimal256(p, s)                  decimal128(38, s) when s is at most 38, otherwise string
date64                            date32
timestamp (any unit, any zone)    timestamp[us, UTC]; a naive one is taken as UTC
time32, time64                    string, ``HH:MM:SS[.ffffff]``
duration                          int64, in microseconds
intervals                         string
string, large, view               string
binary, large, view, fixed size   binary
list, large, view, fixed size     list of the writable element type
map                               map of the writable types
struct                            struct of the fields that have a type; of names that differ by case alone, the first
dictionary, run-end encoded       the type of their values
union                             string, as JSON
extension                         its storage type
================================  ================================================================================
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

TIMESTAMP = pa.timestamp("us", tz="UTC")
_MAX_PRECISION = 38
_UNSIGNED = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.int64()}


def delta_type(kind: pa.DataType) -> pa.DataType | None:
    """The type a Delta table holds for ``kind`` by the table above; None when ``kind`` says nothing yet."""
    if pt.is_null(kind):
        return None
    if isinstance(kind, pa.BaseExtensionType):
        return delta_type(kind.storage_type)
    if pt.is_dictionary(kind) or pt.is_run_end_encoded(kind):
        return delta_type(kind.value_type)
    if pt.is_nested(kind):
        return _nested(kind)
    return _scalar(kind)


def _scalar(kind: pa.DataType) -> pa.DataType:  # noqa: PLR0911  a table of types
    if kind in _UNSIGNED:
        return _UNSIGNED[kind]
    if pt.is_float16(kind):
        return pa.float32()
    if pt.is_decimal(kind):
        return _decimal(kind)
    if pt.is_date(kind):
        return pa.date32()
    if pt.is_timestamp(kind):
        return TIMESTAMP
    if pt.is_duration(kind):
        return pa.int64()
    if is_binary(kind):
        return pa.binary()
    if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind):
        return kind
    return pa.string()


def _decimal(kind: pa.DataType) -> pa.DataType:
    if kind.scale < 0:
        precision = kind.precision - kind.scale
        return pa.decimal128(precision, 0) if precision <= _MAX_PRECISION else pa.string()
    if kind.scale > _MAX_PRECISION:
        return pa.string()
    return pa.decimal128(min(max(kind.precision, kind.scale, 1), _MAX_PRECISION), kind.scale)


def _nested(kind: pa.DataType) -> pa.DataType | None:
    if pt.is_map(kind):
        key, item = delta_type(kind.key_type), delta_type(kind.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if is_list(kind):
        value = delta_type(kind.value_type)
        return None if value is None else pa.list_(value)
    if pt.is_struct(kind):
        fields = [(field.name, delta_type(field.type)) for field in kind]
        known: dict[str, pa.Field] = {}
        for name, found in fields:
            if found is not None:
                known.setdefault(name.casefold(), pa.field(name, found))
        return pa.struct(known.values()) if known else None
    return pa.string()


def is_text(kind: pa.DataType) -> bool:
    """Whether ``kind`` is any of Arrow's string layouts."""
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Whether ``kind`` is any of Arrow's binary layouts."""
    return bool(
        pt.is_binary(kind) or pt.is_large_binary(kind) or pt.is_binary_view(kind) or pt.is_fixed_size_binary(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether ``kind`` is any of Arrow's list layouts (a map is not)."""
    return bool(
        pt.is_list(kind)
        or pt.is_large_list(kind)
        or pt.is_fixed_size_list(kind)
        or pt.is_list_view(kind)
        or pt.is_large_list_view(kind)
    )


def holds_decimal(kind: pa.DataType) -> bool:
    """Whether ``kind`` is a decimal or has one inside."""
    if pt.is_nested(kind):
        return any(holds_decimal(kind.field(position).type) for position in range(kind.num_fields))
    return bool(pt.is_decimal(kind))
