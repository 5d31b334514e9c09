"""Columns of a source made into columns of a table, every value that does not fit refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.errors import TransformError
from lakeray.spec.formats import NumberFormat
from lakeray.spec.mapping import Flatten, Mapped, MappedColumn
from lakeray.spec.paths import Step, parse_path, path_text
from lakeray.spec.types import parse_type
from lakeray.spec.wrong import nearest
from lakeray.transform.coercions import convert
from lakeray.transform.delta_types import delta_type, is_text
from lakeray.transform.local_dates import in_zone, parse_moments
from lakeray.transform.local_numbers import parse_numbers
from lakeray.transform.paths import Absent, value_at
from lakeray.transform.rules import OBJECT, RESCUED

_ALWAYS = (RESCUED, OBJECT)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Rows that do not go on: ``rows`` is true for them, ``rule`` is such as ``mapping:<column>``, ``reason`` holds
    no value.
    """

    rows: pa.BooleanArray
    rule: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MappedTable:
    """``table`` has the rows that came, in their order; those of ``refused`` must be taken out by the caller."""

    table: pa.Table
    refused: list[Refusal] = field(default_factory=list)


class Mapping:
    """A step's mapping, for chunks of any schema."""

    def __init__(self, spec: Mapped) -> None:
        self._spec = spec
        self._paths = {
            name: parse_path(column.from_) for name, column in spec.columns.items() if column.from_ is not None
        }
        roots = {str(path[0]) for path in self._paths.values()}
        self._gone = {name.casefold() for name in (*roots, *spec.columns, *spec.flatten)}

    def run(self, table: pa.Table) -> MappedTable:
        """``table`` in the mapping's columns: those it names, what it takes apart, then the rest.

        Raises TransformError for a path that the columns do not have and that has neither ``cast`` nor ``default``,
        for a constant or default that does not fit, and for two columns of one name.
        """
        made: list[tuple[str, pa.Array | pa.ChunkedArray]] = []
        refused: list[Refusal] = []
        for name, column in self._spec.columns.items():
            values, bad = self._column(name, column, table)
            made.append((name, values))
            refused.extend(bad)
        for name, flatten in self._spec.flatten.items():
            made.extend(_flattened(table, name, flatten))
        made.extend(self._rest(table))
        _check_names([name for name, _ in made])
        return MappedTable(table=pa.table([values for _, values in made], [name for name, _ in made]), refused=refused)

    def _rest(self, table: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
        for name in table.column_names:
            kept = name in _ALWAYS or self._spec.rest == "keep"
            if kept and name.casefold() not in self._gone:
                yield name, table[name]

    def _column(self, name: str, column: MappedColumn, table: pa.Table) -> tuple[pa.Array, list[Refusal]]:
        kind = None if column.cast is None else parse_type(column.cast)
        if column.constant is not None:
            return _repeated(name, "constant", column.constant, kind, len(table)), []
        values = self._found(name, column, table)
        refused: list[Refusal] = []
        if column.keep_json:
            values = convert(values, pa.string()).values
        if kind is not None:
            cast = cast_values(values, kind, column.format, column.timezone)
            bad = pc.and_(values.is_valid(), cast.is_null())
            if pc.any(bad).as_py():
                refused.append(Refusal(rows=bad, rule=f"mapping:{name}", reason=f"the value is no {_written(column)}"))
            values = cast
        if column.default is not None:
            filler = _repeated(name, "default", column.default, None if pt.is_null(values.type) else values.type, 1)
            values = pc.coalesce(values.cast(filler.type), filler[0])
        return values, refused

    def _found(self, name: str, column: MappedColumn, table: pa.Table) -> pa.Array:
        path = self._paths[name]
        root = str(path[0])
        if table.schema.get_field_index(root) < 0:
            return _missing(name, column, path, Absent(root, pa.null(), table.column_names), len(table))
        try:
            return value_at(whole(table[root]), path[1:])
        except Absent as absent:
            return _missing(name, column, path, absent, len(table))


def cast_values(values: pa.Array, kind: pa.DataType, style: Any, zone: str) -> pa.Array:
    """``values`` as ``kind``, null where one does not fit; texts are read by ``style``, a date pattern or the
    separators of numbers.
    """
    if style is not None and is_text(values.type):
        texts = values.cast(pa.string())
        if isinstance(style, NumberFormat):
            return parse_numbers(texts, style, kind)
        return parse_moments(texts, style, kind, zone)
    if zone != "UTC" and is_text(values.type) and pt.is_timestamp(kind) and kind.tz is not None:
        naive = convert(values, pa.timestamp("us")).values
        zoned = pc.match_substring_regex(values, r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)\s*$")
        bare = pc.match_substring_regex(values, r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}\s*$")
        told = pc.and_not(zoned, bare)
        return pc.if_else(told, convert(values, kind).values, in_zone(naive, zone))
    return convert(values, kind).values


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _written(column: MappedColumn) -> str:
    if column.format is None:
        return str(column.cast)
    style = column.format if isinstance(column.format, str) else "the declared separators"
    return f"{column.cast} as {style}"


def _repeated(name: str, what: str, value: object, kind: pa.DataType | None, count: int) -> pa.Array:
    single = pa.array([value])
    done = convert(single, delta_type(single.type) or pa.string() if kind is None else kind)
    if not done.values[0].is_valid:
        raise TransformError(
            f"mapping.columns.{name}: the {what} is no {kind}", hint=f"write a {what} that the column's type can hold"
        )
    return pa.repeat(done.values[0], count)


def _flattened(table: pa.Table, name: str, spec: Flatten) -> Iterator[tuple[str, pa.Array]]:
    if table.schema.get_field_index(name) < 0:
        near = nearest(name, table.column_names)
        raise TransformError(
            f"mapping.flatten.{name}: the source has no column of that name",
            hint=f"did you mean {near}?" if near else f"it has {', '.join(table.column_names)}",
        )
    values = whole(table[name])
    if not pt.is_struct(values.type):
        raise TransformError(f"mapping.flatten.{name}: the column is {values.type}, no struct", hint="map it by path")
    yield from _fields(values, spec.prefix, spec.depth)


def _fields(values: pa.Array, prefix: str, depth: int) -> Iterator[tuple[str, pa.Array]]:
    for place, item in enumerate(values.type):
        inner = pc.struct_field(values, [place])
        if depth > 1 and pt.is_struct(item.type):
            yield from _fields(inner, f"{prefix}{item.name}_", depth - 1)
        else:
            yield f"{prefix}{item.name}", inner


def _check_names(names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        first = seen.setdefault(name.casefold(), name)
        if first is not name or names.count(name) > 1:
            raise TransformError(
                f"the mapping makes two columns of one name: {first} and {name}",
                hint="Delta takes names that differ by case alone for one; give flatten a prefix, or name one anew",
            )


def _missing(name: str, column: MappedColumn, path: tuple[Step, ...], absent: Absent, count: int) -> pa.Array:
    """Nulls for a path that may be missing because the column's type is known without it."""
    if column.cast is None and column.default is None and not column.keep_json:
        raise _no_such_place(name, path, absent) from None
    return pa.nulls(count)


def _no_such_place(name: str, path: tuple[Step, ...], absent: Absent) -> TransformError:
    near = nearest(str(absent.step), absent.names)
    where = f"{absent.kind} has no" if not pt.is_null(absent.kind) else "the source has no column"
    step = f"[{absent.step}]" if isinstance(absent.step, int) else absent.step
    hint = f"did you mean {near}? " if near else ""
    return TransformError(
        f"mapping.columns.{name}: {path_text(path)}: {where} {step}",
        hint=f"{hint}Where it may be missing, give the column a cast or a default, or a type under schema_hints",
    )
