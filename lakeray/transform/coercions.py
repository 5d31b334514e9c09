"""The one table of how a value of any Arrow type becomes a value of a column's type.

A value *fits* when the column's type can say the same thing. What does not fit is null in the column and marked, so
that the caller can keep the original: nothing is rounded, cut or guessed in silence. The one documented cut is time
below a microsecond.

================  ==================================================================================================
into              fits
================  ==================================================================================================
int8 to int64     integers in range; floats and decimals without a fraction; booleans do not; text ``[+-]digits``;
                  into int64, durations as microseconds
float32, float64  integers that the float holds exactly; a wider float only exactly; decimals that the float's
                  shortest text gives back (0.10 is 0.1); text as a decimal number, an exponent allowed, ``nan``,
                  ``inf``, ``infinity`` in any case; text is rounded to the nearest float, one beyond the largest
                  float does not fit
decimal(p, s)     integers, decimals that need no rounding; floats by their shortest text (12.34 is 12.34); text as
                  for floats, without rounding
bool              0 and 1; text ``true``, ``false``, ``1``, ``0`` in any case
date              timestamps at midnight UTC; text ``YYYY-MM-DD``, years 0001 to 9999
timestamp         dates (midnight UTC); timestamps of any unit and zone, a naive one is taken as UTC, what is below a
                  microsecond is cut towards the past and counted; text ``YYYY-MM-DD[T| ]HH[:MM[:SS[.fraction]]]``
                  or the date alone, then nothing (UTC), ``Z``, ``+HH``, ``+HHMM`` or ``+HH:MM``; numbers do not fit:
                  their unit is unknown
string            everything: numbers in their shortest form, ``true``/``false``, dates and times in ISO 8601 (UTC
                  with ``Z``), bytes that are UTF-8, structs, lists and maps as JSON
binary            text as UTF-8
list              lists whose values fit; otherwise the value keeps those that do (or is null, on demand), and the
                  whole is marked
struct            structs, field by field by name; a field that the column lacks marks the whole unless it is null
map               maps whose keys and values fit
================  ==================================================================================================

Text for any type but string may have blanks around it. An empty text fits string and binary alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.transform import from_text, numbers
from lakeray.transform.delta_types import is_binary, is_list, is_text
from lakeray.transform.moments import to_date, to_timestamp
from lakeray.transform.record import json_text, json_values


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """``values`` in the type asked for, null where ``misfits`` is true; ``misfits`` is None when every value fitted.

    ``unknown`` names the struct fields, dotted, that held values and that the type lacks. ``cut`` counts times that
    lost what is below a microsecond.
    """

    values: pa.Array
    misfits: pa.BooleanArray | None = None
    unknown: frozenset[str] = frozenset()
    cut: int = 0


def convert(  # noqa: PLR0911  a table of types
    array: pa.Array, target: pa.DataType, *, keep_unknown: bool = True, whole_lists: bool = False
) -> Converted:
    """``array`` as ``target`` by the table above; never raises for a value.

    Without ``keep_unknown``, a struct field that the type lacks does not mark the value: it is named in ``unknown``
    and left out. With ``whole_lists``, a list that holds what does not fit is null.
    """
    kind = array.type
    if kind == target:
        return Converted(values=array)
    if isinstance(kind, pa.BaseExtensionType):
        return convert(array.storage, target, keep_unknown=keep_unknown, whole_lists=whole_lists)
    if pt.is_dictionary(kind):
        return convert(array.cast(kind.value_type), target, keep_unknown=keep_unknown, whole_lists=whole_lists)
    if pt.is_run_end_encoded(kind):
        return convert(pc.run_end_decode(array), target, keep_unknown=keep_unknown, whole_lists=whole_lists)
    if pt.is_null(kind):
        return Converted(values=pa.nulls(len(array), target))
    if pt.is_nested(target):
        return _nested(array, target, keep_unknown, whole_lists)
    return _marked(array, _scalar(array, target))


def _marked(array: pa.Array, values: pa.Array | Converted) -> Converted:
    if isinstance(values, Converted):
        return values
    if values.null_count == array.null_count:
        return Converted(values=values)
    return Converted(values=values, misfits=pc.and_not(array.is_valid(), values.is_valid()))


def _scalar(array: pa.Array, target: pa.DataType) -> pa.Array | Converted:  # noqa: PLR0911  a table of types
    if is_text(target):
        return _to_text(array, target)
    if is_binary(target):
        return _to_binary(array, target)
    if is_text(array.type):
        return from_text.parse(array, target) if not pt.is_timestamp(target) else _timestamp(array, target)
    if pt.is_date(target):
        return to_date(array, target)
    if pt.is_timestamp(target):
        return _timestamp(array, target)
    if pt.is_integer(target) or pt.is_floating(target) or pt.is_decimal(target) or pt.is_boolean(target):
        return numbers.to_number(array, target)
    return pa.nulls(len(array), target)


def _timestamp(array: pa.Array, target: pa.DataType) -> Converted:
    values, cut = to_timestamp(array, target)
    marked = _marked(array, values)
    return Converted(values=marked.values, misfits=marked.misfits, cut=cut)


def _to_text(array: pa.Array, target: pa.DataType) -> pa.Array:
    kind = array.type
    if is_text(kind) or pt.is_integer(kind) or pt.is_boolean(kind) or (pt.is_decimal(kind) and kind.scale >= 0):
        return array.cast(target)
    if is_binary(kind):
        return _utf8(array, target)
    values = json_values(array)
    texts = [value if value is None or isinstance(value, str) else json_text(value) for value in values]
    return pa.array(texts, target)


def _utf8(array: pa.Array, target: pa.DataType) -> pa.Array:
    try:
        return array.cast(pa.binary()).cast(target)
    except pa.ArrowInvalid:
        return pa.array([_decoded(value) for value in array.to_pylist()], target)


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _to_binary(array: pa.Array, target: pa.DataType) -> pa.Array:
    if is_text(array.type) or is_binary(array.type):
        try:
            return array.cast(pa.binary()).cast(target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    return pa.nulls(len(array), target)


def _nested(array: pa.Array, target: pa.DataType, keep_unknown: bool, whole_lists: bool) -> Converted:
    kind = array.type
    if pt.is_struct(kind) and pt.is_struct(target):
        return _struct(array, target, keep_unknown, whole_lists)
    if is_list(kind) and is_list(target):
        return _list(array, target, keep_unknown, whole_lists)
    if pt.is_map(kind) and pt.is_map(target):
        return _map(array, target, keep_unknown, whole_lists)
    return Converted(values=pa.nulls(len(array), target), misfits=_or_none(array.is_valid()))


def _or_none(misfits: pa.BooleanArray | None) -> pa.BooleanArray | None:
    return misfits if misfits is not None and pc.any(misfits).as_py() else None


def _either(first: pa.BooleanArray | None, second: pa.BooleanArray | None) -> pa.BooleanArray | None:
    if first is None or second is None:
        return second if first is None else first
    return pc.or_(first, second)


def _struct(array: pa.Array, target: pa.DataType, keep_unknown: bool, whole_lists: bool) -> Converted:
    names = array.type.names
    children = dict(zip(names, array.flatten(), strict=True))
    misfits: pa.BooleanArray | None = None
    unknown: set[str] = set()
    cut = 0
    fields: list[pa.Array] = []
    for field in target:
        child = children.pop(field.name, None)
        if child is None:
            fields.append(pa.nulls(len(array), field.type))
            continue
        done = convert(child, field.type, keep_unknown=keep_unknown, whole_lists=whole_lists)
        fields.append(done.values)
        misfits, cut = _either(misfits, done.misfits), cut + done.cut
        unknown |= {f"{field.name}.{name}" for name in done.unknown}
    for name, child in children.items():
        if child.null_count < len(child):
            unknown.add(name)
            misfits = _either(misfits, child.is_valid() if keep_unknown else None)
    mask = array.is_null() if array.null_count else None
    values = pa.StructArray.from_arrays(fields, fields=list(target), mask=mask)
    return Converted(values=values, misfits=_or_none(misfits), unknown=frozenset(unknown), cut=cut)


def _list(array: pa.Array, target: pa.DataType, keep_unknown: bool, whole_lists: bool) -> Converted:
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    flat = array.flatten()
    done = convert(flat, target.value_type, keep_unknown=keep_unknown, whole_lists=whole_lists)
    offsets = _offsets(lengths)
    misfits = _rows_of(done.misfits, offsets)
    null = _either(array.is_null() if array.null_count else None, misfits if whole_lists else None)
    if not pt.is_list(target):
        values = pa.ListArray.from_arrays(offsets, done.values, mask=null).cast(target)
    else:
        values = pa.ListArray.from_arrays(offsets, done.values, type=target, mask=null)
    return Converted(values=values, misfits=misfits, unknown=done.unknown, cut=done.cut)


def _offsets(lengths: pa.Array) -> pa.Int32Array:
    sums = pc.cumulative_sum(lengths.cast(pa.int64()))
    return pa.concat_arrays([pa.array([0], pa.int64()), sums]).cast(pa.int32())


def _rows_of(misfits: pa.BooleanArray | None, offsets: pa.Int32Array) -> pa.BooleanArray | None:
    """Which lists hold at least one of the marked values."""
    if misfits is None:
        return None
    running = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(misfits.cast(pa.int64()))])
    ends, starts = running.take(offsets[1:]), running.take(offsets[:-1])
    return _or_none(pc.greater(ends, starts))


def _map(array: pa.Array, target: pa.DataType, keep_unknown: bool, whole_lists: bool) -> Converted:
    kind = array.type
    pair = pa.struct([pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)])
    return _map_of(array.cast(pa.list_(pair)), target, keep_unknown, whole_lists)


def _map_of(lists: pa.ListArray, target: pa.DataType, keep_unknown: bool, whole_lists: bool) -> Converted:
    """Maps from lists of pairs; one whose key does not fit is null as a whole, because a map has no null keys."""
    flat = lists.flatten()
    offsets = _offsets(pc.fill_null(pc.list_value_length(lists), 0))
    keys = convert(flat.field(0), target.key_type)
    bad = _rows_of(keys.misfits, offsets)
    if bad is not None:
        kept = _map_of(pc.if_else(bad, pa.scalar(None, lists.type), lists), target, keep_unknown, whole_lists)
        return Converted(values=kept.values, misfits=_either(kept.misfits, bad), unknown=kept.unknown, cut=kept.cut)
    items = convert(flat.field(1), target.item_type, keep_unknown=keep_unknown, whole_lists=whole_lists)
    mask = lists.is_null() if lists.null_count else None
    values = pa.MapArray.from_arrays(offsets, keys.values, items.values, type=target, mask=mask)
    misfits = _rows_of(items.misfits, offsets)
    return Converted(values=values, misfits=misfits, unknown=items.unknown, cut=keys.cut + items.cut)
