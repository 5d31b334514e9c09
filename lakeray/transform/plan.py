"""A program bound to one schema: what is computed for a chunk, in one query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.errors import TransformError
from lakeray.transform.engine import CHUNK, Engine, EngineFailed, projection, quoted
from lakeray.transform.expression import Bound, Expression, bind, check_columns, refused

_BLOCK = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Computed:
    """What one query gave for a chunk: arrays as long as the chunk.

    ``values`` by rule; ``errors`` by rule is true where the rule's expression erred (its value there means nothing),
    and absent where it erred nowhere.
    """

    values: dict[str, pa.ChunkedArray]
    errors: dict[str, pa.BooleanArray] = field(default_factory=dict)


class Plan:
    """Expressions over chunks of one ``schema``.

    ``select`` by column name, then ``checks``, which see what ``select`` made. Raises
    TransformError when an expression cannot be used with this schema, or when a check is not a boolean.
    """

    def __init__(
        self, engine: Engine, schema: pa.Schema, *, select: dict[str, Expression], checks: Sequence[Expression]
    ) -> None:
        self._engine = engine
        self.selected: dict[str, Bound] = {}
        self.checks: list[Bound] = []
        for expression in select.values():
            check_columns(expression, schema.names)
        after = [*schema.names, *(name for name in select if name not in schema.names)]
        for expression in checks:
            check_columns(expression, after)
        self._needed = self._columns(schema, select, checks)
        engine.put(schema.empty_table().select(self._needed) if self._needed else _nothing(0))
        self.selected = {name: bind(expression, engine) for name, expression in select.items()}
        inner = self._inner({name: bound.strict for name, bound in self.selected.items()})
        self.checks = [self._boolean(expression, bind(expression, engine, f"({inner})")) for expression in checks]
        self._strict = self._query(lenient=False)
        self._lenient = self._query(lenient=True)
        self._reasons = {bound.rule: bound.reason for bound in self._bounds()}
        self._erred_before = False
        self._check_constants([*select.values(), *checks])

    def compute(self, table: pa.Table) -> Computed:
        """All values for the rows of ``table``, which has the plan's schema."""
        if not self.selected and not self.checks:
            return Computed(values={})
        chunk = table.select(self._needed) if self._needed else _nothing(len(table))
        if not self._erred_before:
            try:
                return self._read(self._run(chunk, self._strict), lenient=False)
            except EngineFailed:
                self._erred_before = True
        try:
            computed = self._read(self._run(chunk, self._lenient), lenient=True)
        except EngineFailed:
            return self._halved(chunk)
        self._erred_before = bool(computed.errors)
        return computed

    def reason(self, rule: str) -> str:
        """Why rows err under ``rule``, in words without values."""
        return self._reasons[rule]

    def _bounds(self) -> list[Bound]:
        return [*self.selected.values(), *self.checks]

    def _columns(self, schema: pa.Schema, select: dict[str, Expression], checks: Sequence[Expression]) -> list[str]:
        read = {name for expression in select.values() for name in expression.columns}
        read |= {name for expression in checks for name in expression.columns if name not in select}
        self._passed = [name for name in schema.names if name in read]
        return self._passed

    def _inner(self, selected: dict[str, str], flags: dict[str, str] | None = None) -> str:
        columns = [(name, quoted(name)) for name in self._passed if name not in selected]
        columns += [*selected.items(), *(flags or {}).items()]
        return projection(columns or [("__none", "0")])

    def _query(self, *, lenient: bool) -> str:
        made = {name: bound.value if lenient else bound.strict for name, bound in self.selected.items()}
        flags = {
            _flag(bound.rule): bound.failed for bound in self.selected.values() if lenient and bound.failed is not None
        }
        outer = [(bound.rule, quoted(name)) for name, bound in self.selected.items()]
        outer += [(name, quoted(name)) for name in flags]
        outer += [(bound.rule, bound.value if lenient else bound.strict) for bound in self.checks]
        if lenient:
            outer += [(_flag(bound.rule), bound.failed) for bound in self.checks if bound.failed is not None]
        return projection(outer, f"({self._inner(made, flags)})")

    def _run(self, chunk: pa.Table, query: str) -> pa.Table:
        self._engine.put(chunk)
        made = self._engine.run(query)
        if len(made) != len(chunk):
            raise TransformError(
                f"expressions made {len(made)} rows of {len(chunk)}", hint="every expression must give one value a row"
            )
        return made

    def _read(self, made: pa.Table, *, lenient: bool) -> Computed:
        values = {bound.rule: _typed(made[bound.rule], bound.kind) for bound in self._bounds()}
        errors: dict[str, pa.BooleanArray] = {}
        for bound in self._bounds() if lenient else ():
            if bound.failed is None:
                continue
            flag = pc.fill_null(made[_flag(bound.rule)], fill_value=False)
            if pc.any(flag).as_py():
                errors[bound.rule] = flag.combine_chunks()
        return Computed(values=values, errors=errors)

    def _halved(self, chunk: pa.Table) -> Computed:
        """Block by block, then by halves down to the row, where something erred that no flag foresaw."""
        size = _BLOCK if len(chunk) > _BLOCK else (len(chunk) + 1) // 2
        if len(chunk) == 1:
            return self._single(chunk)
        parts: list[Computed] = []
        for start in range(0, len(chunk), size):
            part = chunk.slice(start, size)
            try:
                parts.append(self._read(self._run(part, self._lenient), lenient=True))
            except EngineFailed:
                parts.append(self._halved(part))
        return self._joined(parts)

    def _joined(self, parts: list[Computed]) -> Computed:
        values = {
            bound.rule: pa.chunked_array([c for part in parts for c in part.values[bound.rule].chunks], bound.kind)
            for bound in self._bounds()
        }
        errors: dict[str, pa.BooleanArray] = {}
        for rule in {rule for part in parts for rule in part.errors}:
            flags = [part.errors.get(rule, _all_false(_length(part))) for part in parts]
            errors[rule] = pa.concat_arrays(flags)
        return Computed(values=values, errors=errors)

    def _single(self, row: pa.Table) -> Computed:
        """One row of which some expression errs: each expression by itself."""
        values = {bound.rule: pa.chunked_array([pa.nulls(1, bound.kind)]) for bound in self._bounds()}
        errors: dict[str, pa.BooleanArray] = {}
        self._engine.put(row)
        for bound in self.selected.values():
            self._alone(bound, CHUNK, values, errors)
        if errors:  # the checks would look at values that are not there
            return Computed(values=values, errors=errors)
        inner = f"({self._inner({name: bound.strict for name, bound in self.selected.items()})})"
        for bound in self.checks:
            self._alone(bound, inner, values, errors)
        return Computed(values=values, errors=errors)

    def _alone(
        self, bound: Bound, source: str, values: dict[str, pa.ChunkedArray], errors: dict[str, pa.BooleanArray]
    ) -> None:
        try:
            values[bound.rule] = _typed(self._engine.run(projection([("x", bound.strict)], source))["x"], bound.kind)
        except EngineFailed:
            errors[bound.rule] = pa.array([True])

    @staticmethod
    def _boolean(expression: Expression, bound: Bound) -> Bound:
        if pt.is_boolean(bound.kind) or pt.is_null(bound.kind):
            return bound
        raise refused(
            expression.rule, expression.text, f"is {bound.kind}, not true or false", hint="write a comparison"
        )

    def _check_constants(self, expressions: Sequence[Expression]) -> None:
        """An expression that errs before it has seen a row is wrong in itself."""
        if not expressions:
            return
        try:
            self._engine.run(self._strict)
        except EngineFailed:
            for expression, bound in zip(expressions, self._bounds(), strict=True):
                self._check_constant(expression, bound)

    def _check_constant(self, expression: Expression, bound: Bound) -> None:
        source = (
            CHUNK
            if bound in self.selected.values()
            else f"({self._inner({n: b.strict for n, b in self.selected.items()})})"
        )
        try:
            self._engine.run(projection([("x", bound.strict)], source))
        except EngineFailed as error:
            what = str(error).splitlines()[-1]
            raise refused(expression.rule, expression.text, f"fails whatever the row: {what}") from None


def _flag(rule: str) -> str:
    return f"failed {rule}"


def _nothing(length: int) -> pa.Table:
    return pa.table({"__none": pa.nulls(length, pa.int8())})


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The column in its planned type: the engine's CASE and power do not always give what they announce."""
    return column if column.type == kind else column.cast(kind)


def _all_false(length: int) -> pa.BooleanArray:
    return pa.repeat(pa.scalar(value=False), length)


def _length(part: Computed) -> int:
    return len(next(iter(part.values.values())))
