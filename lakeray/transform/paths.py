"""What lies at the end of a path into nested values."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.spec.paths import Step
from lakeray.transform.coercions import convert
from lakeray.transform.delta_types import is_list


class Absent(Exception):
    """A type has nothing under ``step``; ``names`` are what it has."""

    def __init__(self, step: Step, kind: pa.DataType, names: Sequence[str]) -> None:
        super().__init__(step, kind, names)
        self.step, self.kind, self.names = step, kind, list(names)


def value_at(values: pa.Array, steps: Sequence[Step]) -> pa.Array:
    """The value of each row at the end of ``steps``, null where a row has none there.

    A step is the name of a struct's field or a map's key, or the place of a list's element, counted from 0. Raises
    Absent where the type has no such place in any row.
    """
    for step in steps:
        values = _under(values, step)
    return values


def _under(values: pa.Array, step: Step) -> pa.Array:
    kind = values.type
    if pt.is_null(kind):
        return values
    if pt.is_struct(kind) and isinstance(step, str):
        place = kind.get_field_index(step)
        if place < 0:
            raise Absent(step, kind, kind.names)
        return pc.struct_field(values, [place])
    if pt.is_map(kind) and isinstance(step, str):
        key = convert(pa.array([step]), kind.key_type).values[0]
        return pc.map_lookup(values, key, "last") if key.is_valid else pa.nulls(len(values), kind.item_type)
    if is_list(kind) and isinstance(step, int):
        return _element(values, step)
    raise Absent(step, kind, [])


def _element(lists: pa.Array, place: int) -> pa.Array:
    if not pt.is_list(lists.type):
        lists = lists.cast(pa.list_(lists.type.value_type))
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    starts = lists.offsets.slice(0, len(lists))
    places = pc.if_else(pc.greater(lengths, place), pc.add(starts, place), pa.scalar(None, pa.int32()))
    return lists.values.take(places)
