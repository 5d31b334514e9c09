"""Numbers as other numbers, only where they say exactly the same."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.transform import from_text

_EXACT = Context(prec=80, traps=[Inexact, InvalidOperation])
_LIMIT = 2.0**63
_INT64_MAX = 2**63 - 1
_US_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}


def to_number(array: pa.Array, target: pa.DataType) -> pa.Array:
    """``array`` of any type but text as a number or boolean of type ``target``; null where it does not fit."""
    kind = array.type
    if pt.is_duration(kind) and pt.is_int64(target):
        return _microseconds(array)
    if not (pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)):
        return pa.nulls(len(array), target)
    if pt.is_float16(kind):
        array = array.cast(pa.float32())
    if pt.is_boolean(target):
        return _to_bool(array)
    if pt.is_integer(target):
        return _to_int(array, target)
    if pt.is_floating(target):
        return _to_float(array, target)
    return _to_decimal(array, target)


def _keep(values: pa.Array, fits: pa.Array) -> pa.Array:
    return pc.if_else(pc.fill_null(fits, False), values, pa.scalar(None, values.type))


def _microseconds(array: pa.Array) -> pa.Array:
    whole = array.cast(pa.int64())
    if array.type.unit == "ns":
        exact = pc.multiply(pc.divide(whole, 1000), 1000)
        return _keep(pc.divide(whole, 1000), pc.equal(exact, whole))
    factor = _US_PER_UNIT[array.type.unit]
    limit = _INT64_MAX // factor
    inside = pc.and_(pc.greater_equal(whole, -limit), pc.less_equal(whole, limit))
    return pc.multiply(_keep(whole, inside), factor)


def _to_bool(array: pa.Array) -> pa.Array:
    if pt.is_decimal(array.type):
        return _one_by_one(array, pa.bool_(), lambda value: bool(value) if value in (0, 1) else None)
    one, zero = (pc.equal(array, pa.scalar(value).cast(array.type)) for value in (1, 0))
    return _keep(one, pc.or_(one, zero))


def _to_int(array: pa.Array, target: pa.DataType) -> pa.Array:
    try:
        return array.cast(target)
    except pa.ArrowInvalid:
        pass
    if pt.is_decimal(array.type):
        low, high = -(1 << (target.bit_width - 1)), (1 << (target.bit_width - 1)) - 1
        return _one_by_one(array, target, lambda value: _integral(value, low, high))
    if pt.is_floating(array.type):
        wide = array.cast(pa.float64())
        inside = pc.and_(pc.greater_equal(wide, -_LIMIT), pc.less(wide, _LIMIT))
        whole = pc.and_kleene(inside, pc.equal(pc.trunc(wide), wide))
        return _to_int(_keep(wide, whole).cast(pa.int64()), target)
    narrow = array.cast(target, safe=False)
    same = pc.equal(narrow.cast(array.type, safe=False), array)
    if pt.is_unsigned_integer(array.type):
        same = pc.and_(same, pc.greater_equal(narrow, pa.scalar(0, target)))
    return _keep(narrow, same)


def _integral(value: Decimal, low: int, high: int) -> int | None:
    whole = int(value)
    return whole if whole == value and low <= whole <= high else None


def _to_float(array: pa.Array, target: pa.DataType) -> pa.Array:
    kind = array.type
    if pt.is_decimal(kind):
        near = from_text.parse(array.cast(pa.string()), target)
        return _keep(near, pc.equal(from_text.parse(near.cast(pa.string()), kind), array))
    try:
        if pt.is_integer(kind):
            return array.cast(target)
    except pa.ArrowInvalid:
        pass
    near = array.cast(target, safe=False)
    if pt.is_floating(kind):
        same = pc.or_(pc.equal(near.cast(kind), array), pc.is_nan(array))
        return near if pc.all(same).as_py() else _keep(near, same)
    wide = near.cast(pa.float64())
    inside = pc.and_(pc.greater_equal(wide, -_LIMIT), pc.less(wide, 2 * _LIMIT if kind == pa.uint64() else _LIMIT))
    back = _keep(wide, inside).cast(kind, safe=False)
    return _keep(near, pc.equal(back, array))


def _to_decimal(array: pa.Array, target: pa.DataType) -> pa.Array:
    if pt.is_floating(array.type):
        return from_text.parse(array.cast(pa.string()), target)
    if pt.is_integer(array.type):
        return from_text.parse(array.cast(pa.string()), target)
    try:
        return array.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _one_by_one(array, target, lambda value: _rescaled(value, target))


def _rescaled(value: Decimal, target: pa.DataType) -> Decimal | None:
    try:
        found = value.quantize(Decimal(1).scaleb(-target.scale), context=_EXACT)
    except (Inexact, InvalidOperation):
        return None
    return found if abs(found) < Decimal(10) ** (target.precision - target.scale) else None


def _one_by_one(array: pa.Array, target: pa.DataType, convert: Callable[[Any], Any]) -> pa.Array:
    return pa.array([None if value is None else convert(value) for value in array.to_pylist()], target)
