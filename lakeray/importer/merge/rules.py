"""What a step says about changes: which rows are the same, which change is later, what deletes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa

from lakeray.errors import ImportFailed
from lakeray.importer.manifest import Manifest
from lakeray.spec.merge import KEYLESS, History, Operation
from lakeray.spec.steps import Import
from lakeray.spec.wrong import nearest
from lakeray.transform.program import Expectation, ProgramSpec

OBJECT, ROW, DELETE, WHOLE = "_change_object", "_change_row", "_change_delete", "_change_whole"
MARKS = pa.schema(
    [
        pa.field(DELETE, pa.bool_(), nullable=False),
        pa.field(WHOLE, pa.bool_(), nullable=False),
        pa.field(OBJECT, pa.int32(), nullable=False),
        pa.field(ROW, pa.int64(), nullable=False),
    ]
)
"""What a staged change has beside the table's columns: whether it deletes, whether its nulls are values (or, in a
partial update, say that the row keeps its own), its object's place in the manifest, its place among the rows of that
object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangeRules:
    """``delete`` and ``whole`` are SQL over a change as ``select`` leaves it: whether it deletes, whether it is no
    partial update; None for never, for always. ``left_out`` columns do not reach the table. ``history`` is set in mode
    scd2.
    """

    mode: Literal["merge", "scd2"]
    key: tuple[str, ...]
    sequence: str | None
    delete: str | None
    whole: str | None
    partial: bool
    left_out: frozenset[str]
    operation: Operation | None
    remember_deletes_s: float
    history: History | None

    @classmethod
    def of(cls, plan: Import) -> ChangeRules | None:
        """The rules of a step that imports changes; None for one that imports rows."""
        if plan.mode not in ("merge", "scd2"):
            return None
        operation = plan.operation
        delete = whole = None
        if operation is not None:
            delete = _is_one_of(operation.column, operation.delete)
            whole = _is_one_of(operation.column, operation.insert) if plan.partial else None
        if plan.delete_when is not None:
            delete = f"coalesce(({plan.delete_when}\n), false)"
        return cls(
            mode=plan.mode,
            key=tuple(plan.key),
            sequence=plan.sequence,
            delete=delete,
            whole=whole,
            partial=plan.partial,
            left_out=frozenset(plan.leave_out) | ({operation.column} if operation else set()),
            operation=operation,
            remember_deletes_s=plan.remember_deletes,
            history=(plan.history or History()) if plan.mode == "scd2" else None,
        )

    @property
    def order(self) -> list[str]:
        """The columns by which changes of one row follow each other."""
        return [*([self.sequence] if self.sequence else []), OBJECT, ROW]

    @property
    def plain(self) -> bool:
        """Whether a change takes the place of its row without a look at it."""
        return not self.partial and self.history is None

    def spared(self, spec: ProgramSpec) -> ProgramSpec:
        """``spec`` with conditions that a delete need not meet, and with those that every change must."""
        needed = [_not_null(name) for name in (*self.key, *([self.sequence] if self.sequence else []))]
        if self.operation is not None:
            known = [*self.operation.insert, *self.operation.update, *self.operation.delete]
            sql = _is_one_of(self.operation.column, known) or "false"
            needed.append(
                Expectation(name=f"{self.operation.column} is a known operation", sql=sql, on_violation="quarantine")
            )
        return replace(
            spec,
            expectations=tuple(self._spare(item) for item in spec.expectations),
            constraints=(*needed, *(self._spare(item) for item in spec.constraints)),
        )

    def _spare(self, item: Expectation) -> Expectation:
        return item if self.delete is None else replace(item, sql=f"({self.delete}) OR ({item.sql}\n)")

    def table_schema(self, output: pa.Schema) -> pa.Schema:
        """The columns of a table for changes of ``output``'s columns. Raises ImportFailed without key or sequence."""
        kept = pa.schema([item for item in output if item.name not in self.left_out])
        self.check(kept)
        return pa.schema([*kept, *self.extra_columns(kept)])

    def extra_columns(self, schema: pa.Schema) -> list[pa.Field]:
        """The columns of the history that ``schema`` lacks."""
        if self.history is None or self.sequence is None:
            return []
        kind = schema.field(self.sequence).type
        wanted = [(self.history.valid_from, kind), (self.history.valid_to, kind), (self.history.is_current, pa.bool_())]
        return [pa.field(name, kind) for name, kind in wanted if schema.get_field_index(name) < 0]

    def check(self, schema: pa.Schema, *, uri: str | None = None) -> None:
        """Raise ImportFailed unless the columns that the rules name are there, in types that can be compared."""
        for role, names in (("key", self.key), ("sequence", (self.sequence,) if self.sequence else ())):
            for name in names:
                if schema.get_field_index(name) < 0:
                    near = nearest(name, schema.names)
                    hint = f"did you mean {near!r}?" if near else f"columns: {', '.join(schema.names)}"
                    raise ImportFailed(f"the {role} column {name!r} is not there", uri=uri, hint=hint)
                kind = schema.field(name).type
                if pa.types.is_nested(kind) or (role == "key" and pa.types.is_floating(kind)):
                    raise ImportFailed(
                        f"the {role} column {name!r} is of type {kind}, whose values cannot be compared exactly",
                        uri=uri,
                        hint="make it a number, text, date or time: by a schema hint, or by CAST in `select`",
                    )


def rules_of(manifest: Manifest, plan: Import) -> ChangeRules | None:
    """How the batch's rows are changes; None when they are plain rows. Raises ImportFailed when the batch was planned
    in a mode of which the step no longer says what it needs.
    """
    if manifest.mode in KEYLESS:
        return None
    rules = ChangeRules.of(plan)
    if rules is None or rules.mode != manifest.mode:
        raise ImportFailed(
            f"batch {manifest.batch} was planned in mode {manifest.mode}, and the step now says mode {plan.mode}",
            hint=f"set the step's mode back to {manifest.mode} until the batch is finished, or close it with "
            "`lakeray ledger abandon`",
        )
    return rules


def identifier(name: str) -> str:
    """``name`` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _is_one_of(column: str, values: Sequence[str]) -> str | None:
    """SQL that is true where the column's text is one of the values, and false elsewhere; None for no values."""
    if not values:
        return None
    listed = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"coalesce(CAST({identifier(column)} AS VARCHAR) IN ({listed}), false)"


def _not_null(name: str) -> Expectation:
    return Expectation(name=f"{name} is not null", sql=f"{identifier(name)} IS NOT NULL", on_violation="quarantine")
