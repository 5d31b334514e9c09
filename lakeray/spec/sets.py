"""Conditions over a whole batch, with the rule by which its duplicates go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from lakeray.spec.strict import Choice, Complaint, Spec, repeated
from lakeray.spec.texts import ColumnRef, Hook, Sql, Text
from lakeray.spec.units import PositiveDuration
from lakeray.spec.wrong import WrongValue, quoted

QUARANTINES = ("unique", "references")
"""The set expectations that can tell single rows that offend."""


class Latest(Spec):
    """Of the rows of one key the one with the largest value of a column stays."""

    latest: Text
    """The column. Rows where it is null lose; of equal ones the later read stays."""


class Window(Spec):
    """Rows of one key are duplicates when they lie close in time."""

    window: PositiveDuration
    """Seconds between two rows of one key up to which the second is a duplicate, such as `7d`."""
    column: Text
    """The timestamp or date by which they are compared. A row where it is null is nobody's duplicate."""


class Deduplicate(Spec):
    """Rows that say again what another row says are left out and counted, object by object."""

    key: list[Text] = Field(min_length=1)
    """Columns, as they are written, that together identify a row. A row with a null among them has no key, so that it
    stays."""
    keep: Literal["first", "last"] | Latest = "first"
    """Which row of a key stays, in the order of objects and their records. `first` (default), `last`, or
    `{latest: column}`."""
    within: Literal["batch", "table"] | Window = "batch"
    """Among which rows duplicates are looked for. `batch` (default): the batch alone. `table`: the table's rows too,
    which always stay. `{window: 7d, column: placed_at}`: batch and table, but only rows that close in time."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A column twice; another row than the first where the table's rows stay."""
        yield from repeated(data.get("key"), "key")
        if data.get("within", "batch") != "batch" and data.get("keep", "first") != "first":
            hint = "beyond the batch the table's row stays, so that only `first` is possible; mode merge replaces rows"
            yield ("keep",), WrongValue(hint, found=quoted(str(data.get("keep"))))


class History(Spec):
    """What earlier batches of the same step were like."""

    window: int = Field(default=10, ge=1, le=100)
    """How many earlier batches are looked at. Default: 10. Before there are two of them the rule holds."""
    tolerance: float = Field(default=0.5, gt=0.0, le=1000.0)
    """By which share of their mean the batch may differ. Default: 0.5."""


class RowCount(Spec):
    """How many rows the batch writes."""

    min: int | None = Field(default=None, ge=0)
    """At least so many. Default: no limit."""
    max: int | None = Field(default=None, ge=0)
    """At most so many. Default: no limit."""
    of_source: float | None = Field(default=None, gt=0.0, le=1.0)
    """At least this share of the records that were read and not filtered, 0 to 1. Default: no limit."""
    versus_history: History | None = None
    """How far it may be from earlier batches. Default: any distance."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """No limit at all, or limits that exclude each other."""
        low, high = data.get("min"), data.get("max")
        if isinstance(low, int) and isinstance(high, int) and low > high:
            yield ("max",), WrongValue("expected max at or above min", found=str(high))
        if all(data.get(key) is None for key in cls.attributes()):
            yield (), WrongValue(f"expected some of: {', '.join(cls.attributes())}", found="no limit")


class FreshRows(Spec):
    """The batch's newest row is not old."""

    column: Text
    """A timestamp or date column."""
    max_age: PositiveDuration
    """Seconds that its largest value may lie before the batch's own time. A batch without rows is fresh."""


class RefersTo(Spec):
    """Every value of a column is there in another table's column; null refers to nothing."""

    column: Text
    """The batch's column."""
    to: ColumnRef
    """What it refers to, as `table.column`."""


class ValueRange(Spec):
    """Every value of a column lies between two bounds; null lies nowhere and is no violation."""

    column: Text
    """A number, date, timestamp or text column."""
    min: int | float | str | None = None
    """The smallest value allowed. Default: no limit. Dates and timestamps in ISO 8601."""
    max: int | float | str | None = None
    """The largest value allowed. Default: no limit."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """No bound."""
        if data.get("min") is None and data.get("max") is None:
            yield (), WrongValue("expected min, max or both", found="neither")


class NullRate(Spec):
    """How large the share of nulls in a column may be."""

    column: Text
    """The column."""
    max: float = Field(ge=0.0, le=1.0)
    """The largest share, 0 to 1."""


class Distribution(Spec):
    """A numeric column is spread as in earlier batches."""

    column: Text
    """A column of numbers."""
    metric: Literal["mean", "stddev", "psi", "quantiles"] = "psi"
    """What is compared. `mean`, `stddev`: relative to that of earlier batches. `quantiles`: the largest distance of a
    decile, relative to the range between the outer ones. `psi` (default): the population stability index over the
    deciles of earlier batches, of which above 0.2 is commonly called a shift."""
    window: int = Field(default=10, ge=1, le=100)
    """How many earlier batches are looked at. Default: 10. Before there are two of them the rule holds."""
    tolerance: float = Field(default=0.2, gt=0.0, le=1000.0)
    """The largest difference allowed. Default: 0.2."""


class SetExpect(Choice):
    """A condition over all rows of a batch, looked at before the batch is visible."""

    choices: ClassVar[tuple[str, ...]] = (
        *("unique", "row_count", "freshness", "references", "range", "null_rate", "distribution", "sql", "python"),
    )
    noun: ClassVar[str] = "a set expectation"

    unique: list[Text] | None = Field(default=None, min_length=1)
    """Columns in all of which no two rows agree. A row with a null among them agrees with none. All rows of a key but
    the first offend."""
    against: Literal["batch", "table"] = "batch"
    """For `unique`: among which rows. `batch` (default): the batch's own. `table`: the table's as well."""
    row_count: RowCount | None = None
    """How many rows the batch writes."""
    freshness: FreshRows | None = None
    """The batch's newest row is not old."""
    references: RefersTo | None = None
    """Every value of a column is there in another table's column."""
    range: ValueRange | None = None
    """Every value of a column lies between two bounds."""
    null_rate: NullRate | None = None
    """How large the share of nulls in a column may be."""
    distribution: Distribution | None = None
    """A numeric column is spread as in earlier batches."""
    sql: Sql | None = None
    """A query over the table `batch` that gives one true or false; null counts as false. Aggregates, windows and
    subqueries are allowed."""
    python: Hook | None = None
    """`module:function` that is given the batch as a `pyarrow.dataset.Dataset` and returns true, false, or a text that
    says what is wrong."""
    on_violation: Literal["warn", "fail", "quarantine"]
    """`warn`: it is counted and reported. `fail`: the import stops, nothing is committed. `quarantine`: the offending
    rows go into the quarantine table; for `unique` and `references` alone, which can name them."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """None or several kinds; what only another kind has a use for."""
        yield from super().complaints(data)
        yield from repeated(data.get("unique"), "unique")
        if data.get("against") is not None and data.get("unique") is None:
            yield ("against",), WrongValue("only `unique` has this", found=quoted(str(data.get("against"))))
        if data.get("on_violation") == "quarantine" and not any(data.get(kind) is not None for kind in QUARANTINES):
            hint = "allowed here: warn, fail; only unique and references can tell which rows offend"
            yield ("on_violation",), WrongValue(hint, found='"quarantine"')
