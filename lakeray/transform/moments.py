"""Dates and instants from one another."""

from __future__ import annotations

import re
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.transform import from_text
from lakeray.transform.delta_types import is_text

_UTC = pa.timestamp("us", tz="UTC")
_DAY_US: Final = 86_400_000_000
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # 0001-01-01 and 9999-12-31
_FIRST_US, _LAST_US = _FIRST_DAY * _DAY_US, (_LAST_DAY + 1) * _DAY_US - 1
_PER_US = {"s": 1_000_000, "ms": 1_000, "us": 1}
_ZONE = r"(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)"
_CLOCK = r"[T ]([01][0-9]|2[0-3])(:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?)?"
_SURE_ZONED = from_text.like(rf"^{from_text.SURE_DAY}{_CLOCK}{_ZONE}$")
_SURE_NAIVE = from_text.like(rf"^{from_text.SURE_DAY}({_CLOCK})?$")
_TEXT = re.compile(rf"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})({_CLOCK}{_ZONE}?)?")
_ENDS_IN_ZONE = r"^\s*[0-9-]{10}[T ][0-9:.]*(Z|[+-][0-9:]+)\s*$"
_PEEK = 1024
_TOO_FINE = r"(\.[0-9]{6})[0-9]+"


def to_timestamp(array: pa.Array, target: pa.DataType) -> tuple[pa.Array, int]:
    """``array`` as the instants ``target`` (microseconds, UTC or naive), with how many were cut to microseconds."""
    kind = array.type
    cut = 0
    if is_text(kind):
        values, cut = _parsed(array.cast(pa.string()))
    elif pt.is_timestamp(kind):
        values, cut = _instants(array)
    elif pt.is_date(kind):
        days = array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
        values = pc.multiply(_between(days, _FIRST_DAY, _LAST_DAY), _DAY_US).cast(_UTC)
    else:
        values = pa.nulls(len(array), target)
    return values.cast(target), cut


def to_date(array: pa.Array, target: pa.DataType) -> pa.Array:
    """``array`` as days; an instant only at midnight UTC."""
    kind = array.type
    if pt.is_date(kind):
        return array.cast(target, safe=False) if pt.is_date32(target) else array.cast(target)
    if not pt.is_timestamp(kind):
        return pa.nulls(len(array), target)
    whole = array.cast(pa.int64())
    day = _DAY_US * 1000 if kind.unit == "ns" else _DAY_US // _PER_US[kind.unit]
    days = _floor(whole, day)
    exact = pc.and_(pc.equal(pc.multiply(days, day), whole), _inside(days, _FIRST_DAY, _LAST_DAY))
    return pc.if_else(exact, days, pa.scalar(None, pa.int64())).cast(pa.int32()).cast(target)


def _floor(values: pa.Array, unit: int) -> pa.Array:
    towards_zero = pc.divide(values, unit)
    below = pc.less(values, pc.multiply(towards_zero, unit))
    return pc.subtract(towards_zero, below.cast(pa.int64()))


def _inside(values: pa.Array, low: int, high: int) -> pa.Array:
    return pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))


def _between(values: pa.Array, low: int, high: int) -> pa.Array:
    ends = pc.min_max(values)
    if ends["min"].as_py() is None or (ends["min"].as_py() >= low and ends["max"].as_py() <= high):
        return values
    return pc.if_else(_inside(values, low, high), values, pa.scalar(None, values.type))


def _instants(array: pa.Array) -> tuple[pa.Array, int]:
    whole = array.cast(pa.int64())
    if array.type.unit == "ns":
        floored = _floor(whole, 1000)
        lost = pc.sum(pc.not_equal(pc.multiply(floored, 1000), whole)).as_py() or 0
        return floored.cast(_UTC), int(lost)
    factor = _PER_US[array.type.unit]
    inside = _between(whole, -(-_FIRST_US // factor), _LAST_US // factor)
    return pc.multiply(inside, factor).cast(_UTC), 0


def _parsed(array: pa.Array) -> tuple[pa.Array, int]:
    sample = array.slice(0, _PEEK)
    likely = _UTC if pc.any(pc.match_substring_regex(sample, _ENDS_IN_ZONE)).as_py() else pa.timestamp("us")
    try:  # a cast that fails for every value costs twenty times one that succeeds
        return in_range(array.cast(likely)), 0
    except pa.ArrowInvalid:
        pass
    sure = _SURE_ZONED if likely.tz else _SURE_NAIVE
    certain = pc.fill_null(sure(array), fill_value=False)
    values = in_range(pc.if_else(certain, array, pa.scalar(None, pa.string())).cast(likely))
    doubtful = pc.and_(array.is_valid(), pc.invert(certain))
    if not pc.any(doubtful).as_py():
        return values, 0
    found, lost = _salvaged(array.filter(doubtful))
    return pc.replace_with_mask(values, doubtful, found), lost


def _salvaged(array: pa.Array) -> tuple[pa.Array, int]:
    """What no single cast takes: both kinds of text in one array, blanks, nanoseconds, leap days, what is no time."""
    array, lost = _without_nanoseconds(array)
    array = pc.utf8_trim(array, from_text.BLANKS)
    zoned = pc.match_substring_regex(array, _ENDS_IN_ZONE)
    nothing = pa.scalar(None, pa.string())
    naive = from_text.salvage(pc.if_else(zoned, nothing, array), pa.timestamp("us"), sure=_SURE_NAIVE, normal=_normal)
    with_zone = from_text.salvage(pc.if_else(zoned, array, nothing), _UTC, sure=_SURE_ZONED, normal=_normal)
    return in_range(pc.coalesce(naive.cast(_UTC), with_zone)), lost


def _without_nanoseconds(array: pa.Array) -> tuple[pa.Array, int]:
    finer = pc.match_substring_regex(array, r"\.[0-9]{7}")
    if not pc.any(finer).as_py():
        return array, 0
    lost = pc.sum(pc.match_substring_regex(array, r"\.[0-9]{6}[0-9]*[1-9]")).as_py()
    return pc.replace_substring_regex(array, _TOO_FINE, r"\1"), int(lost)


def in_range(values: pa.Array) -> pa.Array:
    """Instants (microseconds, UTC); null where one is outside the years 1 to 9999, which few readers can show."""
    return _between(values.cast(pa.int64()), _FIRST_US, _LAST_US).cast(_UTC)


def _normal(text: str) -> str | None:
    found = _TEXT.fullmatch(text)
    if found is None or from_text.normal_day(found[1]) is None:
        return None
    return text
