"""Rules that make a number, a date or a truth of a text."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.spec.cleansing import BooleanRule, CleanseRule, DateRule, NumberRule, UnitRule
from lakeray.spec.types import parse_type
from lakeray.transform.cleanse.port import Cleaned
from lakeray.transform.coercions import convert
from lakeray.transform.delta_types import is_text
from lakeray.transform.local_dates import parse_moments
from lakeray.transform.local_numbers import parse_numbers, parse_units
from lakeray.transform.text_bytes import FixedWidth, byte_at, digits_and_points, matching

_PLAIN_NUMBER = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_ISO = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?$"
_ISO_SHAPE = FixedWidth(["%Y", "-", "%m", "-", "%d", " ", "%H", ":", "%M", ":", "%S"])
_ISO_DASH = 4
_PLAIN_TRUTH = r"^(true|false)$"


class Typed:
    """A rule that turns texts into ``kind``; values that have the type already stay."""

    alone = False
    plain = "^$"
    """Texts that say the same in the plainest way: reading them is no change."""

    def __init__(self, label: str, *, kind: pa.DataType, unfit: str, reason: str) -> None:
        self.label, self.kind, self.reason = label, kind, reason
        self._unfit = unfit

    def takes(self, kind: pa.DataType) -> bool:
        """Texts, and what converts to the type without loss."""
        return is_text(kind) or (kind != self.kind and self._converts(kind))

    def __call__(self, values: pa.Array) -> Cleaned:
        """``values`` in the type; those that do not fit are refused, or null."""
        if not is_text(values.type):
            return self._cleaned(values, convert(values, self.kind).values, pa.repeat(False, len(values)))
        texts = values.cast(pa.string())
        made = self._parsed(texts)
        return self._cleaned(values, made, pc.and_not(texts.is_valid(), self._plain(texts)))

    def _plain(self, texts: pa.Array) -> pa.BooleanArray:
        """Where a text says it in the plainest way; of nulls and texts that cannot be read it says anything."""
        return pc.match_substring_regex(texts, self.plain)

    def _cleaned(self, before: pa.Array, made: pa.Array, changed: pa.BooleanArray) -> Cleaned:
        if made.null_count == before.null_count:
            return Cleaned(values=made, changed=changed)
        bad = pc.and_(before.is_valid(), made.is_null())
        if self._unfit == "null":
            return Cleaned(values=made, changed=pc.or_(changed, bad))
        return Cleaned(values=made, refused=bad, changed=pc.and_not(changed, bad))

    def _parsed(self, texts: pa.Array) -> pa.Array:
        raise NotImplementedError

    def _converts(self, kind: pa.DataType) -> bool:
        raise NotImplementedError


class Number(Typed):
    """Numbers with the separators and signs of their country."""

    plain = _PLAIN_NUMBER

    def __init__(self, label: str, spec: NumberRule) -> None:
        super().__init__(
            label,
            kind=parse_type(spec.type),
            unfit=spec.unfit,
            reason=f"the text is no number in the declared form that {spec.type} can hold",
        )
        self._spec = spec

    def _parsed(self, texts: pa.Array) -> pa.Array:
        return parse_numbers(texts, self._spec, self.kind)

    def _plain(self, texts: pa.Array) -> pa.BooleanArray:
        return matching(texts, self.plain, sure=digits_and_points(texts))

    def _converts(self, kind: pa.DataType) -> bool:
        return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind))


class Date(Typed):
    """Dates and times by the first pattern that fits."""

    plain = _ISO

    def __init__(self, label: str, spec: DateRule) -> None:
        kind = parse_type(spec.type)
        reason = f"the text is no {spec.type} in one of the declared formats, or more than one"
        super().__init__(label, kind=kind, unfit=spec.unfit, reason=reason)
        self._spec = spec
        self._strict = spec.rivals and spec.ambiguous == "quarantine"

    def _parsed(self, texts: pa.Array) -> pa.Array:
        if self._strict:
            return self._agreed(texts)
        spec = self._spec
        found = parse_moments(texts, spec.formats[0], self.kind, spec.timezone)
        for pattern in spec.formats[1:]:
            rest = pc.and_(texts.is_valid(), found.is_null())
            if not pc.any(rest).as_py():
                break
            more = parse_moments(texts.filter(rest), pattern, self.kind, spec.timezone)
            found = pc.replace_with_mask(found, rest, more)
        return found

    def _plain(self, texts: pa.Array) -> pa.BooleanArray:
        maybe = byte_at(texts, _ISO_DASH, "-")
        some = texts.filter(maybe)
        return pc.replace_with_mask(maybe, maybe, matching(some, self.plain, sure=_ISO_SHAPE.shaped(some)))

    def _agreed(self, texts: pa.Array) -> pa.Array:
        """What all patterns that fit agree on."""
        spec = self._spec
        every = [parse_moments(texts, pattern, self.kind, spec.timezone) for pattern in spec.formats]
        found = pc.coalesce(*every)
        doubts = [pc.fill_null(pc.not_equal(each, found), fill_value=False) for each in every]
        for doubt in doubts:
            found = pc.if_else(doubt, pa.scalar(None, self.kind), found)
        return found

    def _converts(self, kind: pa.DataType) -> bool:
        return bool(pt.is_date(kind) or pt.is_timestamp(kind))


class Unit(Typed):
    """Quantities in one unit."""

    def __init__(self, label: str, spec: UnitRule) -> None:
        reason = f"the text is no number with one of the units {', '.join([spec.to, *spec.from_])}"
        super().__init__(label, kind=pa.float64(), unfit=spec.unfit, reason=reason)
        self._spec = spec
        self._factors = {spec.to: 1.0, **{unit: float(factor) for unit, factor in spec.from_.items()}}
        if spec.bare == spec.to:
            self.plain = _PLAIN_NUMBER

    def _parsed(self, texts: pa.Array) -> pa.Array:
        return parse_units(texts, self._spec, self._factors, bare=self._spec.bare)

    def _converts(self, kind: pa.DataType) -> bool:  # noqa: ARG002 - a number without a unit is none of its business
        return False


class Boolean(Typed):
    """Truths by their synonyms."""

    plain = _PLAIN_TRUTH

    def __init__(self, label: str, spec: BooleanRule) -> None:
        reason = "the text means neither true nor false"
        super().__init__(label, kind=pa.bool_(), unfit=spec.unfit, reason=reason)
        self._yes, self._no = (
            pc.utf8_lower(pa.array([*texts, *known]))
            for texts, known in ((spec.yes, ("true", "1")), (spec.no, ("false", "0")))
        )

    def _parsed(self, texts: pa.Array) -> pa.Array:
        bare = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
        true, false = pc.is_in(bare, self._yes), pc.is_in(bare, self._no)
        return pc.if_else(pc.or_(true, false), true, pa.scalar(None, pa.bool_()))

    def _converts(self, kind: pa.DataType) -> bool:
        return bool(pt.is_integer(kind))


class Hinted(Typed):
    """The type that the source's hints give the column, once its text is clean."""

    plain = ""

    def __init__(self, label: str, kind: pa.DataType) -> None:
        reason = f"the value does not fit {kind}, the type of the source's hint"
        super().__init__(label, kind=kind, unfit="quarantine", reason=reason)

    def takes(self, kind: pa.DataType) -> bool:
        """Any other type."""
        return bool(kind != self.kind)

    def _parsed(self, texts: pa.Array) -> pa.Array:
        return convert(texts, self.kind).values


def typed_rule(label: str, rule: CleanseRule) -> Typed | None:
    """The rule that ``rule`` declares; None when it makes no other type."""
    if rule.number is not None:
        return Number(label, rule.number)
    if rule.date is not None:
        return Date(label, rule.date)
    if rule.unit is not None:
        return Unit(label, rule.unit)
    return None if rule.boolean is None else Boolean(label, rule.boolean)
