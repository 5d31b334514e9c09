"""What a step does to each row between coercion and the table: select, where, expect, mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow as pa

from lakeray.transform.engine import Engine
from lakeray.transform.expression import Expression, check_columns, parsed
from lakeray.transform.hook import Hook
from lakeray.transform.mask import ByName, Mask, MaskSpec
from lakeray.transform.passage import Parts, Passage, Shape, quarantine_records
from lakeray.transform.rules import (
    OBJECT,
    OBJECT_TYPE,
    QUARANTINED,
    RESCUED,
    Expectation,
    ProgramSpec,
    Transformed,
)

_SHAPES_KEPT = 32


class Program:
    """A step's program, built once for many chunks; not for several threads at once.

    ``now`` is the batch's timestamp, the value of ``now()`` in expressions. ``keys`` holds the secrets of the masks
    by reference. Raises TransformError for an expression that is not one allowed per-row expression, ConfigError for
    a missing key.
    """

    def __init__(self, spec: ProgramSpec, *, now: datetime, seed: int, keys: Mapping[str, bytes]) -> None:
        self.spec = spec
        engine = Engine()
        masks = ByName({column: Mask(mask, keys=keys) for column, mask in spec.masks.items()})

        def read(rule: str, sql: str) -> Expression:
            return parsed(rule, sql, engine=engine, now=now)

        select = {name: read(f"select:{name}", sql) for name, sql in spec.select.items()}
        constraints = {e.name: read(f"constraint:{e.name}", e.sql) for e in spec.constraints}
        late = {
            name: constraint
            for name, constraint in constraints.items()
            if any(column in masks for column in constraint.columns)
        }
        self._hook = None if spec.apply is None else Hook(spec.apply, now=now, seed=seed)
        self._shapes: dict[bytes, Shape] = {}
        self._parts = Parts(
            engine=engine,
            select=select,
            where=None if spec.where is None else read("where", spec.where),
            expectations=spec.expectations,
            expect={e.name: read(f"expect:{e.name}", e.sql) for e in spec.expectations},
            constraints={name: constraint for name, constraint in constraints.items() if name not in late},
            late=late,
            masks=masks,
            record_masks=_record_masks(spec, select, masks),
        )

    @property
    def record_masks(self) -> dict[str, Mask]:
        """The masks to put over a row as it was before ``select``."""
        return self._parts.record_masks

    @property
    def needs_object(self) -> bool:
        """Whether an expression reads the ``_object`` column, which the chunks must then have."""
        return any(OBJECT in expression.columns for expression in self._parts.all())

    @property
    def columns_read(self) -> set[str]:
        """The columns of its input that expressions read, but for those that every input has."""
        parts = self._parts
        read = {name for expression in parts.select.values() for name in expression.columns}
        read |= {name for check in parts.checks() for name in check.columns if name not in parts.select}
        return read - {OBJECT, RESCUED}

    def check_columns(self, schema: pa.Schema) -> None:
        """Raise TransformError for the first expression that reads a column which ``schema`` lacks."""
        known = [*schema.names, OBJECT, RESCUED]
        for expression in self._parts.select.values():
            check_columns(expression, known)
        for check in self._parts.checks():
            check_columns(check, [*known, *self._parts.select])

    def output_schema(self, schema: pa.Schema) -> pa.Schema:
        """The columns that ``run`` gives for chunks of ``schema``.

        Checks all expressions against it: TransformError names the expression, what is wrong, and the nearest column
        name. With a hook, the hook is called once with an empty table.
        """
        schema = self._with_rescued(schema)
        if self._hook is not None:
            schema = self._with_rescued(self._hook(schema.empty_table()).schema)
        return self._shape(schema).output

    def run(self, table: pa.Table, rows: pa.Int64Array, origin: pa.Table | None = None) -> Transformed:
        """The program over one chunk; ``rows`` are the record numbers of its rows, ``origin`` are the same rows as
        they were read: what is quarantined shows them (as the hook left them where there is one).

        Raises ExpectationFailed for a violated expectation with ``on_violation: fail``; TransformError for what the
        hook raises.
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
        origin = table if origin is None or self._hook is not None else origin
        passage = Passage(self._parts, shape, table, rows, origin)
        return passage.transformed(generated=generated, filtered=filtered)

    def refused(self, table: pa.Table, rows: pa.Int64Array, why: Sequence[tuple[str, str]]) -> pa.Table:
        """Rows that were refused before the program, by ``why`` (rule, reason), as it quarantines its own."""
        rules, reasons = [rule for rule, _ in why], [reason for _, reason in why]
        written = quarantine_records(table, self._parts.record_masks)
        return pa.table(
            [rows, pa.array(rules, pa.string()), pa.array(reasons, pa.string()), written], schema=QUARANTINED
        )

    def _with_rescued(self, schema: pa.Schema) -> pa.Schema:
        """Rescued data can be read by expressions whether or not a chunk has any."""
        if RESCUED in schema.names or not any(RESCUED in expression.columns for expression in self._parts.all()):
            return schema
        return schema.append(pa.field(RESCUED, pa.string()))

    def _shape(self, schema: pa.Schema) -> Shape:
        key = schema.serialize().to_pybytes()
        found = self._shapes.get(key)
        if found is None:
            if len(self._shapes) >= _SHAPES_KEPT:
                self._shapes.clear()
            found = self._shapes[key] = Shape(self._parts, schema)
        return found


def _record_masks(spec: ProgramSpec, select: Mapping[str, Expression], masks: dict[str, Mask]) -> ByName:
    """The masks of all that a masked column is computed from, by ``select`` or before the program."""
    known = ByName({**masks, **_masks_of_origins(select, masks)})
    if not spec.prepared:
        return known
    known = ByName({name: mask.of_origin() for name, mask in known.items()})
    before = {origin: known[name] for name, origin in spec.origins.items() if name in known}
    for origin, prefix in spec.flattened.items():
        over = [mask for name, mask in known.items() if name.startswith(prefix.casefold())]
        before.update({origin: over[0]} if over else {})
    return ByName({**before, **known})


def _masks_of_origins(select: Mapping[str, Expression], masks: Mapping[str, Mask]) -> dict[str, Mask]:
    """A column from which a masked one is computed is masked like it where the row is shown before select."""
    return {
        origin: masks[name].of_origin()
        for name in select
        if name in masks
        for origin in select[name].columns
        if origin not in masks
    }


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
