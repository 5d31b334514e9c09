"""An overwrite of a part of a table: the rows of a condition, or the partitions that the new rows are in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import pyarrow as pa

from lakeray.delta.files import DataFile
from lakeray.delta.sieve import Picker
from lakeray.delta.table import TableHandle
from lakeray.errors import ImportFailed
from lakeray.importer.result import Result
from lakeray.spec.steps import Import
from lakeray.transform.condition import Condition
from lakeray.transform.program import Expectation

REPLACE_WHERE = "replace_where"


def constraint_of(plan: Import) -> tuple[Expectation, ...]:
    """New rows must meet the condition of the rows that they replace; those that do not are quarantined."""
    if plan.replace_where is None:
        return ()
    return (Expectation(name=REPLACE_WHERE, sql=plan.replace_where, on_violation="quarantine"),)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsWhere:
    """Picks the rows that meet a condition. ``now`` is the batch's timestamp."""

    sql: str
    now: datetime
    columns: tuple[str, ...]

    def pick(self, table: pa.Table) -> pa.BooleanArray:
        """True for each row that meets it; false where it is null."""
        return _condition(self.sql, self.now).holds(table)

    def counts(self, table: pa.Table) -> Mapping[Any, int]:
        """All rows in one."""
        return {REPLACE_WHERE: table.num_rows}


@lru_cache(maxsize=4)
def _condition(sql: str, now: datetime) -> Condition:
    return Condition(REPLACE_WHERE, sql, now=now)


@dataclass(frozen=True, kw_only=True, slots=True)
class WhereOut:
    """Selects the rows that meet a condition."""

    picker: RowsWhere
    partition_schema: pa.Schema
    operation: str = "WRITE"
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, sql: str, schema: pa.Schema, *, partition_by: Sequence[str], now: datetime) -> WhereOut:
        """Raises TransformError for a condition that cannot be planned over the table's columns."""
        condition = _condition(sql, now)
        condition.holds(schema.empty_table())
        picker = RowsWhere(sql=sql, now=now, columns=tuple(sorted(condition.columns)))
        partition = pa.schema([schema.field(name) for name in partition_by])
        return cls(picker=picker, partition_schema=partition)

    def may_hold(self, file: DataFile) -> bool:
        """Judged by the partition alone where the condition reads nothing else."""
        names = self.partition_schema.names
        if not self.picker.columns or not set(self.picker.columns) <= set(names):
            return True
        values = {name: pa.array([file.partition[name]], self.partition_schema.field(name).type) for name in names}
        return bool(self.picker.pick(pa.table(values))[0].as_py())

    def told(self, result: Result, counts: dict[Any, int]) -> Result:
        """As it is: these rows are of no object in particular."""
        del counts
        return result


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionsOut:
    """Selects all rows of the partitions that the new files are in."""

    partitions: frozenset[tuple[tuple[str, str | None], ...]]
    operation: str = "WRITE"
    columns: tuple[str, ...] = ()
    picker: Picker | None = None

    @classmethod
    def of(cls, result: Result, handle: TableHandle) -> PartitionsOut:
        """Raises ImportFailed when the table has no partitions."""
        if not handle.partition_by:
            raise ImportFailed(
                f"the table at {handle.uri} has no partitions, so `partitions: dynamic` says nothing",
                uri=handle.uri,
                hint="take `replace_where`, or leave it out to overwrite the whole table",
            )
        return cls(partitions=frozenset(_key(file.partition_values) for file in result.files))

    def may_hold(self, file: DataFile) -> bool:
        """Exactly the files of these partitions."""
        return _key(file.partition_values) in self.partitions

    def told(self, result: Result, counts: dict[Any, int]) -> Result:
        """As it is: these rows are of no object in particular."""
        del counts
        return result


def _key(values: Mapping[str, str | None]) -> tuple[tuple[str, str | None], ...]:
    return tuple(sorted(values.items()))
