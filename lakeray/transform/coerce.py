"""Chunks as a reader gives them, made to fit a table's columns without losing a value."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.errors import TransformError
from lakeray.transform.coercions import Converted, convert
from lakeray.transform.contract import Contract, Evolution, Part, Widening
from lakeray.transform.delta_types import delta_type, holds_decimal
from lakeray.transform.growth import grown, wider
from lakeray.transform.record import json_text, json_values

RESCUED = "_rescued_data"


class SchemaDrift(TransformError):
    """Where the contract says ``freeze``, an object holds a column, or a value, that the table does not take.

    ``column`` names it; ``row_index`` is the 0-based row of the chunk that held it first; ``what`` says what is wrong
    with it.
    """

    code = "schema_drift"
    column: str
    row_index: int
    what: str

    @classmethod
    def at(
        cls, column: str, row_index: int, what: str, *, uri: str | None = None, row: int | None = None
    ) -> SchemaDrift:
        """The error for ``column``; the message never quotes a value. ``row`` is the record's number in the object."""
        place = f"row {row_index + 1} of its chunk" if row is None else f"record {row} of {uri}"
        error = cls(
            f"column {column!r}: {what} (first in {place})",
            hint="set evolution to add_columns, rescue or ignore (or another contract), or correct schema_hints",
            uri=uri,
        )
        error.column, error.row_index, error.what = column, row_index, what
        return error


@dataclass(frozen=True, kw_only=True, slots=True)
class Coerced:
    """A chunk in the table's types.

    ``table`` has the target's columns in the target's order, then those of ``new_fields``; its rows are the input's,
    in order. ``grown`` holds the new types of columns of the target that got nested fields or a wider type.
    ``rescued`` holds JSON object texts ``{column: value}`` of what did not fit, null where all did, or is
    None when there is nothing; ``rescued_rows`` counts them. ``refused`` lists ``(row index, column, reason)``: these
    rows are still in ``table`` and must be taken out by the caller. ``ignored_columns``
    names unknown columns whose values were left out, nested ones dotted. ``lost`` counts, by column, values that did
    not fit and were given up. ``conflicts`` holds the type in which a column came some of whose values did not fit,
    ``left_out`` that of a column which the target lacks and did not get.
    ``cut`` counts, by column, times that lost what is below a microsecond.
    """

    table: pa.Table
    rescued: pa.StringArray | None = None
    new_fields: list[pa.Field] = field(default_factory=list)
    grown: dict[str, pa.DataType] = field(default_factory=dict)
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    rescued_rows: int = 0
    ignored_columns: set[str] = field(default_factory=set)
    lost: dict[str, int] = field(default_factory=dict)
    conflicts: dict[str, pa.DataType] = field(default_factory=dict)
    left_out: dict[str, pa.DataType] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)


class Coercer:
    """Makes chunks fit ``target`` by the table in ``lakeray.transform.coercions``.

    What happens to a column that the target lacks, or a value that does not fit its column, says the contract (or
    the evolution that stands for one), see ``lakeray.transform.contract``. A column that differs from a known one only
    by case is never added, because Delta names ignore case: its values are rescued. No error or reason quotes a value,
    of ``masked`` columns or of others; rescued data does, and is masked with the row. With ``whole_lists``, a list is
    null where one of its values does not fit.
    """

    def __init__(
        self,
        target: pa.Schema,
        *,
        evolution: Evolution | Contract,
        masked: frozenset[str] = frozenset(),
        widening: Widening | None = None,
        whole_lists: bool = False,
    ) -> None:
        self.target = target
        self.contract = evolution if isinstance(evolution, Contract) else Contract.of(evolution)
        self.masked = masked
        self.widening = widening or Widening()
        self.whole_lists = whole_lists
        self._folded = {name.casefold() for name in target.names}

    def run(self, table: pa.Table, extras: pa.StringArray | None = None) -> Coerced:
        """``table`` in the target's types.

        ``extras`` holds, row by row, a JSON object text of values that the reader could not put into a column (or
        null). Raises SchemaDrift under ``freeze``.
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
        self._contract = coercer.contract
        self._table = table
        self._extras = _parsed_extras(extras, coercer.target)
        self._fields: list[pa.Field] = []
        self._columns: list[pa.Array | pa.ChunkedArray] = []
        self._new: list[pa.Field] = []
        self._grown: dict[str, pa.DataType] = {}
        self._rescued: dict[int, dict[str, Any]] = {}
        self._refused: list[tuple[int, str, str]] = []
        self._ignored: set[str] = set()
        self._lost: dict[str, int] = {}
        self._conflicts: dict[str, pa.DataType] = {}
        self._strange: dict[str, pa.DataType] = {}
        self._cut: dict[str, int] = {}

    def coerced(self) -> Coerced:
        known = set(self._table.column_names)
        for target in self._coercer.target:
            found = self._table[target.name] if target.name in known else None
            values = self._known(target, found)
            self._columns.append(values)
            self._fields.append(target if values.type == target.type else target.with_type(values.type))
        for name in self._table.column_names:
            if self._coercer.target.get_field_index(name) < 0:
                self._unknown(name, self._table[name])
        self._leftover_extras()
        fields = [*self._fields, *self._new]
        table = pa.table(self._columns, schema=pa.schema(fields)) if fields else _no_columns(len(self._table))
        return Coerced(
            table=table,
            rescued=self._rescued_texts(),
            new_fields=self._new,
            grown=self._grown,
            refused=sorted(self._refused),
            rescued_rows=len(self._rescued),
            ignored_columns=self._ignored,
            lost=self._lost,
            conflicts=self._conflicts,
            left_out=self._strange,
            cut=self._cut,
        )

    def _known(self, target: pa.Field, found: pa.ChunkedArray | None) -> pa.Array | pa.ChunkedArray:
        extra = self._extras.pop(target.name, {})
        if found is None and not extra:
            return pa.nulls(len(self._table), target.type)
        if found is not None and found.type == target.type and not extra:
            return found
        source = pa.nulls(len(self._table)) if found is None else _whole(found)
        return self._with_extra(target.name, self._fitted(target, source), extra)

    def _fitted(self, target: pa.Field, source: pa.Array) -> pa.Array:
        """``source`` in the target's type, or in the one that it grows to."""
        kind, widening, whole = target.type, self._coercer.widening, self._coercer.whole_lists
        done = convert(source, kind, keep_unknown=False, whole_lists=whole)
        free = self._contract.types == "evolve" and widening.allows(target.name)
        if done.unknown and self._contract.columns == "evolve":
            kind = grown(kind, source.type, maps=free)
        if done.misfits is not None and free:
            kind = wider(kind, source.filter(done.misfits), floats=target.name not in widening.inexact)
            if kind == target.type and target.name in widening.texts and not pt.is_nested(kind):
                kind = pa.string()
        if kind != target.type:
            self._grown[target.name] = kind
            done = convert(source, kind, keep_unknown=False, whole_lists=whole)
        self._account(target.name, source, done, kind)
        return done.values

    def _account(self, name: str, source: pa.Array, done: Converted, kind: pa.DataType) -> None:
        if done.cut:
            self._cut[name] = self._cut.get(name, 0) + done.cut
        if done.unknown:
            self._strange_fields(name, source, done, kind)
        if done.misfits is None:
            return
        self._conflicts.setdefault(name, source.type)
        rows = pc.indices_nonzero(done.misfits)
        what = f"does not fit {kind}"
        self._misfit(name, rows.to_pylist(), lambda: json_values(source.take(rows)), what)

    def _strange_fields(self, name: str, source: pa.Array, done: Converted, kind: pa.DataType) -> None:
        """Nested fields that hold values and that the column did not get."""
        contract = self._contract
        if contract.columns == "discard_value" and contract.lost == "drop":
            self._ignored |= {f"{name}.{nested}" for nested in done.unknown}
            return
        self._strange.update({f"{name}.{nested}": source.type for nested in done.unknown})
        strict = convert(source, kind).misfits
        strange = strict if done.misfits is None or strict is None else pc.and_not(strict, done.misfits)
        rows = pc.indices_nonzero(strange)
        if not len(rows):
            return
        fields = ", ".join(f"{name}.{nested}" for nested in sorted(done.unknown))
        what = f"has fields that the table has not ({fields})"
        self._misfit(name, rows.to_pylist(), lambda: json_values(source.take(rows)), what, part=contract.columns)

    def _misfit(
        self, name: str, rows: list[int], values: Callable[[], list[Any]], what: str, *, part: Part | None = None
    ) -> None:
        rule = part or self._contract.types
        if rule == "freeze":
            raise SchemaDrift.at(name, rows[0], f"a value {what}")
        if rule == "discard_row":
            self._refused.extend((row, name, f"the value of {name} {what}") for row in rows)
            return
        if rule == "discard_value" and self._contract.lost == "drop":
            self._lost[name] = self._lost.get(name, 0) + len(rows)
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
                self._conflicts.setdefault(name, _type_of(value))
                self._misfit(name, [row], partial(list, [value]), f"does not fit {values.type}")
        if not fitting:
            return values
        places = np.arange(len(values))
        places[list(fitting)] = np.arange(len(values), len(values) + len(fitting))
        # Not replace_with_mask, which knows no nested types.
        return pa.concat_arrays([values, *fitting.values()]).take(pa.array(places))

    def _unknown(self, name: str, column: pa.ChunkedArray) -> None:
        if column.null_count == len(column):
            return
        rule = self._contract.columns
        kind = delta_type(column.type)
        source = _whole(column)
        if rule == "evolve" and kind is not None and self._is_new(name):
            done = convert(source, kind, whole_lists=self._coercer.whole_lists)
            self._account(name, source, done, kind)
            self._new.append(pa.field(name, kind))
            self._columns.append(self._with_extra(name, done.values, self._extras.pop(name, {})))
            return
        rows = pc.indices_nonzero(source.is_valid())
        self._strange[name] = column.type
        self._left_out(name, rows.to_pylist(), lambda: json_values(source.take(rows)))

    def _left_out(self, name: str, rows: list[int], values: Callable[[], list[Any]]) -> None:
        """Values of a column that the table has not and does not get."""
        contract = self._contract
        if contract.columns == "freeze":
            raise SchemaDrift.at(name, rows[0], "the table has no such column")
        if contract.columns == "discard_value" and contract.lost == "drop":
            self._ignored.add(name)
        else:
            self._misfit(name, rows, values, "has no column", part=contract.columns)

    def _is_new(self, name: str) -> bool:
        return not self._coercer.knows(name) and name.casefold() not in {field.name.casefold() for field in self._new}

    def _leftover_extras(self) -> None:
        for name, values in self._extras.items():
            rows = [row for row, value in values.items() if value is not None]
            if rows:
                self._strange.setdefault(name, _type_of(values[rows[0]]))
                self._left_out(name, rows, partial(list, [values[row] for row in rows]))

    def _rescued_texts(self) -> pa.StringArray | None:
        if not self._rescued:
            return None
        rows = sorted(self._rescued)
        texts = pa.array([json_text(self._rescued[row]) for row in rows], pa.string())
        mask = _mask_of(rows, len(self._table))
        return pc.replace_with_mask(pa.nulls(len(self._table), pa.string()), mask, texts)


def _mask_of(rows: list[int], length: int) -> pa.BooleanArray:
    mask = np.zeros(length, dtype=bool)
    mask[rows] = True
    return pa.array(mask)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _no_columns(length: int) -> pa.Table:
    return pa.table({"_": pa.nulls(length)}).select([])


def _parsed_extras(extras: pa.StringArray | None, target: pa.Schema) -> dict[str, dict[int, Any]]:
    """Extras by column, then by row index; for columns with decimals with every digit that was written."""
    found: dict[str, dict[int, Any]] = {}
    if extras is None or extras.null_count == len(extras):
        return found
    exact = {field.name for field in target if holds_decimal(field.type)}
    for row in pc.indices_nonzero(extras.is_valid()).to_pylist():
        text = extras[row].as_py()
        values = json.loads(text)
        if not exact.isdisjoint(values):
            digits = json.loads(text, parse_float=_with_digits)
            values.update((name, value) for name, value in digits.items() if name in exact)
        for name, value in values.items():
            found.setdefault(name, {})[row] = value
    return found


def _with_digits(text: str) -> float | Decimal:
    """A number of JSON; a decimal where the nearest float's shortest text says another one."""
    near = float(text)
    return near if Decimal(repr(near)) == Decimal(text) else Decimal(text)


def _single(value: Any, kind: pa.DataType) -> pa.Array | None:
    """One value of JSON's own types as an array of length 1, None where it does not fit."""
    try:
        done = convert(pa.array([value]), kind)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return None
    return None if done.misfits is not None or not done.values[0].is_valid else done.values


def _type_of(value: Any) -> pa.DataType:
    """The type of a value that a reader set aside."""
    try:
        return pa.array([value]).type
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return pa.string()
