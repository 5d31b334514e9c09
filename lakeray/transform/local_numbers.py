"""Numbers as people write them: separators of their country, currency and percent signs, units."""

from __future__ import annotations

import re
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.spec.formats import NumberFormat, SignedFormat
from lakeray.transform import from_text
from lakeray.transform.coercions import convert
from lakeray.transform.text_bytes import digits_and_points

_BLANK = r"[\s\pZ]"
_MINUS = "\u2212"
_SURE = r"^-?[0-9]{1,17}(\.[0-9]{1,17})?$"
_PEEK = 1024
_NOTHING = pa.scalar(None, pa.string())


def parse_numbers(texts: pa.Array, style: NumberFormat, kind: pa.DataType) -> pa.Array:
    """``texts`` (string) as ``kind``; null where a text is no number of that style, or does not fit the type.

    Groups of thousands must hold three digits; blanks around a number and behind its sign are no part of it. A
    percentage is its text's number divided by 100.
    """
    quick = _plain(texts, style, kind)
    if quick is not None:
        return quick
    if style.decimal != "." or not pt.is_floating(kind):
        return _parsed(texts, style, kind)
    certain = digits_and_points(texts)
    try:
        values = pc.if_else(certain, texts, _NOTHING).cast(kind)
    except pa.ArrowInvalid:  # one has two points
        certain = pc.fill_null(pc.match_substring_regex(texts, _SURE), fill_value=False)
        values = pc.if_else(certain, texts, _NOTHING).cast(kind)
    rest = pc.and_not(texts.is_valid(), certain)
    return pc.replace_with_mask(values, rest, _parsed(texts.filter(rest), style, kind))


def _parsed(texts: pa.Array, style: NumberFormat, kind: pa.DataType) -> pa.Array:
    """The careful way, for any style."""
    grammar = _grammar(style, units=())
    right = pc.fill_null(pc.match_substring_regex(texts, grammar.whole), fill_value=False)
    bare = _digits(pc.if_else(right, texts, _NOTHING), style)
    values = from_text.parse(bare, kind)
    if not isinstance(style, SignedFormat) or not style.percent:
        return values
    percent = pc.and_(right, pc.fill_null(pc.match_substring(texts, "%"), fill_value=False))
    if not pc.any(percent).as_py():
        return values
    hundredths = pc.divide(from_text.parse(bare, pa.float64()), 100.0)
    return pc.if_else(percent, convert(hundredths, kind).values, values)


def parse_units(texts: pa.Array, style: NumberFormat, factors: dict[str, float], *, bare: str | None) -> pa.Array:
    """``texts`` such as ``12 kg`` as float64 in the unit whose factor is 1; null where one is no number with one of
    ``factors`` as its unit, or has none and ``bare`` names none.
    """
    grammar = _grammar(style, units=tuple(factors))
    parts = pc.extract_regex(texts, grammar.parts)
    found = parts.is_valid()
    numbers = from_text.parse(_digits(pc.if_else(found, parts.field("number"), _NOTHING), style), pa.float64())
    units = parts.field("unit")
    names = pa.array([*factors, ""], pa.string())
    scale = pa.array([*(float(factor) for factor in factors.values()), factors[bare] if bare else None], pa.float64())
    return pc.multiply(numbers, scale.take(pc.index_in(units, names)))


class _Grammar:
    """The regular expressions of one style."""

    def __init__(self, style: NumberFormat, units: tuple[str, ...]) -> None:
        decimal = re.escape(style.decimal)
        thousands = _thousands(style)
        grouped = rf"[0-9]{{1,3}}(?:{thousands}[0-9]{{3}})+|" if thousands else ""
        digits = rf"(?:{grouped}[0-9]+)(?:{decimal}[0-9]*)?|{decimal}[0-9]+"
        number = rf"[+\-{_MINUS}]?{_BLANK}*(?:{digits})(?:[eE][+-]?[0-9]{{1,3}})?"
        signs = ""
        percent = sign = ""
        if isinstance(style, SignedFormat):
            signs = "|".join(re.escape(sign) for sign in sorted(style.currency, key=len, reverse=True))
            percent = f"(?:{_BLANK}*%)?" if style.percent else ""
        self.whole = rf"^{_BLANK}*{number}{percent}{_BLANK}*$"
        if signs:  # on one side alone
            sign = rf"[+\-{_MINUS}]?{_BLANK}*"
            before = rf"{sign}(?:{signs}){_BLANK}*(?:{digits})|(?:{signs}){_BLANK}*{number}"
            self.whole = rf"^{_BLANK}*(?:{before}|{number}(?:{_BLANK}*(?:{signs}))?){percent}{_BLANK}*$"
        named = "|".join(re.escape(unit) for unit in sorted(units, key=len, reverse=True))
        self.parts = rf"^{_BLANK}*(?P<number>{number}){_BLANK}*(?P<unit>(?:{named})?){_BLANK}*$"


@lru_cache(maxsize=256)
def _cached(style: str, units: tuple[str, ...], signed: bool) -> _Grammar:
    read = SignedFormat if signed else NumberFormat
    return _Grammar(read.model_validate_json(style), units)


def _grammar(style: NumberFormat, units: tuple[str, ...]) -> _Grammar:
    signed = isinstance(style, SignedFormat)
    fields = set(SignedFormat.model_fields if signed else NumberFormat.model_fields)
    return _cached(style.model_dump_json(include=fields), units, signed)


def _thousands(style: NumberFormat) -> str:
    if style.thousands is None:
        return ""
    return r"[\s\pZ]" if style.thousands.isspace() else re.escape(style.thousands)


def _digits(texts: pa.Array, style: NumberFormat) -> pa.Array:
    """Texts that the grammar took, with a point, without groups, currency, blanks: as from_text reads them."""
    if isinstance(style, SignedFormat):
        for sign in sorted(style.currency, key=len, reverse=True):
            texts = _without(texts, sign)
        texts = _without(texts, "%") if style.percent else texts
    texts = pc.replace_substring(texts, _MINUS, "-") if from_text.contains_byte(texts, b"\xe2") else texts
    if style.thousands is not None and not style.thousands.isspace():
        texts = _without(texts, style.thousands)
    if pc.any(pc.match_substring_regex(texts, _BLANK)).as_py():
        texts = pc.replace_substring_regex(texts, _BLANK, "")
    if style.decimal != ".":
        texts = pc.replace_substring(texts, style.decimal, ".")
    if pc.any(pc.ends_with(texts, ".")).as_py():
        texts = pc.replace_substring_regex(texts, r"\.$", "")
    return texts


def _without(texts: pa.Array, part: str) -> pa.Array:
    return pc.replace_substring(texts, part, "")


def _plain(texts: pa.Array, style: NumberFormat, kind: pa.DataType) -> pa.Array | None:
    """The quick way when every text is a bare number with a point; None when one is not, or may not be."""
    if style.decimal != "." or not pt.is_floating(kind):
        return None
    try:
        texts.slice(len(texts) // 2, _PEEK).cast(kind)  # most of the time this is enough to see that it cannot be
        values = texts.cast(kind)
    except pa.ArrowInvalid:
        return None
    finite = pc.all(pc.is_finite(values), min_count=0).as_py()  # Arrow reads nan and inf, which no style has
    return values if finite else None
