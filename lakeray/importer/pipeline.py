"""What happens to the rows of a chunk between reader and writer, in the order of the contract.

Path columns, coercion to the source's schema, the step's program (apply, select, where, expect, mask), and a last
coercion to the table's columns. Row by row everything is accounted for: ``Rows`` of every chunk balances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from lakeray.errors import AuditError
from lakeray.importer.masks import mask_spec
from lakeray.importer.merge.marks import Marker
from lakeray.importer.readers.port import Chunk
from lakeray.importer.schema import add_path_columns
from lakeray.importer.strangers import Strangers, new_columns, with_extras
from lakeray.importer.summary import ExpectationSummary, Rows
from lakeray.objects import ObjectInfo
from lakeray.spec.sources import Source
from lakeray.spec.steps import Step
from lakeray.transform.coerce import Coerced, Coercer
from lakeray.transform.program import OBJECT, OBJECT_TYPE, QUARANTINED, RESCUED, Expectation, Program, ProgramSpec
from lakeray.transform.record import records


@dataclass(frozen=True, kw_only=True, slots=True)
class Piped:
    """``table`` is ready to be written, ``numbers`` are the record numbers of its rows (null after a hook that made or
    took rows), ``quarantined`` (schema ``QUARANTINED``) is to be explained; ``rows`` balances with the reader's
    refusals.
    """

    table: pa.Table
    numbers: pa.Int64Array
    quarantined: pa.Table
    rows: Rows


def program_spec(step: Step, constraints: Sequence[Expectation] = ()) -> ProgramSpec:
    """The step's expressions as the transform room takes them."""
    return ProgramSpec(
        select=dict(step.select),
        where=step.where,
        expectations=tuple(
            Expectation(name=name, sql=item.sql, on_violation=item.on_violation) for name, item in step.expect.items()
        ),
        constraints=tuple(constraints),
        masks={name: mask_spec(name, item) for name, item in step.mask.items()},
        apply=step.apply,
    )


class Pipeline:
    """The rows' way of one task. ``source_schema`` and ``table_schema`` grow when new columns appear;
    ``expectations`` counts.
    """

    def __init__(
        self,
        step: Step,
        *,
        source: Source,
        source_schema: pa.Schema,
        table_schema: pa.Schema,
        constraints: Sequence[Expectation],
        now: datetime,
        seed: int,
        keys: Mapping[str, bytes],
        marker: Marker | None = None,
    ) -> None:
        self._step = step
        self._source = source
        self._marker = marker
        spec = program_spec(step, constraints)
        self._program = Program(marker.rules.spared(spec) if marker else spec, now=now, seed=seed, keys=keys)
        self._masks = self._program.record_masks
        self._strangers = Strangers(source.evolution, wanted=step.select)
        self.source_schema = source_schema
        self.table_schema = table_schema
        self.expectations = {
            name: ExpectationSummary(on_violation=item.on_violation) for name, item in step.expect.items()
        }
        self._coercer = self._new_coercer()
        self._fitter = self._new_fitter()

    def mark(self) -> Any:
        """The state to come back to when an object turns out to be bad."""
        return self.source_schema, self.table_schema, dict(self.expectations)

    def rewind(self, mark: Any) -> None:
        """Go back to ``mark``."""
        self.source_schema, self.table_schema, self.expectations = mark
        self._coercer = self._new_coercer()
        self._fitter = self._new_fitter()

    def run(self, chunk: Chunk, info: ObjectInfo, path_columns: Mapping[str, str | None]) -> Piped:
        """Take a chunk of the object ``info`` through."""
        read = add_path_columns(chunk.table, path_columns)
        coerced = self._coercer.run(read, chunk.extras)
        if coerced.new_fields:
            self.source_schema = pa.schema([*self.source_schema, *coerced.new_fields])
            self._coercer = self._new_coercer()
        refused = [self._misfits(read, chunk.rows, coerced.refused, extras=chunk.extras)] if coerced.refused else []
        table, rows = self._input(coerced, chunk.rows, info)
        result = self._program.run(table, rows)
        self._count(result.checked, result.violations)
        if result.quarantined.num_rows:
            refused.append(result.quarantined)
        out, numbers, unfit = self._fit(result.table, result.rows, info)
        refused.extend(unfit)
        quarantined = pa.concat_tables(refused) if refused else QUARANTINED.empty_table()
        balance = Rows(
            read=chunk.table.num_rows + len(chunk.refused),
            generated=result.generated,
            written=out.num_rows,
            quarantined=quarantined.num_rows + len(chunk.refused),
            dropped=sum(result.dropped.values()),
            filtered=result.filtered,
            rescued=self._rescued(out),
        )
        if not balance.balanced:
            raise AuditError(f"rows of {info.uri} do not balance: {balance!r}", uri=info.uri)
        return Piped(table=out, numbers=numbers, quarantined=quarantined, rows=balance)

    def _input(self, coerced: Coerced, rows: pa.Int64Array, info: ObjectInfo) -> tuple[pa.Table, pa.Int64Array]:
        """What the program sees: the coerced columns, rescued data, the object where an expression names it."""
        table = coerced.table
        rescued = coerced.rescued if coerced.rescued is not None else pa.nulls(table.num_rows, pa.string())
        if table.schema.get_field_index(RESCUED) < 0:
            table = table.append_column(pa.field(RESCUED, pa.string()), rescued)
        if self._program.needs_object:
            table = table.append_column(OBJECT, _object_column(info, rows))
        if coerced.refused:
            keep = _all_but(table.num_rows, {index for index, _, _ in coerced.refused})
            return table.filter(keep), rows.filter(keep)
        return table, rows

    def _misfits(
        self,
        read: pa.Table,
        rows: pa.Int64Array,
        refused: list[tuple[int, str, str]],
        *,
        prefix: str = "type",
        extras: pa.StringArray | None = None,
    ) -> pa.Table:
        """One quarantine row for each row that does not fit; the first reason counts."""
        first: dict[int, tuple[str, str]] = {}
        for index, column, reason in refused:
            first.setdefault(index, (column, reason))
        chosen = pa.array(sorted(first), pa.int64())
        reasons = [first[index] for index in chosen.to_pylist()]
        return pa.table(
            {
                "row": rows.take(chosen),
                "rule": pa.array([f"{prefix}:{column}" for column, _ in reasons], pa.string()),
                "reason": pa.array([reason for _, reason in reasons], pa.string()),
                "record": with_extras(records(read.take(chosen), masks=self._masks), extras, chosen, masks=self._masks),
            },
            schema=QUARANTINED,
        )

    def _fit(
        self, table: pa.Table, rows: pa.Int64Array, info: ObjectInfo
    ) -> tuple[pa.Table, pa.Int64Array, list[pa.Table]]:
        """The program's output in the table's columns; columns that the table lacks are new ones, or set aside."""
        refused: list[pa.Table] = []
        marked = self._marker.flag(table, rows) if self._marker else None
        if marked is not None:
            table, rows = marked.table, marked.rows
            refused += [marked.quarantined] if marked.quarantined.num_rows else []
        table = self._strangers.set_aside(table, self.table_schema)
        new = new_columns(table, self.table_schema)
        if new:
            self.table_schema = pa.schema([*self.table_schema, *new])
            self._fitter = self._new_fitter()
        fitted = self._fitter.run(table)
        out, keep = fitted.table, None
        if fitted.refused:
            keep = _all_but(table.num_rows, {index for index, _, _ in fitted.refused})
            refused.append(self._misfits(table, rows, fitted.refused, prefix="table"))
            out, rows = out.filter(keep), rows.filter(keep)
        if self._marker and marked is not None:
            out = self._marker.attach(out, marked.flags if keep is None else marked.flags.filter(keep), info.uri)
        return out, rows, refused

    def _count(self, checked: int, violations: Mapping[str, int]) -> None:
        seen = {
            name: ExpectationSummary(on_violation=item.on_violation, checked=checked, violated=violations.get(name, 0))
            for name, item in self.expectations.items()
        }
        self.expectations = ExpectationSummary.summed((self.expectations, seen))

    def _new_coercer(self) -> Coercer:
        return Coercer(self.source_schema, evolution=self._source.evolution, masked=frozenset(self._step.mask))

    def _new_fitter(self) -> Coercer:
        return Coercer(self.table_schema, evolution="ignore", masked=frozenset(self._step.mask))

    @staticmethod
    def _rescued(table: pa.Table) -> int:
        index = table.schema.get_field_index(RESCUED)
        return 0 if index < 0 else table.num_rows - table.column(index).null_count


def _object_column(info: ObjectInfo, rows: pa.Int64Array) -> pa.StructArray:
    values = {"uri": info.uri, "size": info.size, "etag": info.etag, "modified_at": info.modified_at}
    arrays = [
        rows if item.name == "row" else pa.repeat(pa.scalar(values[item.name], item.type), len(rows))
        for item in OBJECT_TYPE
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(OBJECT_TYPE))


def _all_but(count: int, left_out: set[int]) -> pa.BooleanArray:
    mask = np.ones(count, dtype=bool)
    mask[sorted(left_out)] = False
    return pa.array(mask)


def program_of(step: Step, *, now: datetime, keys: Mapping[str, bytes]) -> Program:
    """The step's program by itself, to be asked about columns. Raises TransformError for a wrong expression."""
    return Program(program_spec(step), now=now, seed=0, keys=keys)


def output_schema(step: Step, source_schema: pa.Schema, *, now: datetime, keys: Mapping[str, bytes]) -> pa.Schema:
    """The columns that the step makes of a source's. Raises TransformError for an expression that cannot be planned."""
    with_rescued = pa.schema([*source_schema, pa.field(RESCUED, pa.string())])
    program = program_of(step, now=now, keys=keys)
    if program.needs_object:
        with_rescued = with_rescued.append(pa.field(OBJECT, OBJECT_TYPE))
    made = program.output_schema(with_rescued)
    return pa.schema([item for item in made if item.name != RESCUED or RESCUED in step.select])
