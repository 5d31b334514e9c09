"""Chunks as a reader gives them, made to fit a table's columns without losing a value."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import TransformError
from lakeray.transform.coercions import Converted, convert
from lakeray.transform.delta_types import delta_type
from lakeray.transform.record import json_text, json_values

Evolution = Literal["add_columns", "rescue", "fail", "ignore"]
RESCUED = "_rescued_data"


class SchemaDrift(TransformError):
    """Under ``evolution: fail`` an object holds a column, or a value, that the table does not take.

    ``column`` names it; ``row_index`` is the 0-based row of the chunk that held it first.
    """

    code = "schema_drift"
    column: str
    row_index: int

    @classmethod
    def at(cls, column: str, row_index: int, what: str) -> SchemaDrift:
        """The error for ``column``; the message never quotes a value."""
        error = cls(
            f"column {column!r}: {what} (first in row {row_index + 1} of its chunk)",
            hint="set evolution to add_columns, rescue or ignore, or correct schema_hints",
        )
        error.column, error.row_index = column, row_index
        return error


@dataclass(frozen=True, kw_only=True, slots=True)
class Coerced:
    """A chunk in the table's types.

    ``table`` has the target's columns in the target's order, then those of ``new_fields``; its rows are the input's,
    in order. ``rescued`` holds JSON object texts ``{column: value}`` of what did not fit, null where all did, or is
    None when there is nothing; ``rescued_rows`` counts them. ``refused`` (only under ``ignore``) lists ``(row index,
    column, reason)``: these rows are still in ``table`` and must be taken out by the caller. ``ignored_columns``
    names unknown columns whose values were left out, nested ones dotted. ``cut`` counts, by column, times that lost
    what is below a microsecond.
    """

    table: pa.Table
    rescued: pa.StringArray | None = None
    new_fields: list[pa.Field] = field(default_factory=list)
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    rescued_rows: int = 0
    ignored_columns: set[str] = field(default_factory=set)
    cut: dict[str, int] = field(default_factory=dict)


class Coercer:
    """Makes chunks fit ``target`` by the table in ``lakeray.transform.coercions``.

    What happens to a column that the target lacks, or a value that does not fit its column:

    ===========  ====================================================  ============================================
    evolution    unknown column                                        value that does not fit
    ===========  ====================================================  ============================================
    add_columns  added in its Delta type; until it has one (it is      null; the original goes to rescued data
                 null, or holds only empty lists), it is left out
                 and what it holds is rescued
    rescue       its values go to rescued data                         null; the original goes to rescued data
    ignore       left out, its name is reported                        the row is refused
    fail         SchemaDrift, unless it is null throughout             SchemaDrift
    ===========  ====================================================  ============================================

    A column that differs from a known one only by case is never added, because Delta names ignore case: its values
    are rescued. No error or reason quotes a value, of ``masked`` columns or of others; rescued data does, and is masked
    with the row.
    """

    def __init__(self, target: pa.Schema, *, evolution: Evolution, masked: frozenset[str] = frozenset()) -> None:
        self.target = target
        self.evolution = evolution
        self.masked = masked
        self._folded = {name.casefold() for name in target.names}

    def run(self, table: pa.Table, extras: pa.StringArray | None = None) -> Coerced:
        """``table`` in the target's types.

        ``extras`` holds, row by row, a JSON object text of values that the reader could not put into a column (or
        null). Raises SchemaDrift under ``fail``.
        """
        if extras is None and table.schema.equals(self.target):
            return Coerced(table=table)
        return _Chunk(self, table, extras).coerced()

    def knows(self, name: str) -> bool:
        """Whether the target has a column of that name in any case."""
        return name.casefold() in self._folded


class _Chunk:
    """One chunk on its way through a coercer."""

    def __init__(self, coercer: Coercer, table: pa.Table, extras: pa.StringArray | None) -> None:
        self._coercer = coercer
        self._table = table
        self._extras = _parsed_extras(extras)
        self._columns: list[pa.Array | pa.ChunkedArray] = []
        self._new: list[pa.Field] = []
        self._rescued: dict[int, dict[str, Any]] = {}
        self._refused: list[tuple[int, str, str]] = []
        self._ignored: set[str] = set()
        self._cut: dict[str, int] = {}

    def coerced(self) -> Coerced:
        known = set(self._table.column_names)
        for target in self._coercer.target:
            found = self._table[target.name] if target.name in known else None
            self._columns.append(self._known(target, found))
        for name in self._table.column_names:
            if self._coercer.target.get_field_index(name) < 0:
                self._unknown(name, self._table[name])
        self._leftover_extras()
        fields = [*self._coercer.target, *self._new]
        table = pa.table(self._columns, schema=pa.schema(fields)) if fields else _no_columns(len(self._table))
        return Coerced(
            table=table,
            rescued=self._rescued_texts(),
            new_fields=self._new,
            refused=sorted(self._refused),
            rescued_rows=len(self._rescued),
            ignored_columns=self._ignored,
            cut=self._cut,
        )

    def _known(self, target: pa.Field, found: pa.ChunkedArray | None) -> pa.Array | pa.ChunkedArray:
        extra = self._extras.pop(target.name, {})
        if found is None and not extra:
            return pa.nulls(len(self._table), target.type)
        if found is not None and found.type == target.type and not extra:
            return found
        source = pa.nulls(len(self._table)) if found is None else _whole(found)
        done = convert(source, target.type, keep_unknown=self._coercer.evolution != "ignore")
        self._account(target.name, source, done, target.type)
        return self._with_extra(target.name, done.values, extra)

    def _account(self, name: str, source: pa.Array, done: Converted, kind: pa.DataType) -> None:
        if done.cut:
            self._cut[name] = self._cut.get(name, 0) + done.cut
        if self._coercer.evolution == "ignore":
            self._ignored |= {f"{name}.{nested}" for nested in done.unknown}
        if done.misfits is None:
            return
        rows = pc.indices_nonzero(done.misfits)
        what = f"does not fit {kind}"
        self._misfit(name, rows.to_pylist(), lambda: json_values(source.take(rows)), what)

    def _misfit(self, name: str, rows: list[int], values: Callable[[], list[Any]], what: str) -> None:
        evolution = self._coercer.evolution
        if evolution == "fail":
            raise SchemaDrift.at(name, rows[0], f"a value {what}")
        if evolution == "ignore":
            self._refused.extend((row, name, f"the value of {name} {what}") for row in rows)
            return
        for row, value in zip(rows, values(), strict=True):
            self._rescued.setdefault(row, {})[name] = value

    def _with_extra(self, name: str, values: pa.Array, extra: dict[int, Any]) -> pa.Array:
        """Values that the reader set aside, put in where they fit the column after all."""
        fitting: dict[int, Any] = {}
        for row, value in extra.items():
            if value is None:
                continue
            done = _single(value, values.type)
            if done is not None and not values[row].is_valid:
                fitting[row] = done
            else:
                self._misfit(name, [row], partial(list, [value]), f"does not fit {values.type}")
        if not fitting:
            return values
        mask = pa.array([row in fitting for row in range(len(values))])
        return pc.replace_with_mask(values, mask, pa.concat_arrays([fitting[row] for row in sorted(fitting)]))

    def _unknown(self, name: str, column: pa.ChunkedArray) -> None:
        if column.null_count == len(column):
            return
        evolution = self._coercer.evolution
        kind = delta_type(column.type)
        if evolution == "add_columns" and kind is not None and self._is_new(name):
            source = _whole(column)
            done = convert(source, kind)
            self._account(name, source, done, kind)
            self._new.append(pa.field(name, kind))
            self._columns.append(self._with_extra(name, done.values, self._extras.pop(name, {})))
            return
        source = _whole(column)
        rows = pc.indices_nonzero(source.is_valid())
        if evolution == "ignore":
            self._ignored.add(name)
        elif evolution == "fail":
            raise SchemaDrift.at(name, rows[0].as_py(), "the table has no such column")
        else:
            self._misfit(name, rows.to_pylist(), lambda: json_values(source.take(rows)), "")

    def _is_new(self, name: str) -> bool:
        return not self._coercer.knows(name) and name.casefold() not in {field.name.casefold() for field in self._new}

    def _leftover_extras(self) -> None:
        for name, values in self._extras.items():
            rows = [row for row, value in values.items() if value is not None]
            if not rows:
                continue
            if self._coercer.evolution == "ignore":
                self._ignored.add(name)
                continue
            found = [values[row] for row in rows]
            self._misfit(name, rows, partial(list, found), "has no column")

    def _rescued_texts(self) -> pa.StringArray | None:
        if not self._rescued:
            return None
        rows = sorted(self._rescued)
        texts = pa.array([json_text(self._rescued[row]) for row in rows], pa.string())
        mask = _mask_of(rows, len(self._table))
        return pc.replace_with_mask(pa.nulls(len(self._table), pa.string()), mask, texts)


def _mask_of(rows: list[int], length: int) -> pa.BooleanArray:
    return pc.is_in(pa.array(range(length), pa.int64()), pa.array(rows, pa.int64()))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _no_columns(length: int) -> pa.Table:
    return pa.table({"_": pa.nulls(length)}).select([])


def _parsed_extras(extras: pa.StringArray | None) -> dict[str, dict[int, Any]]:
    """Extras by column, then by row index."""
    found: dict[str, dict[int, Any]] = {}
    if extras is None or extras.null_count == len(extras):
        return found
    for row in pc.indices_nonzero(extras.is_valid()).to_pylist():
        for name, value in json.loads(extras[row].as_py()).items():
            found.setdefault(name, {})[row] = value
    return found


def _single(value: Any, kind: pa.DataType) -> pa.Array | None:
    """One value of JSON's own types as an array of length 1, None where it does not fit."""
    try:
        done = convert(pa.array([value]), kind)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return None
    return None if done.misfits is not None or not done.values[0].is_valid else done.values
