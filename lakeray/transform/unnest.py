"""Every element of a list becomes one row that says whose it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.errors import TransformError
from lakeray.spec.unnest import Unnest
from lakeray.spec.wrong import nearest
from lakeray.transform.delta_types import is_list

ROWS_AT_ONCE = 65_536


def child_schema(schema: pa.Schema, unnest: Unnest, *, table: str) -> pa.Schema:
    """The columns of the child ``table`` for rows of ``schema``: the key's, the position, the elements'.

    Where ``schema`` has no such list yet, the key's and the position alone. Raises TransformError for a column that is
    no list and a key column that there is not.
    """
    fields = [*(_key_field(schema, name, table) for name in unnest.key), pa.field(unnest.position, pa.int64())]
    place = schema.get_field_index(unnest.from_)
    if place >= 0:
        fields += [pa.field(name, kind) for name, kind in _element_columns(schema.field(place).type, unnest, table)]
    return pa.schema(fields)


def _key_field(schema: pa.Schema, name: str, table: str) -> pa.Field:
    place = schema.get_field_index(name)
    if place < 0:
        near = nearest(name, schema.names)
        raise TransformError(
            f"the key column {name!r} of unnest.{table} is no column of the step's rows",
            hint=f"did you mean {near!r}?" if near else f"columns: {', '.join(schema.names)}",
        )
    return pa.field(name, schema.field(place).type)


def _element_columns(kind: pa.DataType, unnest: Unnest, table: str) -> list[tuple[str, pa.DataType]]:
    if pt.is_null(kind):
        return []
    if not is_list(kind):
        raise TransformError(
            f"the column {unnest.from_!r} of unnest.{table} holds no lists but {kind}",
            hint="name a column of lists; `mapping` digs one out of nested data",
        )
    if pt.is_null(kind.value_type):
        return []
    if pt.is_struct(kind.value_type):
        return [(_column_of(item.name, unnest), item.type) for item in kind.value_type]
    return [(unnest.value, kind.value_type)]


def _reserved(unnest: Unnest) -> set[str]:
    return {name.casefold() for name in (*unnest.key, unnest.position)}


def _column_of(field: str, unnest: Unnest) -> str:
    """What a struct's field is called in the child: each name by itself, whatever other fields there are.

    A reserved name moves on to the list's name and `_` before it, and whatever is called so already one further, as
    in escaping: no two fields meet.
    """
    for own in sorted(_reserved(unnest), key=len):
        if _leads_to(field, own, unnest):
            field = f"{unnest.from_}_{field}"
    return field


def _field_of(column: str, unnest: Unnest) -> str:
    """The inverse of ``_column_of``."""
    for own in sorted(_reserved(unnest), key=len, reverse=True):
        if column.casefold() != own and _leads_to(column, own, unnest):
            column = column.removeprefix(f"{unnest.from_}_")
    return column


def _leads_to(name: str, own: str, unnest: Unnest) -> bool:
    """Whether ``name`` is the reserved name ``own`` with the list's name and `_` any number of times before it."""
    prefix, folded = f"{unnest.from_}_".casefold(), name.casefold()
    times = max(0, len(folded) - len(own)) // len(prefix)
    return folded == prefix * times + own


def list_type(child: pa.Schema, unnest: Unnest, *, structs: bool | None) -> pa.DataType | None:
    """The type of lists whose elements the columns of the ``child`` table hold; None when it has none for them yet.

    A table with the column ``value`` alone holds scalars, unless the source is known to have ``structs``.
    """
    own = _reserved(unnest)
    fields = [item for item in child if item.name.casefold() not in own]
    if not fields:
        return None
    if [item.name for item in fields] == [unnest.value] and not structs:
        return pa.list_(fields[0].type)
    return pa.list_(pa.struct([pa.field(_field_of(item.name, unnest), item.type) for item in fields]))


def child_rows(table: pa.Table, unnest: Unnest, *, name: str) -> Iterator[pa.Table]:
    """The rows of the child for the rows of ``table``, at most ``ROWS_AT_ONCE`` together."""
    if table.schema.get_field_index(unnest.from_) < 0:
        return
    schema = child_schema(table.schema, unnest, table=name)
    for batch in table.select([*unnest.key, unnest.from_]).to_batches():
        lists = batch.column(unnest.from_)
        parents, positions = _places(lists)
        elements = lists.flatten()
        for start in range(0, len(parents), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            keys = [batch.column(key).take(parents[part]) for key in unnest.key]
            columns = [*keys, positions[part], *_columns(elements[part])]
            yield pa.Table.from_arrays(columns, schema=schema)


def _places(lists: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Of each element the index of its list, and where in it the element stands.

    Not list_parent_indices, which counts what may lie behind a null list, where flatten leaves it out.
    """
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0), np.int64)
    parents = np.repeat(np.arange(len(lists), dtype=np.int64), lengths)
    starts = np.cumsum(lengths) - lengths
    return pa.array(parents), pa.array(np.arange(len(parents), dtype=np.int64) - starts[parents])


def _columns(elements: pa.Array) -> Sequence[pa.Array]:
    return elements.flatten() if pt.is_struct(elements.type) else [elements]


def without_key(table: pa.Table, unnest: Mapping[str, Unnest]) -> Iterator[tuple[int, str, str]]:
    """The rows whose elements could not say whose they are: row index, the column that is null, the reason."""
    for name, said in unnest.items():
        if table.schema.get_field_index(said.from_) < 0 or not is_list(table.schema.field(said.from_).type):
            continue
        full = pc.fill_null(pc.greater(pc.list_value_length(table[said.from_]), 0), fill_value=False)
        for key in said.key:
            absent = table.schema.get_field_index(key) < 0
            null = full if absent else pc.and_(full, pc.is_null(table[key]))
            for row in pc.indices_nonzero(null).to_pylist():
                yield row, key, f"null, so that its rows of {name} would belong to none"


def count_elements(table: pa.Table, unnest: Unnest) -> int:
    """How many rows the child gets of ``table``."""
    if table.schema.get_field_index(unnest.from_) < 0:
        return 0
    return int(pc.sum(pc.list_value_length(table[unnest.from_])).as_py() or 0)
