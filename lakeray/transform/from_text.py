"""Texts as numbers, booleans or dates, strictly.

A whole array that Arrow's own parser takes costs one pass. When it does not, texts whose form is surely right are
parsed by Arrow, and only the *distinct* other ones are looked at one by one: a few bad values in a million cost
little, and never change what the others become.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Context, Decimal, Inexact, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.transform.text_bytes import digits_alone, matching

BLANKS = " \t\r\n"
SURE_DAY = (  # all but leap days
    r"[0-9]{4}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SPECIAL = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SURE_FLOAT = r"^-?[0-9]{1,17}(\.[0-9]{1,17})?$"
_SURE_DIGITS = {8: 2, 16: 4, 32: 9, 64: 18}
_MOST_DIGITS = 400
_DECIMAL_DIGITS = 38
_FIRST_DAY = dt.date(1, 1, 1)
_EXACT = Context(prec=400, traps=[Inexact, InvalidOperation])


def parse(array: pa.Array, target: pa.DataType) -> pa.Array:
    """``array`` of texts as ``target`` (integer, float, decimal, boolean or date); null where a text does not fit."""
    array = array.cast(pa.string())
    if pt.is_boolean(target):
        return _booleans(array)
    if pt.is_integer(target):
        return _integers(array, target)
    if pt.is_floating(target):
        return _floats(array, target)
    if pt.is_decimal(target):
        return _decimals(array, target)
    if pt.is_date(target):
        days = salvage(array, target, sure=like(f"^{SURE_DAY}$"), normal=normal_day)
        return pc.if_else(pc.less(days, _FIRST_DAY), pa.scalar(None, target), days)  # Arrow has a year 0
    return pa.nulls(len(array), target)


def salvage(
    array: pa.Array,
    target: pa.DataType,
    *,
    sure: Callable[[pa.Array], pa.BooleanArray],
    normal: Callable[[str], str | None],
    whole: bool = True,
) -> pa.Array:
    """Texts through Arrow's cast, with a way around those that it refuses.

    ``sure`` finds texts that Arrow surely takes; ``normal`` turns any other (without blanks around it) into one that
    Arrow takes, or None. With ``whole``, the array as it is is tried first.
    """
    if whole:
        try:
            return array.cast(target)
        except pa.ArrowInvalid:
            pass
    bare = pc.utf8_trim(array, BLANKS)
    certain = sure(bare)
    values = pc.if_else(certain, bare, pa.scalar(None, pa.string())).cast(target)
    doubtful = pc.and_(bare.is_valid(), pc.invert(pc.fill_null(certain, True)))
    if not pc.any(doubtful).as_py():
        return values
    encoded = bare.filter(doubtful).dictionary_encode()
    found = pa.array([normal(text) for text in encoded.dictionary.to_pylist()], pa.string()).cast(target)
    return pc.replace_with_mask(values, doubtful, found.take(encoded.indices))


def like(pattern: str) -> Callable[[pa.Array], pa.BooleanArray]:
    """Finds texts by a regular expression."""
    return lambda texts: pc.match_substring_regex(texts, pattern)


def contains_byte(array: pa.Array, found: bytes) -> bool:
    """Whether any of ``found`` is in the texts of ``array``, as one scan of its buffer."""
    data = array.buffers()[2]
    if data is None or not len(array):
        return False
    view = bytes(memoryview(data))
    return any(view.find(found[place : place + 1]) >= 0 for place in range(len(found)))


def _integers(array: pa.Array, target: pa.DataType) -> pa.Array:
    low, high = -(1 << (target.bit_width - 1)), (1 << (target.bit_width - 1)) - 1

    def normal(text: str) -> str | None:
        if not _INTEGER.fullmatch(text) or len(text) > _MOST_DIGITS:
            return None
        number = int(text)
        return str(number) if low <= number <= high else None

    digits = _SURE_DIGITS[target.bit_width]

    def sure(texts: pa.Array) -> pa.BooleanArray:
        return matching(texts, rf"^-?[0-9]{{1,{digits}}}$", sure=digits_alone(texts, digits))

    plain = not contains_byte(array, b"xX")  # Arrow reads 0x10 as sixteen
    return salvage(array, target, sure=sure, normal=normal, whole=plain)


def _floats(array: pa.Array, target: pa.DataType) -> pa.Array:
    values = salvage(array, target, sure=like(_SURE_FLOAT), normal=_normal_float)
    infinite = pc.is_inf(values)
    if not pc.any(infinite).as_py():
        return values
    meant = pc.match_substring_regex(array, r"(?i)inf")
    return pc.if_else(pc.and_(infinite, pc.invert(meant)), pa.scalar(None, target), values)


def _normal_float(text: str) -> str | None:
    if _SPECIAL.fullmatch(text):
        return text
    return text.lstrip("+") if _NUMBER.fullmatch(text) else None


def _decimals(array: pa.Array, target: pa.DataType) -> pa.Array:
    unit = Decimal(1).scaleb(-target.scale)
    limit = Decimal(10) ** (target.precision - target.scale)

    def normal(text: str) -> str | None:
        if not _NUMBER.fullmatch(text) or len(text) > _MOST_DIGITS:
            return None
        try:
            found = Decimal(text).quantize(unit, context=_EXACT)
        except (Inexact, InvalidOperation):
            return None
        return f"{found:f}" if abs(found) < limit else None

    whole = target.precision - target.scale
    fraction = rf"(\.[0-9]{{1,{target.scale}}})?" if target.scale else ""
    sure = rf"^-?[0-9]{{1,{whole}}}{fraction}$" if whole else rf"^-?0?\.[0-9]{{1,{target.scale}}}$"
    # Arrow takes 39 digits for 38, and appends zeros up to the scale, and wraps around
    longest = (pc.max(pc.binary_length(array)).as_py() or 0) + target.scale
    plain = longest <= _DECIMAL_DIGITS and not contains_byte(array, b"eE")
    return salvage(array, target, sure=like(sure), normal=normal, whole=plain)


def _booleans(array: pa.Array) -> pa.Array:
    bare = pc.ascii_lower(pc.utf8_trim(array, BLANKS))
    true, false = (pc.is_in(bare, pa.array(words)) for words in (["true", "1"], ["false", "0"]))
    return pc.if_else(pc.or_(true, false), true, pa.scalar(None, pa.bool_()))


def normal_day(text: str) -> str | None:
    """``text`` when it is a day of the years 0001 to 9999 as ``YYYY-MM-DD``, otherwise None."""
    if not _DAY.fullmatch(text):
        return None
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return None
    return text
