"""What a step does to each row between coercion and the table: select, where, expect, mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.errors import ExpectationFailed, TransformError
from lakeray.transform.coercions import convert
from lakeray.transform.delta_types import delta_type
from lakeray.transform.engine import Engine
from lakeray.transform.expression import Expression, parsed
from lakeray.transform.hook import Hook
from lakeray.transform.mask import Mask, MaskSpec, masked_rescued
from lakeray.transform.plan import Computed, Plan
from lakeray.transform.record import records

OBJECT = "_object"
OBJECT_TYPE = pa.struct(
    [
        ("uri", pa.string()),
        ("size", pa.int64()),
        ("etag", pa.string()),
        ("modified_at", pa.timestamp("us", tz="UTC")),
        ("row", pa.int64()),
    ]
)
RESCUED = "_rescued_data"
QUARANTINED = pa.schema([("row", pa.int64()), ("rule", pa.string()), ("reason", pa.string()), ("record", pa.string())])
_PLANS_KEPT = 32


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """A condition over a row. It is violated where it is false, and where it is null."""

    name: str
    sql: str
    on_violation: Literal["warn", "drop", "quarantine", "fail"]


@dataclass(frozen=True, kw_only=True)
class ProgramSpec:
    """What a step says about rows, as plain values.

    ``constraints`` are the target table's own NOT NULL and CHECK conditions over the row as it would be written; a row that violates one is
    quarantined. ``apply`` names a hook, ``module:function``.
    """

    select: dict[str, str] = field(default_factory=dict)
    where: str | None = None
    expectations: tuple[Expectation, ...] = ()
    constraints: tuple[Expectation, ...] = ()
    masks: dict[str, MaskSpec] = field(default_factory=dict)
    apply: str | None = None


@dataclass(frozen=True, kw_only=True)
class Transformed:
    """What became of a chunk: ``len(chunk) + generated == len(table) + len(quarantined) + sum(dropped) + filtered``.

    ``table``: rows to write, masked, in order; ``rows`` their record numbers. ``quarantined`` (schema ``QUARANTINED``): ``row`` as given to ``run`` (null after a hook that
    changed the number of rows), ``rule`` as in ``select:<column>``, ``where``, ``expect:<name>`` or ``constraint:<name>``, a ``reason`` without values, and
    the ``record`` before select as JSON, masked. ``dropped`` counts rows by the first ``drop`` expectation that each violates.
    ``violations`` counts rows by expectation, ``checked`` those that expectations looked at. ``generated`` and ``filtered`` include what a hook
    added or took away.
    """

    table: pa.Table
    rows: pa.Int64Array
    quarantined: pa.Table
    filtered: int
    dropped: dict[str, int]
    violations: dict[str, int]
    checked: int
    generated: int


class Program:
    """A step's program, built once for many chunks; not for several threads at once.

    ``now`` is the batch's timestamp, the value of ``now()`` in expressions. ``keys`` holds the secrets of the masks by reference. Raises
    TransformError for an expression that is not one allowed per-row expression, ConfigError for a missing key.
    """

    def __init__(self, spec: ProgramSpec, *, now: datetime, seed: int, keys: Mapping[str, bytes]) -> None:
        self.spec = spec
        self._engine = Engine()
        self._hook = None if spec.apply is None else Hook(spec.apply, now=now, seed=seed)
        self._masks = {column: Mask(mask, keys=keys) for column, mask in spec.masks.items()}

        def read(rule: str, sql: str) -> Expression:
            return parsed(rule, sql, engine=self._engine, now=now)

        self._select = {name: read(f"select:{name}", sql) for name, sql in spec.select.items()}
        self._where = None if spec.where is None else read("where", spec.where)
        self._expect = {e.name: read(f"expect:{e.name}", e.sql) for e in spec.expectations}
        constraints = {e.name: read(f"constraint:{e.name}", e.sql) for e in spec.constraints}
        self._late = {name: e for name, e in constraints.items() if e.columns & set(self._masks)}
        self._constraints = {name: e for name, e in constraints.items() if name not in self._late}
        self._plans: dict[tuple[bytes, str], Any] = {}
        self._record_masks = {**self._masks, **self._masks_of_origins()}

    @property
    def needs_object(self) -> bool:
        """Whether an expression reads the ``_object`` column, which the chunks must then have."""
        return any(OBJECT in expression.columns for expression in self._expressions())

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns that ``run`` gives for chunks of ``schema``.

        Checks all expressions against it: TransformError names the expression, what is wrong, and the nearest column name. With a hook, the
        hook is called once with an empty table.
        """
        schema = self._with_rescued(schema)
        if self._hook is not None:
            schema = self._with_rescued(self._hook(schema.empty_table()).schema)
        return self._shape(schema).output

    def run(self, table: pa.Table, rows: pa.Int64Array) -> Transformed:
        """The program over one chunk; ``rows`` are the record numbers of its rows.

        Raises ExpectationFailed for a violated expectation with ``on_violation: fail``; TransformError for what the hook raises.
        """
        generated = filtered = 0
        if self._hook is not None:
            made = self._hook(table)
            generated, filtered = max(0, len(made) - len(table)), max(0, len(table) - len(made))
            rows = rows if len(made) == len(table) else pa.nulls(len(made), pa.int64())
            table = made
        missing = self._with_rescued(table.schema)
        if len(missing) > len(table.schema):
            table = table.append_column(RESCUED, pa.nulls(len(table), pa.string()))
        shape = self._shape(table.schema)
        return _Pass(self, shape, table, rows).transformed(generated=generated, filtered=filtered)

    def _expressions(self) -> Iterator[Expression]:
        yield from self._select.values()
        yield from () if self._where is None else (self._where,)
        yield from (*self._expect.values(), *self._constraints.values(), *self._late.values())

    def _with_rescued(self, schema: pa.Schema) -> pa.Schema:
        """Rescued data can be read by expressions whether or not a chunk has any."""
        if RESCUED in schema.names or not any(RESCUED in expression.columns for expression in self._expressions()):
            return schema
        return schema.append(pa.field(RESCUED, pa.string()))

    def _masks_of_origins(self) -> dict[str, Mask]:
        """A column from which a masked one is computed is masked like it where the row is shown before select."""
        return {
            origin: mask
            for name, mask in self._masks.items()
            if name in self._select
            for origin in self._select[name].columns - set(self._masks)
        }

    def _shape(self, schema: pa.Schema) -> _Shape:
        key = (schema.serialize().to_pybytes(), "")
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            found = self._plans[key] = _Shape(self, schema)
        return found  # type: ignore[no-any-return]


class _Shape:
    """A program bound to the columns of its input."""

    def __init__(self, program: Program, schema: pa.Schema) -> None:
        checks = [
            *([program._where] if program._where else []),
            *program._expect.values(),
            *program._constraints.values(),
        ]
        self.plan = Plan(program._engine, schema, select=program._select, checks=checks)
        self.names = [name for name in schema.names if name != OBJECT or name in program._select]
        self.names += [name for name in program._select if name not in schema.names]
        self.kinds: dict[str, pa.DataType] = {}
        fields: list[pa.Field] = []
        for name in self.names:
            bound = self.plan.selected.get(name)
            found = bound.kind if bound is not None else schema.field(name).type
            kind = delta_type(found)
            if pt.is_null(found) and bound is None:
                continue  # what a hook gives no type waits for one
            if kind is None:
                raise TransformError(
                    f"the column {name!r} has no type, it is null in every row",
                    hint="give it one, as in CAST(NULL AS STRING)",
                )
            self.kinds[name] = kind
            fields.append(pa.field(name, pa.string() if name in program._masks else kind))
        self.names = list(self.kinds)
        self.output = pa.schema(fields)
        late = list(program._late.values())
        self.late = Plan(program._engine, self.output, select={}, checks=late) if late else None


class _Pass:
    """One chunk on its way through a program."""

    def __init__(self, program: Program, shape: _Shape, table: pa.Table, rows: pa.Int64Array) -> None:
        self._program = program
        self._shape = shape
        self._before = table
        self._rows = rows
        self._length = len(table)
        self._alive: pa.BooleanArray | None = None  # None: every row
        self._refused: list[tuple[pa.BooleanArray, str, str]] = []

    def transformed(self, *, generated: int, filtered: int) -> Transformed:
        program, plan = self._program, self._shape.plan
        computed = plan.compute(self._before)
        after = self._selected(computed)
        if program._where is not None:
            self._refuse(computed.errors.get("where"), "where", lambda: plan.reason("where"))
            kept = self._take(_true(computed.values["where"]))
            filtered += kept
        checked = self._count()
        dropped, violations = self._expected(computed)
        for name in program._constraints:
            self._constrained(plan, computed, name)
        after = self._masked(after)
        if self._shape.late is not None:
            late = self._shape.late.compute(after)
            for name in program._late:
                self._constrained(self._shape.late, late, name)
        table = after if self._alive is None else after.filter(self._alive)
        return Transformed(
            table=table,
            rows=self._rows if self._alive is None else self._rows.filter(self._alive),
            quarantined=self._quarantined(),
            filtered=filtered,
            dropped=dropped,
            violations=violations,
            checked=checked,
            generated=generated,
        )

    def _count(self) -> int:
        return self._length if self._alive is None else pc.sum(self._alive).as_py() or 0

    def _take(self, keep: pa.BooleanArray | None) -> int:
        """Go on with only the rows of ``keep`` (None: all); how many went."""
        if keep is None:
            return 0
        before = self._count()
        self._alive = keep if self._alive is None else pc.and_(self._alive, keep)
        return before - self._count()

    def _refuse(self, bad: pa.BooleanArray | None, rule: str, reason: Callable[[], str]) -> None:
        """Quarantine the living rows of ``bad``."""
        if bad is None:
            return
        if self._alive is not None:
            bad = pc.and_(bad, self._alive)
        if self._take(pc.invert(bad)):
            self._refused.append((bad, rule, reason()))

    def _selected(self, computed: Computed) -> pa.Table:
        """The row after select, in types that a table can hold."""
        shape, plan = self._shape, self._shape.plan
        for bound in plan.selected.values():
            self._refuse(computed.errors.get(bound.rule), bound.rule, lambda rule=bound.rule: plan.reason(rule))
        columns: list[pa.Array | pa.ChunkedArray] = []
        for name in shape.names:
            bound = plan.selected.get(name)
            column = self._before[name] if bound is None else computed.values[bound.rule]
            rule = f"select:{name}"
            if column.type != shape.kinds[name]:
                done = convert(
                    column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column, shape.kinds[name]
                )
                column = done.values
                what = f"the value does not fit {shape.kinds[name]}"
                self._refuse(done.misfits, rule, lambda what=what: what)
            columns.append(column)
        fields = [pa.field(name, shape.kinds[name]) for name in shape.names]
        if not fields:
            return self._before.select([])
        return pa.table(columns, schema=pa.schema(fields))

    def _expected(self, computed: Computed) -> tuple[dict[str, int], dict[str, int]]:
        """Look at every expectation on every living row, then act once a row: fail, quarantine, drop, warn."""
        plan, found = self._shape.plan, {}
        spec = self._program.spec.expectations
        erred: dict[str, pa.BooleanArray] = {}
        for expectation in spec:
            rule = f"expect:{expectation.name}"
            met = _true(computed.values[rule])
            bad = None if met is None else self._living(pc.invert(met))
            if bad is not None and pc.any(bad).as_py():
                found[expectation.name] = bad
            if rule in computed.errors:
                erred[expectation.name] = self._living(computed.errors[rule])
        violations = {e.name: pc.sum(found[e.name]).as_py() if e.name in found else 0 for e in spec}
        for expectation in spec:
            if expectation.on_violation == "fail" and expectation.name in found:
                self._fail(expectation, found[expectation.name], erred.get(expectation.name))
        for name, bad in erred.items():
            rule = f"expect:{name}"
            self._refuse(bad, rule, lambda rule=rule: plan.reason(rule))
        for expectation in spec:
            if expectation.on_violation == "quarantine":
                text = f"violates {expectation.name}: {' '.join(expectation.sql.split())}"
                self._refuse(found.get(expectation.name), f"expect:{expectation.name}", lambda text=text: text)
        dropped: dict[str, int] = {}
        for expectation in spec:
            if expectation.on_violation == "drop":
                bad = found.get(expectation.name)
                dropped[expectation.name] = self._take(None if bad is None else pc.invert(bad))
        return dropped, violations

    def _living(self, bad: pa.BooleanArray) -> pa.BooleanArray:
        return bad if self._alive is None else pc.and_(bad, self._alive)

    @staticmethod
    def _fail(expectation: Expectation, bad: pa.BooleanArray, erred: pa.BooleanArray | None) -> None:
        certain = bad if erred is None else pc.and_not(bad, erred)
        count = pc.sum(certain).as_py()
        if count:
            raise ExpectationFailed(
                f"the expectation {expectation.name!r} is violated by {count} row{'s' if count > 1 else ''} of one chunk",
                hint=f"it says {' '.join(expectation.sql.split())!r} with on_violation: fail; nothing was committed",
            )

    def _constrained(self, plan: Plan, computed: Computed, name: str) -> None:
        rule = f"constraint:{name}"
        self._refuse(computed.errors.get(rule), rule, lambda: plan.reason(rule))
        met = _true(computed.values[rule])
        text = f"violates the table's constraint {name}"
        self._refuse(None if met is None else pc.invert(met), rule, lambda: text)

    def _masked(self, table: pa.Table) -> pa.Table:
        masks = self._program._masks
        if not masks:
            return table
        for place, name in enumerate(table.column_names):
            if name in masks:
                table = table.set_column(place, pa.field(name, pa.string()), masks[name](table[name]))
            elif name == RESCUED:
                table = table.set_column(place, name, masked_rescued(table[name], self._program._record_masks))
        return table

    def _quarantined(self) -> pa.Table:
        parts = [self._quarantined_by(*refused) for refused in self._refused]
        if not parts:
            return QUARANTINED.empty_table()
        return pa.concat_tables(parts).sort_by("row")

    def _quarantined_by(self, bad: pa.BooleanArray, rule: str, reason: str) -> pa.Table:
        masks: dict[str, Callable[[pa.Array], pa.Array]] = dict(self._program._record_masks)
        if masks:
            masks[RESCUED] = lambda texts: masked_rescued(texts, self._program._record_masks)
        rows = self._rows.filter(bad)
        written = records(self._before.filter(bad), without={OBJECT}, masks=masks)
        count = len(rows)
        columns = [rows, pa.repeat(pa.scalar(rule), count), pa.repeat(pa.scalar(reason), count), written]
        return pa.table(columns, schema=QUARANTINED)


def _true(values: pa.ChunkedArray) -> pa.BooleanArray | None:
    """Where ``values`` are true (null is not), None when they are everywhere."""
    if values.null_count == 0 and pc.all(values, min_count=0).as_py():
        return None
    known = pc.fill_null(values.cast(pa.bool_()), fill_value=False)
    return known.combine_chunks()


__all__ = [
    "OBJECT",
    "OBJECT_TYPE",
    "QUARANTINED",
    "RESCUED",
    "Expectation",
    "MaskSpec",
    "Program",
    "ProgramSpec",
    "Transformed",
]
