"""Arrow schemas are brought into the types that a Delta table can hold here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pyarrow as pa

from lakeray.errors import UnsupportedTable

_KEPT = (
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()),
    *(pa.bool_(), pa.string(), pa.binary(), pa.date32()),
)
_STORED_AS: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pa.types.is_uint8, pa.int16()),
    (pa.types.is_uint16, pa.int32()),
    (pa.types.is_uint32, pa.int64()),
    (pa.types.is_uint64, pa.decimal128(20, 0)),
    (pa.types.is_null, pa.string()),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_large_binary, pa.binary()),
    (pa.types.is_binary_view, pa.binary()),
    (pa.types.is_fixed_size_binary, pa.binary()),
    (pa.types.is_date, pa.date32()),
)


def delta_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with every type as Delta stores it, losing no value.

    Strings and binaries become ``string`` and ``binary``, lists ``list``, dictionaries their values, unsigned
    integers the next wider type, timestamps microseconds (in UTC where they have a zone), a column of nulls
    ``string``. Raises UnsupportedTable for types without a counterpart (time, duration, interval, float16,
    decimal256, union).
    """
    names = [name.lower() for name in schema.names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UnsupportedTable(
            f"two columns are both called {twice[0]!r}",
            hint="Delta's column names differ in more than upper and lower case",
        )
    return pa.schema([_field(column, column.name) for column in schema])


def _field(column: pa.Field, path: str) -> pa.Field:
    return pa.field(column.name, delta_type(column.type, path), nullable=column.nullable, metadata=column.metadata)


def delta_type(kind: pa.DataType, path: str = "a column") -> pa.DataType:
    """One type, as in ``delta_schema``; ``path`` names the column in an error."""
    simple = _simple(kind)
    if simple is not None:
        return simple
    if pa.types.is_dictionary(kind):
        return delta_type(kind.value_type, path)
    if pa.types.is_struct(kind):
        return pa.struct([_field(child, f"{path}.{child.name}") for child in kind])
    if pa.types.is_map(kind):
        return pa.map_(delta_type(kind.key_type, f"{path}.key"), _child(kind.item_field, f"{path}.value"))
    if _is_list(kind):
        return pa.list_(_child(kind.value_field, f"{path}.element", name="element"))
    raise UnsupportedTable(
        f"the column {path!r} has the type {kind}, which a Delta table cannot hold",
        hint="convert it in `select` or by a schema hint, for instance to string, int64 or timestamp",
    )


def _child(child: pa.Field, path: str, name: str | None = None) -> pa.Field:
    return pa.field(name or child.name, delta_type(child.type, path), nullable=child.nullable)


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    return any(test(kind) for test in (*tests, pa.types.is_large_list_view))


def _simple(kind: pa.DataType) -> pa.DataType | None:
    if kind in _KEPT:
        return kind
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if pa.types.is_decimal(kind) and kind.bit_width < 256 and 0 <= kind.scale <= kind.precision:  # noqa: PLR2004 - bits
        return pa.decimal128(kind.precision, kind.scale)
    return next((stored for fits, stored in _STORED_AS if fits(kind)), None)


def same_shape(one: pa.DataType, other: pa.DataType) -> bool:
    """Equal but for nullability and the names of list elements and map entries."""
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        return [c.name for c in one] == [c.name for c in other] and all(
            same_shape(a.type, b.type) for a, b in zip(one, other, strict=True)
        )
    if pa.types.is_list(one) and pa.types.is_list(other):
        return same_shape(one.value_type, other.value_type)
    if pa.types.is_map(one) and pa.types.is_map(other):
        return same_shape(one.key_type, other.key_type) and same_shape(one.item_type, other.item_type)
    return bool(one == other)


Fit = Literal["covered", "grows", "clashes"]


def fit(known: pa.DataType, wanted: pa.DataType) -> Fit:
    """Whether a column of type ``known`` holds all of ``wanted`` (nullability apart), would after it got nested fields
    (in structs and lists of them), or never does.
    """
    if pa.types.is_struct(known) and pa.types.is_struct(wanted):
        names = {child.name.lower(): child.name for child in known}
        parts: list[Fit] = []
        for child in wanted:
            place = known.get_field_index(child.name)
            if place >= 0:
                parts.append(fit(known.field(place).type, child.type))
            else:
                parts.append("clashes" if child.name.lower() in names else "grows")
        return "clashes" if "clashes" in parts else "grows" if "grows" in parts else "covered"
    if pa.types.is_list(known) and pa.types.is_list(wanted):
        return fit(known.value_type, wanted.value_type)
    return "covered" if same_shape(known, wanted) else "clashes"
