"""Records held against a schema that somebody declared for them: a JSON Schema, or Arrow types.

A JSON Schema (https://json-schema.org, the draft that ``$schema`` names, 2020-12 by default) is checked by the
``jsonschema`` library, record by record; references to other documents are never fetched. A reader cannot tell a null
from an absent value, so a null counts as absent, unless the property's own ``type`` allows null; a decimal may be a
number or a string, which carry the same digits. Arrow types are
checked column by column: a value must fit by the table in ``lakeray.transform.coercions``, be there where the column
is not nullable, and stand in a column that is declared.

Paths are dotted, ``[]`` stands for any element of a list. No reason quotes a value of a record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.errors import TransformError
from lakeray.transform.coercions import convert
from lakeray.transform.delta_types import holds_decimal
from lakeray.transform.record import json_values

_MAX_SHOWN = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """Row index in the chunk, path of what is wrong, and why."""

    row: int
    path: str
    reason: str


class JsonSchema:
    """Checks chunks against a JSON Schema; built once for many chunks."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema.validators import Draft202012Validator, validator_for  # type: ignore[import-untyped]  # it ships no types
        from referencing import Registry

        kind = validator_for(schema, default=Draft202012Validator)
        self._schema = schema
        self._validator = kind(schema, registry=Registry(), format_checker=kind.FORMAT_CHECKER)

    def check(self, table: pa.Table, extras: pa.StringArray | None) -> list[Violation]:
        """All violations, by row."""
        columns = {name: json_values(_with_floats(table[name])) for name in table.column_names}
        texts = {name: json_values(table[name]) for name in table.column_names if holds_decimal(table[name].type)}
        found: list[Violation] = []
        for row in range(table.num_rows):
            record = {name: values[row] for name, values in columns.items()}
            if extras is not None and extras[row].is_valid:
                record.update(orjson.loads(extras[row].as_py()))
            errors = self._errors(_present(record, self._schema))
            if errors and texts:
                record.update((name, values[row]) for name, values in texts.items() if values[row] is not None)
                errors = self._errors(_present(record, self._schema)) and errors
            found.extend(Violation(row=row, path=path, reason=reason) for path, reason in errors)
        return found

    def _errors(self, record: Any) -> list[tuple[str, str]]:
        from referencing.exceptions import Unresolvable

        try:
            return [told for error in self._validator.iter_errors(record) for told in _told(error)]
        except Unresolvable as error:
            raise TransformError(
                f"the declared schema refers to {error.ref}, which it does not hold",
                hint="put what it refers to under its own $defs: other documents are not fetched",
            ) from None


def _with_floats(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(_floats_in(column.type), safe=False) if holds_decimal(column.type) else column


def _floats_in(kind: pa.DataType) -> pa.DataType:
    """The type with floats for decimals, except in maps."""
    if pt.is_struct(kind):
        return pa.struct([field.with_type(_floats_in(field.type)) for field in kind])
    if pt.is_list(kind):
        return pa.list_(kind.value_field.with_type(_floats_in(kind.value_type)))
    return pa.float64() if pt.is_decimal(kind) else kind


def _present(value: Any, schema: Any) -> Any:
    """The value without nulls that stand for absent fields."""
    if isinstance(value, dict):
        properties = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
        return {
            name: _present(item, properties.get(name, {}))
            for name, item in value.items()
            if item is not None or _takes_null(properties.get(name))
        }
    if isinstance(value, list):
        inner = schema.get("items", {}) if isinstance(schema, Mapping) else {}
        return [_present(item, inner) for item in value]
    return value


def _takes_null(schema: Any) -> bool:
    kinds = schema.get("type") if isinstance(schema, Mapping) else None
    return kinds == "null" or (isinstance(kinds, list) and "null" in kinds)


def _told(error: Any) -> Iterator[tuple[str, str]]:
    path = _path(error.absolute_path)
    if error.validator == "required" and isinstance(error.instance, dict):
        missing = [name for name in error.validator_value if name not in error.instance]
        for name in missing[:1]:
            yield f"{path}.{name}".lstrip("."), "it is required"
        return
    wanted = error.validator_value
    shown = f" {wanted}" if isinstance(wanted, str | int | float) and len(str(wanted)) <= _MAX_SHOWN else ""
    yield path or "record", f"it breaks {error.validator}{shown}"


def _path(parts: Sequence[Any]) -> str:
    text = ""
    for part in parts:
        text += "[]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


class ArrowSchema:
    """Checks chunks against Arrow types."""

    def __init__(self, fields: Sequence[pa.Field]) -> None:
        self._fields = {item.name: item for item in fields}

    def check(self, table: pa.Table, extras: pa.StringArray | None) -> list[Violation]:
        """All violations, by row."""
        found: list[Violation] = []
        apart: dict[str, dict[int, Any]] = {}
        for row, text in enumerate(() if extras is None else extras.to_pylist()):
            for name, value in orjson.loads(text).items() if text else ():
                apart.setdefault(name, {})[row] = value
        for name in dict.fromkeys([*self._fields, *table.column_names, *apart]):
            column = table[name].combine_chunks() if name in table.column_names else pa.nulls(table.num_rows)
            array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            found.extend(self._column(name, array, apart.get(name, {})))
        return sorted(found, key=lambda violation: violation.row)

    def _column(self, name: str, array: pa.Array, apart: Mapping[int, Any]) -> Iterator[Violation]:
        item = self._fields.get(name)
        if item is None:
            rows = {*pc.indices_nonzero(array.is_valid()).to_pylist(), *apart}
            yield from (Violation(row=row, path=name, reason="no such column is declared") for row in sorted(rows))
            return
        misfits = convert(array, item.type).misfits
        wrong = set() if misfits is None else set(pc.indices_nonzero(misfits).to_pylist())
        yield from (Violation(row=row, path=name, reason=f"it does not fit {item.type}") for row in {*wrong, *apart})
        if not item.nullable:
            absent = set(pc.indices_nonzero(array.is_null()).to_pylist()) - set(apart)
            yield from (Violation(row=row, path=name, reason="it must be there") for row in sorted(absent))
