"""Dates and times as people write them: any pattern, any time zone, no guesses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.spec.formats import pattern_regex, plain_pattern
from lakeray.transform.delta_types import TIMESTAMP
from lakeray.transform.moments import in_range, to_date
from lakeray.transform.text_bytes import FixedWidth

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_LENGTHS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
_PIVOT = 69
"""Two digits of a year from here on are of 1900, below of 2000, as POSIX has it."""
_ISO = {
    "%Y-%m-%d": (10, ""),
    "%Y-%m-%d %H:%M:%S": (19, " "),
    "%Y-%m-%dT%H:%M:%S": (19, "T"),
}
_DAY_US = 86_400_000_000


def parse_moments(texts: pa.Array, pattern: str, kind: pa.DataType, zone: str) -> pa.Array:
    """``texts`` (string) as dates or timestamps; null where one does not fit ``pattern`` (see
    ``lakeray.spec.formats``), is no day of the calendar, is a time that ``zone`` skips or shows twice, or, for a date,
    has a time of day.
    """
    quick = _iso(texts, pattern)
    if quick is not None:
        return _typed(quick, kind, zone)
    width = FixedWidth.of(plain_pattern(pattern))
    shaped = None if width is None else width.shaped(texts)
    if width is None or shaped is None or not pc.any(shaped).as_py():
        return _parsed(texts, pattern, kind, zone)
    values = _cast(texts, shaped) if pattern in _ISO else None
    if values is None:
        sure = width.numbers(texts.filter(shaped))
        micros, right = _microseconds(sure, np.ones(len(sure["d"]), dtype=bool))
        nothing = pa.nulls(len(texts), pa.timestamp("us"))
        values = pc.replace_with_mask(nothing, shaped, _array(micros, right).cast(pa.timestamp("us")))
    values = _typed(values, kind, zone)
    rest = pc.and_not(texts.is_valid(), shaped)
    return pc.replace_with_mask(values, rest, _parsed(texts.filter(rest), pattern, kind, zone))


def _cast(texts: pa.Array, shaped: pa.BooleanArray) -> pa.Array | None:
    """The texts of an ISO shape as Arrow itself reads them; None when one is no day."""
    try:
        values = pc.if_else(shaped, texts, pa.scalar(None, pa.string())).cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    return values if _after_year_0(values) else None


def _parsed(texts: pa.Array, pattern: str, kind: pa.DataType, zone: str) -> pa.Array:
    """The careful way, for any pattern."""
    parts = pc.extract_regex(pc.utf8_trim_whitespace(texts), pattern_regex(pattern))
    fields = {field.name: parts.field(field.name) for field in parts.type}
    there = np.asarray(pc.is_valid(parts))
    found = {name: _numbers(fields[name], there) for name in fields if name in "YymdHIMS"}
    if "b" in fields or "B" in fields:
        found["m"] = _months(fields["b"], _MONTHS) if "b" in fields else _months(fields["B"], _FULL)
    if "I" in found:
        there = there & (found["I"] >= 1) & (found["I"] <= 12)  # noqa: PLR2004 - hours of a half day
        late = np.asarray(pc.fill_null(pc.match_substring_regex(fields["p"], "^[Pp]"), False))
        found["H"] = found["I"] % 12 + 12 * late
    if "f" in fields:
        found["f"] = _fraction(fields["f"], there)
    micros, right = _microseconds(found, there)
    if "z" in fields:
        micros = micros - _offsets(fields["z"], right)
        return _typed(in_range(_array(micros, right)), kind, zone)
    return _typed(_array(micros, right).cast(pa.timestamp("us")), kind, zone)


def _array(micros: Any, right: Any) -> pa.Array:
    return pa.array(micros, pa.int64(), mask=~right)


def _typed(moments: pa.Array, kind: pa.DataType, zone: str) -> pa.Array:
    if pt.is_date(kind):
        naive = moments.cast(pa.timestamp("us")) if moments.type.tz is None else moments
        return to_date(naive, kind)
    if moments.type.tz is None and kind.tz is not None:
        moments = in_zone(moments, zone)
    return moments.cast(kind)


def in_zone(moments: pa.Array, zone: str) -> pa.Array:
    """Naive ``moments`` of a zone as instants; null where the zone's clock skips or repeats them, and outside the
    years 1 to 9999.
    """
    if zone == "UTC":
        return moments.cast(TIMESTAMP)
    first = pc.assume_timezone(moments, zone, ambiguous="earliest", nonexistent="earliest").cast(pa.int64())
    last = pc.assume_timezone(moments, zone, ambiguous="latest", nonexistent="latest").cast(pa.int64())
    return in_range(pc.if_else(pc.equal(first, last), first, pa.scalar(None, pa.int64())))


def _iso(texts: pa.Array, pattern: str) -> pa.Array | None:
    """The quick way when every text has exactly the shape that Arrow itself reads; None otherwise."""
    shape = _ISO.get(pattern)
    if shape is None:
        return None
    length, between = shape
    lengths = pc.min_max(pc.binary_length(texts))
    if lengths["min"].as_py() not in (None, length) or lengths["max"].as_py() not in (None, length):
        return None
    if between and not pc.all(pc.match_like(texts, f"__________{between}%"), min_count=0).as_py():
        return None
    try:
        values = texts.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    return values if _after_year_0(values) else None


def _after_year_0(values: pa.Array) -> bool:
    """Arrow has a year 0."""
    early = pc.min(values.cast(pa.int64())).as_py()
    return early is None or early >= -719_162 * _DAY_US


def _numbers(texts: pa.Array, right: Any) -> Any:
    """Digits, of which every text that matched has some, as int64; 0 where one did not match."""
    known = pc.if_else(pa.array(right), texts, pa.scalar("0"))
    return np.asarray(known.cast(pa.int64()))


def _microseconds(found: dict[str, Any], there: Any) -> tuple[Any, Any]:
    """Microseconds since 1970 on the clock that the numbers show, by their directives' letters, and where they are
    right.
    """
    zero = np.zeros(len(there), dtype=np.int64)
    year = found.get("Y")
    if year is None:
        year = found["y"] + np.where(found["y"] >= _PIVOT, 1900, 2000)
    month, day = found["m"], found["d"]
    hour, minute, second = (found.get(name, zero) for name in "HMS")
    right = there & (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)  # noqa: PLR2004 - months of a year
    right = right & (hour < 24) & (minute < 60) & (second < 60)  # noqa: PLR2004 - the clock
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    length = _LENGTHS[np.clip(month, 1, 12) - 1] + (leap & (month == 2))  # noqa: PLR2004 - February
    right = right & (day <= length)
    months = (np.where(right, year, 1970) - 1970) * 12 + np.where(right, month, 1) - 1
    days = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) + np.where(right, day, 1) - 1
    micros = ((days * 24 + hour) * 60 + minute) * 60 + second
    return micros * 1_000_000 + found.get("f", zero), right


def _months(names: pa.Array, known: tuple[str, ...]) -> Any:
    places = pc.index_in(pc.ascii_lower(names), pa.array(known))
    return np.asarray(pc.add(pc.fill_null(places, -1).cast(pa.int64()), 1))


def _fraction(texts: pa.Array, there: Any) -> Any:
    """Digits behind the point of a second as microseconds."""
    return _numbers(pc.utf8_rpad(texts, 6, "0"), there)


def _offsets(texts: pa.Array, right: Any) -> Any:
    """Zone offsets such as +02:00 as microseconds east of UTC; one that no zone has makes its text wrong."""
    plain = pc.replace_substring(pc.if_else(pc.equal(texts, "Z"), pa.scalar("+0000"), texts), ":", "")
    hours = _numbers(pc.utf8_slice_codeunits(plain, 1, 3), right)
    minutes = _numbers(pc.utf8_slice_codeunits(plain, 3, 5), right)
    right &= (hours < 24) & (minutes < 60)  # noqa: PLR2004 - the clock
    west = np.asarray(pc.fill_null(pc.starts_with(plain, "-"), False))
    return np.where(west, -1, 1) * (hours * 60 + minutes) * 60_000_000
