"""One condition of the user over rows of a table."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import TransformError
from lakeray.transform.engine import CHUNK, Engine, EngineFailed, projection
from lakeray.transform.expression import Bound, bind, check_columns, parsed


class Condition:
    """Built once for many tables; not for several threads at once. ``now`` is what the clock says in it.

    Raises TransformError for what is not one per-row expression.
    """

    def __init__(self, rule: str, sql: str, *, now: datetime) -> None:
        self._engine = Engine()
        self._expression = parsed(rule, sql, engine=self._engine, now=now)
        self._bound: tuple[pa.Schema, Bound] | None = None

    @property
    def columns(self) -> frozenset[str]:
        """The columns that it reads."""
        return self._expression.columns

    def holds(self, table: pa.Table) -> pa.BooleanArray:
        """Whether it is true, row by row; null counts as false.

        Raises TransformError when a column is missing, when it is no condition, or a row cannot be computed.
        """
        bound = self._bind(table)
        if not table.num_rows:
            return pa.array([], pa.bool_())
        self._engine.put(table)
        try:
            found = self._engine.run(projection([("x", bound.strict)], CHUNK))["x"]
        except EngineFailed:
            raise TransformError(
                f"{bound.rule}: the condition cannot be computed for a row of the table: {bound.reason or 'it errs'}",
                hint="write it so that it has a value for every row, with TRY_CAST or CASE, say",
            ) from None  # its text may quote values
        return pc.fill_null(found.cast(pa.bool_()), fill_value=False).combine_chunks()

    def _bind(self, table: pa.Table) -> Bound:
        if self._bound is None or not self._bound[0].equals(table.schema):
            check_columns(self._expression, table.column_names)
            self._engine.put(table.schema.empty_table())
            bound = bind(self._expression, self._engine)
            if not (pa.types.is_boolean(bound.kind) or pa.types.is_null(bound.kind)):
                raise TransformError(
                    f"{bound.rule}: the expression {self._expression.text!r} is {bound.kind}, not a condition",
                    hint="compare something, as in day >= DATE '2024-01-01'",
                )
            self._bound = (table.schema, bound)
        return self._bound[1]
