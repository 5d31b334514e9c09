"""Checks of a validate step: what must be equal, unique, fresh or present before data counts as aligned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from pydantic import Field

from lakeray.spec.strict import Choice, Complaint, Spec, repeated
from lakeray.spec.texts import ColumnRef, Name, Sql, Text, TypeText
from lakeray.spec.units import PositiveDuration


class Balance(Spec):
    """Every row that an import step read is accounted for."""

    step: Name
    """The import step."""


class Unique(Spec):
    """No two rows agree in all of the columns."""

    table: Name
    """The table."""
    columns: list[Text] = Field(min_length=1)
    """The columns that together identify a row."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A column named twice."""
        yield from repeated(data.get("columns"), "columns")


class References(Spec):
    """Every value of a column is there in another table's column; null refers to nothing."""

    table: Name
    """The table that refers."""
    column: Text
    """Its column."""
    to: ColumnRef
    """What it refers to, as `table.column`."""


class Compare(Spec):
    """Two places hold the same."""

    from_: Name = Field(alias="from")
    """One table or target."""
    to: Name
    """The other table or target."""
    columns: list[Text] | None = Field(default=None, min_length=1)
    """The columns to compare. Default: all."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """A column named twice."""
        yield from repeated(data.get("columns"), "columns")


class Counts(Spec):
    """Two places hold as many rows."""

    from_: Name = Field(alias="from")
    """One table or target."""
    to: Name
    """The other table or target."""
    tolerance: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of rows by which they may differ, 0 to 1. Default: 0."""


class SchemaCheck(Spec):
    """A table has certain columns of certain types."""

    table: Name
    """The table."""
    columns: dict[Text, TypeText] = Field(min_length=1)
    """The type by column."""
    exact: bool = False
    """Whether further columns are refused. Default: false."""


class Rule(Spec):
    """Rows of a table fulfil a condition."""

    table: Name
    """The table."""
    sql: Sql
    """The condition of one row."""
    at_least: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of rows that must fulfil it, 0 to 1. Default: 1. A table without rows fulfils every rule."""


class Freshness(Spec):
    """A table's newest row is not older than so long."""

    table: Name
    """The table."""
    column: Text | None = None
    """A timestamp column. Default: the time of the table's last commit."""
    within: PositiveDuration
    """Seconds that the newest may be old."""


class Check(Choice):
    """One comparison."""

    noun: ClassVar[str] = "a check"

    balance: Balance | None = None
    """Every row that an import step read is accounted for."""
    unique: Unique | None = None
    """No two rows agree in all of the columns."""
    references: References | None = None
    """Every value of a column is there in another table's column."""
    counts: Counts | None = None
    """Two places hold as many rows."""
    digests: Compare | None = None
    """Two places hold the same rows, by digests of them."""
    keys: Compare | None = None
    """Two places hold the same keys."""
    schema_: SchemaCheck | None = Field(default=None, alias="schema")
    """A table has certain columns of certain types."""
    rule: Rule | None = None
    """Rows of a table fulfil a condition."""
    freshness: Freshness | None = None
    """A table's newest row is not older than so long."""
