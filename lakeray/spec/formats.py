"""How people write numbers and dates: separators, signs, patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from lakeray.spec.strict import Complaint, Spec, repeated
from lakeray.spec.texts import Text
from lakeray.spec.wrong import WrongValue, quoted

DIRECTIVES = {
    "%Y": r"(?P<Y>[0-9]{4})",
    "%y": r"(?P<y>[0-9]{2})",
    "%m": r"(?P<m>[0-9]{1,2})",
    "%d": r"(?P<d>[0-9]{1,2})",
    "%b": r"(?P<b>[A-Za-z]{3})",
    "%B": r"(?P<B>[A-Za-z]{3,9})",
    "%a": r"[A-Za-z]{3}",
    "%A": r"[A-Za-z]{6,9}",
    "%H": r"(?P<H>[0-9]{1,2})",
    "%I": r"(?P<I>[0-9]{1,2})",
    "%M": r"(?P<M>[0-9]{1,2})",
    "%S": r"(?P<S>[0-9]{1,2})",
    "%f": r"(?P<f>[0-9]{1,6})",
    "%p": r"(?P<p>[AaPp][Mm])",
    "%z": r"(?P<z>Z|[+-][0-9]{2}:?[0-9]{2})",
    "%%": "%",
}
"""What each directive of a date pattern stands for, in the sense of Python's ``strptime``."""
_ALIASES = {"%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%D": "%m/%d/%y", "%R": "%H:%M"}


def plain_pattern(pattern: str) -> str:
    """``pattern`` without directives that stand for several."""
    for alias, meaning in _ALIASES.items():
        pattern = pattern.replace(alias, meaning)
    return pattern


def pattern_regex(pattern: str) -> str:
    """The regular expression of the texts that a date pattern takes. Raises WrongValue for one that says no day."""
    pattern = plain_pattern(pattern)
    directives = re.findall(r"%.?", pattern, re.DOTALL)
    for directive in directives:
        if directive not in DIRECTIVES:
            allowed = ", ".join([*DIRECTIVES, *_ALIASES])
            raise WrongValue(f"allowed: {allowed}", found=f"{quoted(directive)} in {quoted(pattern)}")
    said = {directive[1] for directive in directives if directive != "%%"}
    if len(said) + directives.count("%%") < len(directives):
        raise WrongValue("expected each directive once", found=quoted(pattern))
    year, month = said & {"Y", "y"}, said & {"m", "b", "B"}
    if len(year) != 1 or len(month) != 1 or "d" not in said:
        hint = "expected a year (%Y or %y), a month (%m, %b or %B) and a day (%d), as in %d.%m.%Y"
        raise WrongValue(hint, found=quoted(pattern))
    if ("I" in said) != ("p" in said) or {"H", "I"} <= said:
        raise WrongValue("expected %H, or %I with %p", found=quoted(pattern))
    parts = re.split(r"(%.)", pattern)
    return "^" + "".join(DIRECTIVES.get(part, re.escape(part)) for part in parts) + "$"


def _pattern(value: str) -> str:
    pattern_regex(value)
    return value


DatePattern = Annotated[str, AfterValidator(_pattern), Field(json_schema_extra={"minLength": 1})]


def _separator(value: str) -> str:
    if len(value) == 1 and not value.isalnum() and value not in "+-%\x00":
        return value
    raise WrongValue('expected one character that is no digit and no sign, as in "," or "."', found=quoted(value))


Separator = Annotated[str, AfterValidator(_separator), Field(json_schema_extra={"minLength": 1, "maxLength": 1})]


class NumberFormat(Spec):
    """How numbers are written as text."""

    decimal: Separator = "."
    """The character before the fraction. Default: a point."""
    thousands: Separator | None = None
    """The character between groups of three digits. Default: none. A blank stands for every kind of blank. Numbers
    without groups are read as well."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """One character for both."""
        yield from _two_meanings(data)


def _two_meanings(data: Mapping[str, object]) -> Iterator[Complaint]:
    thousands = data.get("thousands")
    if isinstance(thousands, str) and thousands == data.get("decimal", "."):
        yield ("thousands",), WrongValue("expected another character than decimal's", found=quoted(thousands))


class SignedFormat(NumberFormat):
    """How numbers are written as text, with the signs around them."""

    currency: list[Text] = Field(default_factory=list)
    """Signs that may stand before or behind a number, such as `[€, EUR]`; they are taken off. Default: none."""
    percent: bool = False
    """Whether a number may end in a percent sign, which makes it a hundredth: `12,5 %` becomes 0.125. Default:
    false."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """One character for two things; a sign named twice."""
        yield from super().complaints(data)
        yield from repeated(data.get("currency"), "currency")


def shape(pattern: str) -> str:
    """A date pattern with days and months taken for the same: patterns of one shape can read one text differently."""
    regex: Any = re.sub(r"\(\?P<[dm]>", "(?P<day_or_month>", pattern_regex(pattern))
    return str(regex)
