"""What a step does to each row between coercion and the table: select, where, expect, mask."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa

from lakeray.transform.engine import Engine
from lakeray.transform.expression import Expression, check_columns, parsed
from lakeray.transform.hook import Hook
from lakeray.transform.mask import ByName, Mask, MaskSpec
from lakeray.transform.passage import Parts, Passage, Shape
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
            record_masks=ByName({**masks, **_masks_of_origins(select, masks)}),
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

    def run(self, table: pa.Table, rows: pa.Int64Array) -> Transformed:
        """The program over one chunk; ``rows`` are the record numbers of its rows.

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
        return Passage(self._parts, shape, table, rows).transformed(generated=generated, filtered=filtered)

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
