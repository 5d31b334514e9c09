"""One chunk's way through a program, every row leaving it exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.errors import ExpectationFailed, TransformError
from lakeray.transform.coercions import convert
from lakeray.transform.delta_types import delta_type
from lakeray.transform.engine import Engine
from lakeray.transform.expression import Expression
from lakeray.transform.mask import ByName, Mask, masked_rescued
from lakeray.transform.plan import Computed, Plan
from lakeray.transform.record import records
from lakeray.transform.rules import OBJECT, QUARANTINED, RESCUED, Expectation, Transformed


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A program's expressions, parsed; ``late`` constraints read masked columns as they are written.

    ``record_masks`` go over the row before select where it is quarantined.
    """

    engine: Engine
    select: dict[str, Expression]
    where: Expression | None
    expectations: tuple[Expectation, ...]
    expect: dict[str, Expression]
    constraints: dict[str, Expression]
    late: dict[str, Expression]
    masks: dict[str, Mask]
    record_masks: dict[str, Mask]

    def all(self) -> Iterator[Expression]:
        """Every expression."""
        yield from self.select.values()
        yield from self.checks()
        yield from self.late.values()

    def checks(self) -> Iterator[Expression]:
        """The conditions that see a row after select and before its masks."""
        yield from () if self.where is None else (self.where,)
        yield from (*self.expect.values(), *self.constraints.values())


class Shape:
    """A program bound to the columns of its input."""

    def __init__(self, parts: Parts, schema: pa.Schema) -> None:
        self.plan = Plan(parts.engine, schema, select=parts.select, checks=list(parts.checks()))
        self.names = [name for name in schema.names if name != OBJECT or name in parts.select]
        self.names += [name for name in parts.select if name not in schema.names]
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
            fields.append(pa.field(name, parts.masks[name].kind(name, kind) if name in parts.masks else kind))
        self.names = list(self.kinds)
        self.output = pa.schema(fields)
        late = list(parts.late.values())
        self.late = Plan(parts.engine, self.output, select={}, checks=late) if late else None


class Passage:
    """One chunk on its way through a program."""

    def __init__(
        self, parts: Parts, shape: Shape, table: pa.Table, rows: pa.Int64Array, origin: pa.Table | None = None
    ) -> None:
        self._origin = table if origin is None else origin
        self._parts = parts
        self._shape = shape
        self._before = table
        self._rows = rows
        self._length = len(table)
        self._alive: pa.BooleanArray | None = None  # None: every row
        self._refused: list[tuple[pa.BooleanArray, str, str]] = []

    def transformed(self, *, generated: int, filtered: int) -> Transformed:
        """What becomes of the chunk; ``generated`` and ``filtered`` rows are a hook's."""
        parts, plan = self._parts, self._shape.plan
        computed = plan.compute(self._before)
        after = self._selected(computed)
        if parts.where is not None:
            self._refuse(computed.errors.get("where"), "where", plan.reason("where"))
            kept = self._take(_true(computed.values["where"]))
            filtered += kept
        checked = self._count()
        dropped, violations = self._expected(computed)
        for name in parts.constraints:
            self._constrained(plan, computed, name)
        if self._shape.late is None:
            table = self._masked(self._kept(after))
        else:
            after = self._masked(after)
            late = self._shape.late.compute(after)
            for name in parts.late:
                self._constrained(self._shape.late, late, name)
            table = self._kept(after)
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

    def _kept(self, table: pa.Table) -> pa.Table:
        """The rows that are left of ``table``."""
        return table if self._alive is None else table.filter(self._alive)

    def _count(self) -> int:
        return self._length if self._alive is None else pc.sum(self._alive).as_py() or 0

    def _take(self, keep: pa.BooleanArray | None) -> int:
        """Go on with only the rows of ``keep`` (None: all); how many went."""
        if keep is None:
            return 0
        before = self._count()
        self._alive = keep if self._alive is None else pc.and_(self._alive, keep)
        return before - self._count()

    def _refuse(self, bad: pa.BooleanArray | None, rule: str, reason: str) -> None:
        """Quarantine the living rows of ``bad``."""
        if bad is None:
            return
        if self._alive is not None:
            bad = pc.and_(bad, self._alive)
        if self._take(pc.invert(bad)):
            self._refused.append((bad, rule, reason))

    def _selected(self, computed: Computed) -> pa.Table:
        """The row after select, in types that a table can hold."""
        shape, plan = self._shape, self._shape.plan
        for name in plan.selected:
            rule = f"select:{name}"
            self._refuse(computed.errors.get(rule), rule, plan.reason(rule))
        columns: list[pa.Array | pa.ChunkedArray] = []
        for name in shape.names:
            bound = plan.selected.get(name)
            column = self._before[name] if bound is None else computed.values[bound.rule]
            if column.type != shape.kinds[name]:
                done = convert(
                    column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column, shape.kinds[name]
                )
                column = done.values
                self._refuse(done.misfits, f"select:{name}", f"the value does not fit {shape.kinds[name]}")
            columns.append(column)
        fields = [pa.field(name, shape.kinds[name]) for name in shape.names]
        if not fields:
            return self._before.select([])
        return pa.table(columns, schema=pa.schema(fields))

    def _expected(self, computed: Computed) -> tuple[dict[str, int], dict[str, int]]:
        """Look at every expectation on every living row, then act once a row: fail, quarantine, drop, warn."""
        found, erred = self._violations(computed)
        spec = self._parts.expectations
        violations = {e.name: pc.sum(found[e.name]).as_py() if e.name in found else 0 for e in spec}
        for expectation in spec:
            if expectation.on_violation == "fail" and expectation.name in found:
                self._fail(expectation, found[expectation.name], erred.get(expectation.name))
        for name, bad in erred.items():
            self._refuse(bad, f"expect:{name}", self._shape.plan.reason(f"expect:{name}"))
        for expectation in spec:
            if expectation.on_violation == "quarantine":
                text = f"violates {expectation.name}: {' '.join(expectation.sql.split())}"
                self._refuse(found.get(expectation.name), f"expect:{expectation.name}", text)
        dropped: dict[str, int] = {}
        for expectation in spec:
            if expectation.on_violation == "drop":
                bad = found.get(expectation.name)
                dropped[expectation.name] = self._take(None if bad is None else pc.invert(bad))
        return dropped, violations

    def _violations(self, computed: Computed) -> tuple[dict[str, pa.BooleanArray], dict[str, pa.BooleanArray]]:
        """The living rows that violate each expectation, and those on which it errs, where there are any."""
        found: dict[str, pa.BooleanArray] = {}
        erred: dict[str, pa.BooleanArray] = {}
        for name in self._parts.expect:
            rule = f"expect:{name}"
            bad = _not_true(computed.values[rule])
            if bad is not None and pc.any(self._living(bad)).as_py():
                found[name] = self._living(bad)
            if rule in computed.errors:
                erred[name] = self._living(computed.errors[rule])
        return found, erred

    def _living(self, bad: pa.BooleanArray) -> pa.BooleanArray:
        return bad if self._alive is None else pc.and_(bad, self._alive)

    @staticmethod
    def _fail(expectation: Expectation, bad: pa.BooleanArray, erred: pa.BooleanArray | None) -> None:
        certain = bad if erred is None else pc.and_not(bad, erred)
        count = pc.sum(certain).as_py()
        if count:
            rows = "1 row" if count == 1 else f"{count} rows"
            raise ExpectationFailed(
                f"the expectation {expectation.name!r} is violated by {rows} of one chunk",
                hint=f"it says {' '.join(expectation.sql.split())!r} with on_violation: fail; nothing was committed",
            )

    def _constrained(self, plan: Plan, computed: Computed, name: str) -> None:
        rule = f"constraint:{name}"
        self._refuse(computed.errors.get(rule), rule, plan.reason(rule))
        text = f"violates the table's constraint {name}"
        self._refuse(_not_true(computed.values[rule]), rule, text)

    def _masked(self, table: pa.Table) -> pa.Table:
        masks = self._parts.masks
        if not masks:
            return table
        for place, name in enumerate(table.column_names):
            if name in masks:
                hidden = masks[name](table[name])
                table = table.set_column(place, pa.field(name, hidden.type), hidden)
            elif name == RESCUED:
                table = table.set_column(place, name, masked_rescued(table[name], self._parts.record_masks))
        return table

    def _quarantined(self) -> pa.Table:
        parts = [self._quarantined_by(*refused) for refused in self._refused]
        if not parts:
            return QUARANTINED.empty_table()
        return pa.concat_tables(parts).sort_by("row")

    def _quarantined_by(self, bad: pa.BooleanArray, rule: str, reason: str) -> pa.Table:
        rows = self._rows.filter(bad)
        written = quarantine_records(self._origin.filter(bad), self._parts.record_masks)
        count = len(rows)
        columns = [rows, pa.repeat(pa.scalar(rule), count), pa.repeat(pa.scalar(reason), count), written]
        return pa.table(columns, schema=QUARANTINED)


def quarantine_records(table: pa.Table, record_masks: dict[str, Mask]) -> pa.StringArray:
    """Rows as quarantine shows them: JSON texts, masked."""
    masks: dict[str, Callable[[pa.Array], pa.Array]] = ByName(record_masks)
    if masks:
        masks[RESCUED] = lambda texts: masked_rescued(texts, record_masks)
    return records(table, without={OBJECT}, masks=masks)


def _true(values: pa.ChunkedArray) -> pa.BooleanArray | None:
    """Where ``values`` are true (null is not), None when they are everywhere."""
    if values.null_count == 0 and pc.all(values, min_count=0).as_py():
        return None
    known = pc.fill_null(values.cast(pa.bool_()), fill_value=False)
    return known.combine_chunks()


def _not_true(values: pa.ChunkedArray) -> pa.BooleanArray | None:
    """Where ``values`` are false or null, None when they are nowhere."""
    true = _true(values)
    return None if true is None else pc.invert(true)
