"""How values of a column are cleansed: rules in an order, each of which does one thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from lakeray.spec.formats import DatePattern, NumberFormat, SignedFormat, shape
from lakeray.spec.strict import Choice, Complaint, Spec, repeated
from lakeray.spec.texts import Text, Zone
from lakeray.spec.types import parse_type
from lakeray.spec.wrong import WrongValue, quoted

Unfit = Literal["quarantine", "null"]


def _numeric(value: str) -> str:
    import pyarrow.types as pt

    kind = parse_type(value)
    if pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind):
        return value
    raise WrongValue("expected a type of numbers, such as float64 or decimal(18, 2)", found=quoted(value))


NumericType = Annotated[str, AfterValidator(_numeric), Field(json_schema_extra={"minLength": 1})]


class NumberRule(SignedFormat):
    """Texts become numbers."""

    type: NumericType = "float64"
    """The type of the numbers. Default: float64. Take `decimal(18, 2)` for money."""
    unfit: Unfit = "quarantine"
    """What happens to a text that is no such number. `quarantine` (default): its row is refused. `null`: the value
    becomes null, which is counted."""


class DateRule(Spec):
    """Texts become dates or timestamps: the first pattern that fits."""

    formats: list[DatePattern] = Field(min_length=1)
    """Patterns, as in `["%d.%m.%Y", "%Y-%m-%d"]`. Months and weekdays are English names."""
    type: Literal["date", "timestamp"] = "date"
    """`date` (default) or `timestamp`. A date takes no time of day other than midnight."""
    timezone: Zone = "UTC"
    """The zone of times that name none. Default: UTC. A time that the zone's clock change skips or shows twice is
    refused."""
    ambiguous: Literal["quarantine", "first"] = "quarantine"
    """What happens to a text that two patterns read as different days, as 03/04/2024 by `%d/%m/%Y` and `%m/%d/%Y`.
    `quarantine` (default): nobody guesses. `first`: the pattern that stands first counts."""
    unfit: Unfit = "quarantine"
    """What happens to a text that no pattern fits. `quarantine` (default): its row is refused. `null`: the value
    becomes null, which is counted."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A pattern named twice."""
        yield from repeated(data.get("formats"), "formats")

    @property
    def rivals(self) -> bool:
        """Whether two patterns can read one text differently."""
        shapes = [shape(pattern) for pattern in self.formats]
        return len(set(shapes)) < len(shapes)


class UnitRule(NumberFormat):
    """Texts such as `12 kg` become numbers of one unit."""

    to: Text
    """The unit that numbers are in afterwards."""
    from_: dict[Text, float | int] = Field(alias="from", default_factory=dict)
    """Other units, each with what one of it is in the unit of `to`: `{g: 0.001, lb: 0.45359237}`. Upper and lower case
    differ."""
    bare: Text | None = None
    """The unit of numbers that name none. Default: they do not fit, because a unit is never guessed."""
    unfit: Unfit = "quarantine"
    """What happens to a text that is no number with a known unit. `quarantine` (default): its row is refused. `null`:
    the value becomes null, which is counted."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A factor that is none, a unit that is not known."""
        yield from super().complaints(data)
        known = data.get("from")
        units = dict(known) if isinstance(known, Mapping) else {}
        if data.get("to") in units:
            yield ("from", str(data["to"])), WrongValue("the unit of `to` is 1 by itself")
        for unit, factor in units.items():
            if isinstance(factor, int | float) and not isinstance(factor, bool) and factor <= 0:
                yield ("from", str(unit)), WrongValue("expected a factor above 0", found=str(factor))
        bare = data.get("bare")
        if isinstance(bare, str) and bare not in {*units, data.get("to")}:
            yield ("bare",), WrongValue(f"allowed: {', '.join([str(data.get('to')), *units])}", found=quoted(bare))


class BooleanRule(Spec):
    """Texts become true or false."""

    yes: list[Text] = Field(default_factory=list)
    """Texts that mean true, beside `true` and `1`. Upper and lower case are one. Default: none."""
    no: list[Text] = Field(default_factory=list)
    """Texts that mean false, beside `false` and `0`. Default: none."""
    unfit: Unfit = "quarantine"
    """What happens to any other text. `quarantine` (default): its row is refused. `null`: the value becomes null, which
    is counted."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A text that means both."""
        for key, other, taken in (("yes", "no", {"false", "0"}), ("no", "yes", {"true", "1"})):
            yield from repeated(data.get(key), key)
            texts, others = data.get(key), data.get(other)
            meant = taken | {str(text).casefold() for text in others} if isinstance(others, list) else taken
            for index, text in enumerate(texts if isinstance(texts, list) else []):
                if str(text).casefold() in meant:
                    yield (key, index), WrongValue(f"it means {other} already", found=quoted(str(text)))


class Replace(Spec):
    """What a regular expression finds is replaced."""

    pattern: Text
    """A regular expression in RE2 syntax; `^` and `$` hold it to the whole value."""
    with_: str = Field(alias="with")
    r"""The text in its place; `\1` is the first group. It is done again until nothing changes any more, so that
    cleansing twice is the same as once; a value that never comes to rest is refused."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """What RE2 does not understand."""
        import pyarrow as pa
        import pyarrow.compute as pc

        pattern, new = data.get("pattern"), data.get("with")
        if not isinstance(pattern, str) or not isinstance(new, str):
            return
        try:
            pc.replace_substring_regex(pa.array([""]), pattern=pattern, replacement=new)
        except pa.ArrowInvalid as error:
            what = str(error).partition(":")[2].strip() or str(error)
            key = "with" if "rewrite" in what.lower() or "replacement" in what.lower() else "pattern"
            yield (key,), WrongValue(f"expected a regular expression in RE2 syntax: {what}", found=quoted(pattern))


class Outlier(Choice):
    """Numbers that lie too far out."""

    choices: ClassVar[tuple[str, ...]] = ("between", "quantiles", "mad")
    noun: ClassVar[str] = "an outlier rule"

    between: list[float | int | None] | None = Field(default=None, min_length=2, max_length=2)
    """The smallest and the largest number that may be; null is no limit."""
    quantiles: list[float | int] | None = Field(default=None, min_length=2, max_length=2)
    """Shares of the batch's numbers, as in `[0.001, 0.999]`: what lies below the first quantile or above the second is
    out. They are found in a first pass over the batch, to a thousandth of their value."""
    mad: Annotated[float | int, Field(gt=0)] | None = None
    """How many times the median absolute deviation a number may lie from the batch's median. Found like quantiles. 5
    is a careful value."""
    action: Literal["null", "clip", "quarantine", "flag"] = "quarantine"
    """`null`: the number becomes null. `clip`: it becomes the nearest that may be. `quarantine` (default): its row is
    refused. `flag`: it stays, and the column `<name>_is_outlier` says so."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Bounds that nothing lies between."""
        yield from super().complaints(data)
        for key, low, high in (("between", None, None), ("quantiles", 0.0, 1.0)):
            bounds = data.get(key)
            if not isinstance(bounds, list) or len(bounds) != 2 or not all(map(_number_or_none, bounds)):  # noqa: PLR2004
                continue
            first, second = bounds
            if first is None and second is None:
                yield (key,), WrongValue("expected at least one limit")
            elif first is not None and second is not None and first > second:
                yield (key,), WrongValue("expected the smaller bound first")
            elif low is not None and high is not None and not low <= first <= second <= high:
                yield (key,), WrongValue("expected shares from 0 to 1")


def _number_or_none(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


class CleanseRule(Choice):
    """One thing that is done to the values of a column; null stays null."""

    choices: ClassVar[tuple[str, ...]] = (
        "trim",
        "case",
        "unicode",
        "nulls",
        "replace",
        "enum",
        "number",
        "date",
        "unit",
        "boolean",
        "outlier",
    )
    noun: ClassVar[str] = "a cleansing rule"

    trim: Literal["ends", "all"] | None = None
    """`ends`: blanks at both ends go. `all`: inner ones become a single one as well. All blanks of Unicode count."""
    case: Literal["upper", "lower", "title"] | None = None
    """Letters become upper or lower case, or the first of each word upper and the others lower."""
    unicode: Literal["NFC", "NFKC"] | None = None
    """The Unicode form; control characters (but for tabs and line ends) and characters without width go. `NFKC` also
    makes one of look-alikes such as full-width digits and ligatures."""
    nulls: list[str] | None = Field(default=None, min_length=1)
    """Texts that stand for null, such as `["", "N/A", "-"]`. They must be equal; put `trim` and `case` before."""
    replace: Replace | None = None
    """What a regular expression finds is replaced."""
    enum: dict[Text, list[Text]] | None = None
    """Values with their synonyms, as in `{new: [neu, nouveau], paid: [bezahlt]}`. Upper and lower case are one."""
    unknown: Literal["keep", "null", "quarantine"] = "keep"
    """At `enum`: what happens to a text that is none of them. `keep` (default): it stays. `null`: it becomes null.
    `quarantine`: its row is refused."""
    number: NumberRule | None = None
    """Texts become numbers."""
    date: DateRule | None = None
    """Texts become dates or timestamps."""
    unit: UnitRule | None = None
    """Texts such as `12 kg` become numbers of one unit."""
    boolean: BooleanRule | None = None
    """Texts become true or false."""
    outlier: Outlier | None = None
    """Numbers that lie too far out."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Not exactly one rule; a synonym of two values."""
        yield from super().complaints(data)
        if data.get("unknown", "keep") != "keep" and data.get("enum") is None:
            yield ("unknown",), WrongValue("only enum has this")
        known = data.get("enum")
        taken: dict[str, str] = {}
        for value in known if isinstance(known, Mapping) else ():
            taken.setdefault(str(value).casefold(), str(value))
        for value, synonyms in known.items() if isinstance(known, Mapping) else ():
            for index, text in enumerate(synonyms if isinstance(synonyms, list) else []):
                holder = taken.setdefault(str(text).casefold(), str(value))
                if holder != value:
                    yield (
                        ("enum", str(value), index),
                        WrongValue(f"it stands for {holder} already", found=quoted(str(text))),
                    )


TYPED = ("number", "date", "unit", "boolean")
"""Rules that make another type of a text."""
TEXTUAL = ("trim", "case", "unicode", "nulls", "replace", "enum")
"""Rules that make a text of a text."""


def everywhere_complaints(cleanse: object) -> Iterator[Complaint]:
    """Rules under ``*`` that would make numbers or dates of whatever text there is; bounds of the batch for columns
    that are not named.
    """
    for selector, listed in cleanse.items() if isinstance(cleanse, Mapping) else ():
        of_type = str(selector).startswith("type:") and isinstance(listed, list)
        for index, rule in enumerate(listed if of_type else []):
            kind = _by_the_batch(rule)
            if kind is not None:
                hint = "bounds of the batch are found for columns that are named"
                yield ("cleanse", str(selector), index, "outlier", kind), WrongValue(hint, found=quoted(kind))
    rules = cleanse.get("*") if isinstance(cleanse, Mapping) else None
    for index, rule in enumerate(rules if isinstance(rules, list) else []):
        said = rule if isinstance(rule, Mapping) else {}
        kinds = [key for key in said if key in (*TYPED, "outlier") and said[key] is not None]
        for kind in kinds:
            hint = f"allowed for every column: {', '.join(TEXTUAL)}; name the columns of the others"
            yield ("cleanse", "*", index, kind), WrongValue(hint, found=quoted(kind))


def _by_the_batch(rule: object) -> str | None:
    """How a rule's bounds are found in the batch; None when they are not."""
    said = rule.get("outlier") if isinstance(rule, Mapping) else None
    kinds = [key for key in ("quantiles", "mad") if isinstance(said, Mapping) and said.get(key) is not None]
    return kinds[0] if kinds else None


def rules_in_order(rules: list[CleanseRule]) -> list[CleanseRule]:
    """``rules`` of one column. Raises WrongValue for one that can never see a value that it takes."""
    turned: str | None = None
    for rule in rules:
        if turned is not None and rule.kind != "outlier":
            raise WrongValue(f"expected no rule but outlier behind {turned}, which makes no text", found=rule.kind)
        if rule.kind in TYPED:
            turned = rule.kind
        if rule.kind == "outlier":
            turned = "outlier"
    return rules


def selector(value: str) -> str:
    """A column's name, ``*``, or ``type:<type>``. Raises WrongValue for a type that is none."""
    if value.startswith("type:"):
        parse_type(value.removeprefix("type:"))
    return value


Selector = Annotated[Text, AfterValidator(selector)]
Rules = Annotated[list[CleanseRule], Field(min_length=1), AfterValidator(rules_in_order)]
