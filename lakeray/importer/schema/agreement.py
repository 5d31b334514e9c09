"""One schema out of those that the tasks of a batch ended with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.types as pt

from lakeray.transform.delta_types import is_list
from lakeray.transform.growth import extends
from lakeray.transform.infer import merge_types


def merged_schema(known: pa.Schema, found: Sequence[pa.Schema]) -> pa.Schema | None:
    """``known`` with what all tasks added to it: new columns, new nested fields, wider types, in types that hold all
    their values (text where nothing else does). None when nobody added anything.

    Names that differ by case alone are one column to Delta: the first spelling counts.
    """
    columns = [
        item.with_type(
            _joined(item.type, [schema.field(item.name).type for schema in found if item.name in schema.names])
        )
        for item in known
    ]
    merged = pa.schema([*columns, *_new(known, found)])
    return None if merged.equals(known) else merged


def _new(known: Iterable[pa.Field], found: Iterable[Iterable[pa.Field]]) -> list[pa.Field]:
    """The fields that ``known`` lacks."""
    names = {item.name for item in known}
    spelling = {name.casefold(): name for name in names}
    types: dict[str, pa.DataType] = {}
    for schema in found:
        for item in schema:
            first = spelling.setdefault(item.name.casefold(), item.name)
            if item.name in names or first != item.name:
                continue
            earlier = types.get(item.name)
            types[item.name] = item.type if earlier is None else (merge_types(earlier, item.type) or pa.string())
    return [pa.field(name, kind) for name, kind in types.items()]


def _joined(known: pa.DataType, found: Sequence[pa.DataType]) -> pa.DataType:
    """The type of a known column after all tasks."""
    moved = [kind for kind in found if kind != known]
    if not moved:
        return known
    if pt.is_struct(known):
        fields = [
            field.with_type(_joined(field.type, [kind.field(field.name).type for kind in moved])) for field in known
        ]
        return pa.struct([*fields, *_new(known, moved)])
    if is_list(known):
        return pa.list_(known.value_field.with_type(_joined(known.value_type, [kind.value_type for kind in moved])))
    joined = moved[0]
    for kind in moved[1:]:
        joined = merge_types(joined, kind) or joined
    return joined


def agrees(schema: pa.Schema, merged: pa.Schema) -> bool:
    """Whether rows in ``schema`` can stand in a table of the ``merged`` one as they are."""
    return all(
        merged.get_field_index(item.name) >= 0 and extends(merged.field(item.name).type, item.type) for item in schema
    )
