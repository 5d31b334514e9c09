"""Names of columns and nested fields by one rule, so that every object calls the same thing the same.

``snake_case`` of a name, in this order:

1. accents are taken off letters (NFKD without combining marks); letters of other scripts stay,
2. words are parted where a capital follows a small letter or a digit, or begins a word behind other capitals
   (``orderId`` and ``HTTPServer`` are ``order_id`` and ``http_server``),
3. small letters; each run of other characters than letters and digits is one ``_``, at the ends none,
4. ``_`` in front of a digit; a name of which nothing is left is ``x`` and eight hexadecimal digits of its SHA-256.

The new name depends on the old one alone, so it is the same in every batch and every order of objects. Two names of
one record that become the same are one column: of their values the first that is not null counts, in the order of the
old spellings; the others are handed on under their old names (nested ones: the whole value), so that none is lost.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.transform.delta_types import is_list
from lakeray.transform.record import json_text, json_values

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OTHER = re.compile(r"[\W_]+")

Renamed = tuple[str, str, str]
"""Path of the column or field by its new name, its old name, its new name."""


@lru_cache(maxsize=65_536)
def snake_case(name: str) -> str:
    """The name by the rule above."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    words = _OTHER.sub("_", _WORDS.sub("_", plain)).strip("_").lower()
    if not words:
        return f"x{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return f"_{words}" if words[0].isdigit() else words


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """A chunk by its new names. ``extras`` are as a reader gives them, in the new names too; ``renamed`` says which
    names changed.
    """

    table: pa.Table
    extras: pa.StringArray | None
    renamed: set[Renamed] = field(default_factory=set)


def normalised(table: pa.Table, extras: pa.StringArray | None = None) -> Named:
    """``table`` and ``extras`` by ``snake_case`` names, at every depth but for the keys of maps."""
    renamed: set[Renamed] = set()
    left: dict[int, dict[str, Any]] = {}
    if extras is not None:
        for row in pc.indices_nonzero(extras.is_valid()).to_pylist():
            left[row] = _keys(orjson.loads(extras[row].as_py()))
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for new, names in _groups(table.column_names):
        filled = [name for name in names if table[name].null_count < table.num_rows]
        first, *others = filled or names[:1]
        values = _column(table[first], first, left, renamed)
        for name in names:
            if name != new:
                renamed.add((new, name, new))
        for name in others:
            values = _coalesced(values, _column(table[name], name, left, renamed), name, new, left)
        columns[new] = values
    named = pa.table(columns) if columns else table
    return Named(table=named, extras=_texts(left, table.num_rows), renamed=renamed)


def _groups(names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """New names in the order in which they come first, each with its old ones in the order of their spelling."""
    place: dict[str, int] = {}
    for name in names:
        place.setdefault(snake_case(name), len(place))
    ordered = sorted(names, key=lambda name: (place[snake_case(name)], name))
    for new, group in groupby(ordered, key=snake_case):
        yield new, list(group)


def _column(
    column: pa.ChunkedArray, name: str, left: dict[int, dict[str, Any]], renamed: set[Renamed]
) -> pa.Array | pa.ChunkedArray:
    if not pt.is_nested(column.type):
        return column
    whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values, clash = _nested(whole, snake_case(name), renamed)
    if clash is not None:
        rows = pc.indices_nonzero(clash)
        for row, value in zip(rows.to_pylist(), json_values(whole.take(rows)), strict=True):
            _keep(left, row, (snake_case(name), name), value)
    return values


def _keep(left: dict[int, dict[str, Any]], row: int, names: tuple[str, ...], value: Any) -> None:
    """Hand a value on under the first of the names that is free."""
    taken = left.setdefault(row, {})
    key = next((name for name in names if name not in taken), names[-1])
    while key in taken:
        key += "_"
    taken[key] = value


def _coalesced(
    values: pa.Array | pa.ChunkedArray,
    others: pa.Array | pa.ChunkedArray,
    name: str,
    new: str,
    left: dict[int, dict[str, Any]],
) -> pa.Array | pa.ChunkedArray:
    """``values`` with those of ``others`` where they are null; the rest of ``others`` is handed on."""
    filled = set(pc.indices_nonzero(values.is_valid()).to_pylist())
    filled |= {row for row, names in left.items() if new in names}
    rows = pc.indices_nonzero(others.is_valid()).to_pylist()
    same = values.type == others.type
    behind = [row for row in rows if row in filled or not same]
    for row, value in zip(behind, json_values(others.take(pa.array(behind, pa.int64()))), strict=True):
        _keep(left, row, (name,) if row in filled else (new, name), value)
    if not same:
        return values
    gone = pa.array([row in filled for row in range(len(others))])
    return pc.coalesce(values, pc.if_else(gone, pa.scalar(None, others.type), others))


def _nested(array: pa.Array, path: str, renamed: set[Renamed]) -> tuple[pa.Array, pa.BooleanArray | None]:
    """The values by new names, and which of them lost something to a clash."""
    kind = array.type
    if pt.is_struct(kind):
        return _struct(array, path, renamed)
    if pt.is_map(kind):
        keys, items = array.keys, array.items
        if array.offset or array.null_count:
            return array, None  # rare: readers make no such maps; their fields keep their names
        values, clash = _nested(items, f"{path}{{}}", renamed)
        return pa.MapArray.from_arrays(array.offsets, keys, values), _lists_of(clash, array.offsets)
    if is_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        sums = pc.cumulative_sum(lengths.cast(pa.int64()))
        offsets = pa.concat_arrays([pa.array([0], pa.int64()), sums]).cast(pa.int32())
        values, clash = _nested(array.flatten(), f"{path}[]", renamed)
        mask = array.is_null() if array.null_count else None
        return pa.ListArray.from_arrays(offsets, values, mask=mask), _lists_of(clash, offsets)
    return array, None


def _lists_of(clash: pa.BooleanArray | None, offsets: pa.Int32Array) -> pa.BooleanArray | None:
    """Which lists hold a marked value."""
    if clash is None:
        return None
    running = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(clash.cast(pa.int64()))])
    return pc.greater(running.take(offsets[1:]), running.take(offsets[:-1]))


def _struct(array: pa.Array, path: str, renamed: set[Renamed]) -> tuple[pa.Array, pa.BooleanArray | None]:
    children: dict[str, pa.Array] = {}
    for name, child in zip(array.type.names, array.flatten(), strict=True):
        children.setdefault(name, child)
    fields: dict[str, pa.Array] = {}
    clash: pa.BooleanArray | None = None
    for new, names in _groups(list(children)):
        place = f"{path}.{new}"
        values: pa.Array | None = None
        for name in names:
            if name != new:
                renamed.add((place, name, new))
            child, lost = _nested(children[name], place, renamed)
            if values is None or values.null_count == len(values):
                values = child
            elif values.type == child.type:
                lost = _either(lost, pc.and_(values.is_valid(), child.is_valid()))
                values = pc.coalesce(values, child)
            else:
                lost = _either(lost, child.is_valid())
            clash = _either(clash, lost)
        fields[new] = values
    mask = array.is_null() if array.null_count else None
    found = pa.StructArray.from_arrays(list(fields.values()), names=list(fields), mask=mask)
    return found, clash if clash is not None and pc.any(clash).as_py() else None


def _either(one: pa.BooleanArray | None, other: pa.BooleanArray | None) -> pa.BooleanArray | None:
    if one is None or other is None:
        return other if one is None else one
    return pc.or_(one, other)


def _keys(value: Any) -> Any:
    """A JSON value by new names; of two that become one, the later keeps its old name."""
    if isinstance(value, list):
        return [_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for name in sorted(value):
        new = snake_case(name)
        found[name if found.get(new) is not None else new] = _keys(value[name])
    return found


def _texts(left: dict[int, dict[str, Any]], count: int) -> pa.StringArray | None:
    if not left:
        return None
    return pa.array([json_text(left[row]) if row in left else None for row in range(count)], pa.string())
