"""What happens to the rows of a chunk between reader and writer, in the order of the contract.

Path columns, coercion to the source's schema, the step's program (apply, select, where, expect, mask), and a last
coercion to the table's columns. Row by row everything is accounted for: ``Rows`` of every chunk balances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from lakeray.errors import AuditError, ExpectationFailed
from lakeray.importer.merge.marks import Marker
from lakeray.importer.preparation import CleansingCounts, Preparation, first_refusals, origins
from lakeray.importer.protection.masks import mask_spec
from lakeray.importer.readers.port import Chunk
from lakeray.importer.recording.summary import ExpectationSummary, Rows
from lakeray.importer.schema.drift import Seen
from lakeray.importer.schema.source import add_path_columns, contract_of, declared_of
from lakeray.importer.schema.strangers import Strangers, new_columns, with_extras, with_rescued
from lakeray.objects import ObjectInfo
from lakeray.spec.sources import Source
from lakeray.spec.steps import Step
from lakeray.transform.cleanse.outliers import Bounds
from lakeray.transform.coerce import Coerced, Coercer, SchemaDrift
from lakeray.transform.contract import Contract, Widening
from lakeray.transform.declared import Violation
from lakeray.transform.growth import extends
from lakeray.transform.names import normalised
from lakeray.transform.program import OBJECT, OBJECT_TYPE, QUARANTINED, RESCUED, Expectation, Program, ProgramSpec
from lakeray.transform.record import records
from lakeray.transform.unnest import without_key

SCHEMA_RULE = "schema:"
"""Begins the names under which violations of a declared schema are counted, path by path."""
MAX_PATHS = 100


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
        prepared=bool(step.mapping or step.cleanse),
        origins=origins(step),
        flattened={} if step.mapping is None else {name: item.prefix for name, item in step.mapping.flatten.items()},
    )


class Pipeline:
    """The rows' way of one task. ``source_schema`` and ``table_schema`` grow when new columns or nested fields appear;
    ``retyped`` says that a column took a wider type, so that rows before and behind it differ. ``expectations``
    counts, ``seen`` gathers what the source shows of its schema.
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
        source_widening: Widening,
        widening: Widening,
        marker: Marker | None = None,
        bounds: Mapping[tuple[str, str], Bounds] | None = None,
    ) -> None:
        self._step = step
        self._contract = contract_of(source)
        self._source = source
        self._snake_case = source.names == "snake_case"
        self._declared = declared_of(source)
        self._source_widening = source_widening
        self._widening = widening
        self._marker = marker
        self._preparation = Preparation(step, source, bounds)
        spec = program_spec(step, constraints)
        self._program = Program(marker.rules.spared(spec) if marker else spec, now=now, seed=seed, keys=keys)
        self._masks = self._program.record_masks
        self._strangers = Strangers(self._contract, wanted=step.select)
        self.source_schema = source_schema
        self.table_schema = table_schema
        self.retyped = False
        self.seen = Seen()
        self.expectations = {
            name: ExpectationSummary(on_violation=item.on_violation) for name, item in step.expect.items()
        }
        self._coercer = self._new_coercer()
        self._fitter = self._new_fitter()

    def mark(self) -> Any:
        """The state to come back to when an object turns out to be bad."""
        counts = self._preparation.counts
        return self.source_schema, self.table_schema, dict(self.expectations), self.seen.copy(), counts

    def rewind(self, mark: Any) -> None:
        """Go back to ``mark``."""
        self.source_schema, self.table_schema, self.expectations, self.seen, self._preparation.counts = mark
        self._coercer = self._new_coercer()
        self._fitter = self._new_fitter()

    def run(self, chunk: Chunk, info: ObjectInfo, path_columns: Mapping[str, str | None]) -> Piped:
        """Take a chunk of the object ``info`` through."""
        read = add_path_columns(chunk.table, path_columns)
        found = self._declared.check(read, chunk.extras) if self._declared else []
        if self._snake_case:
            named = normalised(read, chunk.extras)
            for path, old, new in named.renamed:
                self.seen.note("renamed", path, old, new, info.uri)
            read, chunk = named.table, replace(chunk, extras=named.extras)
        refused: list[pa.Table] = []
        dropped = 0
        if self._declared is not None:
            chunk, read, refused, dropped = self._sieve(chunk, info, read, found)
        try:
            return self._run(chunk, info, read, refused=refused, dropped=dropped)
        except SchemaDrift as drift:
            row = chunk.rows[drift.row_index].as_py() if drift.row_index < len(chunk.rows) else None
            raise SchemaDrift.at(drift.column, drift.row_index, drift.what, uri=info.uri, row=row) from None

    def _sieve(
        self, chunk: Chunk, info: ObjectInfo, read: pa.Table, found: list[Violation]
    ) -> tuple[Chunk, pa.Table, list[pa.Table], int]:
        """The chunk without the records that violate the declared schema: quarantined, or counted as dropped.

        Raises ExpectationFailed under ``fail``.
        """
        declared = self._source.declared_schema
        assert declared is not None
        self._count_declared(found, read.num_rows)
        if not found or declared.on_violation == "warn":
            return chunk, read, [], 0
        if declared.on_violation == "fail":
            first = found[0]
            raise ExpectationFailed(
                f"record {chunk.rows[first.row].as_py()} of {info.uri} violates the declared schema at {first.path}: "
                f"{first.reason}",
                uri=info.uri,
                hint="correct the source or the schema, or set on_violation to quarantine, drop or warn",
            )
        rows = [(item.row, item.path, f"{item.path}: {item.reason}") for item in found]
        bad = {row for row, _, _ in rows}
        refused = []
        if declared.on_violation == "quarantine":
            refused = [self._misfits(read, chunk.rows, rows, prefix="schema", extras=chunk.extras)]
        keep = _all_but(read.num_rows, bad)
        extras = None if chunk.extras is None else chunk.extras.filter(keep)
        kept = replace(chunk, rows=chunk.rows.filter(keep), extras=extras)
        return kept, read.filter(keep), refused, 0 if refused else len(bad)

    def _count_declared(self, found: list[Violation], checked: int) -> None:
        """Violations by path, as expectations of their own."""
        assert self._source.declared_schema is not None
        rule = self._source.declared_schema.on_violation
        violated = Counter(path for path, _ in {(item.path, item.row) for item in found})
        known = [name for name in self.expectations if name.startswith(SCHEMA_RULE)]
        paths = [name.removeprefix(SCHEMA_RULE) for name in known]
        for path in [*paths, *(path for path in sorted(violated) if path not in paths)][:MAX_PATHS]:
            item = self.expectations.get(f"{SCHEMA_RULE}{path}", ExpectationSummary(on_violation=rule))
            update = {"checked": item.checked + checked, "violated": item.violated + violated[path]}
            self.expectations[f"{SCHEMA_RULE}{path}"] = item.model_copy(update=update)

    def _run(self, chunk: Chunk, info: ObjectInfo, read: pa.Table, *, refused: list[pa.Table], dropped: int) -> Piped:
        coerced = self._coerce(read, chunk, info)
        if coerced.refused:
            refused = [*refused, self._misfits(read, chunk.rows, coerced.refused, extras=chunk.extras)]
        table, rows = self._input(coerced, chunk.rows, info)
        table, rows, origin = self._prepared(table, rows, refused)
        result = self._program.run(table, rows, origin)
        self._count(result.checked, result.violations)
        if result.quarantined.num_rows:
            refused.append(result.quarantined)
        out, numbers, unfit = self._fit(result.table, result.rows)
        refused.extend(unfit)
        quarantined = pa.concat_tables(refused) if refused else QUARANTINED.empty_table()
        balance = Rows(
            read=chunk.table.num_rows + len(chunk.refused),
            generated=result.generated,
            written=out.num_rows,
            quarantined=quarantined.num_rows + len(chunk.refused),
            dropped=dropped + sum(result.dropped.values()),
            filtered=result.filtered,
            rescued=self._rescued(out),
        )
        if not balance.balanced:
            raise AuditError(f"rows of {info.uri} do not balance: {balance!r}", uri=info.uri)
        return Piped(table=out, numbers=numbers, quarantined=quarantined, rows=balance)

    def _coerce(self, read: pa.Table, chunk: Chunk, info: ObjectInfo) -> Coerced:
        """The chunk in the source's types, which it may add to."""
        coerced = self._coercer.run(read, chunk.extras)
        self.seen.chunk(coerced, self.source_schema, info.uri)
        if coerced.new_fields or coerced.grown:
            self.source_schema = _after(self.source_schema, coerced)
            self._coercer = self._new_coercer()
        return coerced

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

    def _prepared(
        self, table: pa.Table, rows: pa.Int64Array, refused: list[pa.Table]
    ) -> tuple[pa.Table, pa.Int64Array, pa.Table | None]:
        """The rows that mapping and cleansing let through, and the same as they were read; adds to ``refused``."""
        if self._preparation.empty:
            return table, rows, None
        done = self._preparation.run(table, rows)
        if done.refused:
            found = first_refusals(done.refused)
            chosen = pa.array([index for index, _, _ in found], pa.int64())
            refused.append(self._program.refused(table.take(chosen), rows.take(chosen), [item[1:] for item in found]))
        return done.table, done.rows, done.origin

    @property
    def cleansing(self) -> CleansingCounts:
        """What the cleansing rules did so far."""
        return self._preparation.counts

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

    def _fit(self, table: pa.Table, rows: pa.Int64Array) -> tuple[pa.Table, pa.Int64Array, list[pa.Table]]:
        """The program's output in the table's columns; columns that the table lacks are new ones, or set aside."""
        refused: list[pa.Table] = []
        marked = self._marker.flag(table, rows) if self._marker else None
        if marked is not None:
            table, rows = marked.table, marked.rows
            refused += [marked.quarantined] if marked.quarantined.num_rows else []
        table, unfit = self._strangers.set_aside(table, self.table_schema)
        unfit = [*unfit, *without_key(table, self._step.unnest)]
        new = new_columns(table, self.table_schema)
        if new:
            self.table_schema = pa.schema([*self.table_schema, *new])
            self._fitter = self._new_fitter()
        fitted = self._fitter.run(table)
        self._grow(fitted)
        out, keep, unfit = fitted.table, None, [*unfit, *fitted.refused]
        if fitted.rescued is not None:
            out = with_rescued(out, fitted.rescued)
        if unfit:
            keep = _all_but(table.num_rows, {index for index, _, _ in unfit})
            refused.append(self._misfits(table, rows, unfit, prefix="table"))
            out, rows = out.filter(keep), rows.filter(keep)
        if self._marker and marked is not None:
            out = self._marker.attach(out, marked.flags if keep is None else marked.flags.filter(keep))
        return out, rows, refused

    def _grow(self, fitted: Coerced) -> None:
        """The table's columns after a chunk."""
        if not fitted.grown and (fitted.rescued is None or RESCUED in self.table_schema.names):
            return
        known = self.table_schema
        self.retyped |= any(not extends(kind, known.field(name).type) for name, kind in fitted.grown.items())
        self.table_schema = _after(known, fitted)
        if fitted.rescued is not None and RESCUED not in known.names:
            self.table_schema = self.table_schema.append(pa.field(RESCUED, pa.string()))
        self._fitter = self._new_fitter()

    def _count(self, checked: int, violations: Mapping[str, int]) -> None:
        seen = {
            name: ExpectationSummary(on_violation=item.on_violation, checked=checked, violated=violations.get(name, 0))
            for name, item in self.expectations.items()
            if not name.startswith(SCHEMA_RULE)
        }
        self.expectations = ExpectationSummary.summed((self.expectations, seen))

    def _new_coercer(self) -> Coercer:
        return Coercer(
            self.source_schema,
            evolution=self._contract,
            masked=frozenset(self._step.mask),
            widening=self._source_widening,
            whole_lists=bool(self._step.unnest),
        )

    def _new_fitter(self) -> Coercer:
        """The last fit: what the source's columns were fitted to, the table's must hold, or the row is refused."""
        contract = Contract(
            columns="evolve" if self._contract.columns == "evolve" else "discard_row",
            types="evolve" if self._contract.types == "evolve" else "discard_row",
        )
        return Coercer(
            self.table_schema,
            evolution=contract,
            masked=frozenset(self._step.mask),
            widening=self._widening,
            whole_lists=bool(self._step.unnest),
        )

    @staticmethod
    def _rescued(table: pa.Table) -> int:
        index = table.schema.get_field_index(RESCUED)
        return 0 if index < 0 else table.num_rows - table.column(index).null_count


def _after(schema: pa.Schema, coerced: Coerced) -> pa.Schema:
    """``schema`` with what a chunk added to it."""
    known = [item.with_type(coerced.grown.get(item.name, item.type)) for item in schema]
    return pa.schema([*known, *coerced.new_fields])


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


def output_schema(
    step: Step, source_schema: pa.Schema, *, source: Source, now: datetime, keys: Mapping[str, bytes]
) -> pa.Schema:
    """The columns that the step makes of a source's. Raises TransformError for an expression that cannot be planned."""
    with_rescued = pa.schema([*source_schema, pa.field(RESCUED, pa.string())])
    program = program_of(step, now=now, keys=keys)
    if program.needs_object:
        with_rescued = with_rescued.append(pa.field(OBJECT, OBJECT_TYPE))
    made = program.output_schema(Preparation(step, source).output_schema(with_rescued))
    return pa.schema([item for item in made if item.name != RESCUED or RESCUED in step.select])
