"""Types that hold more than a known one and everything that it holds."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.transform.coercions import convert
from lakeray.transform.delta_types import TIMESTAMP, delta_type, is_list, is_text
from lakeray.transform.infer import merge_types

_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_MAX_PRECISION = 38


def grown(known: pa.DataType, found: pa.DataType, *, maps: bool = False) -> pa.DataType:
    """``known`` with the struct fields that only ``found`` has, behind its own, at every depth, in ``maps`` on demand.

    (delta-rs 1.6 cannot read a map from a file whose entries lack a field, so that growth in a map is no less than a
    change of type.) A field whose name differs from a known one by case alone, cannot be stored, or has no type yet is
    left out.
    """
    if pt.is_struct(known) and pt.is_struct(found):
        return _grown_struct(known, found, maps=maps)
    if is_list(known) and is_list(found):
        return _relisted(known, grown(known.value_type, found.value_type, maps=maps))
    if maps and pt.is_map(known) and pt.is_map(found):
        return _remapped(known, grown(known.item_type, found.item_type, maps=True))
    return known


def _relisted(known: pa.DataType, item: pa.DataType) -> pa.DataType:
    return known if item == known.value_type else pa.list_(known.value_field.with_type(item))


def _remapped(known: pa.DataType, item: pa.DataType) -> pa.DataType:
    return known if item == known.item_type else pa.map_(known.key_type, known.item_field.with_type(item))


def _grown_struct(known: pa.DataType, found: pa.DataType, *, maps: bool) -> pa.DataType:
    others: dict[str, pa.Field] = {}
    for field in found:
        others.setdefault(field.name, field)
    fields = []
    for field in known:
        other = others.pop(field.name, None)
        fields.append(field if other is None else field.with_type(grown(field.type, other.type, maps=maps)))
    taken = {field.name.casefold() for field in fields}
    for name, other in others.items():
        kind = delta_type(other.type)
        if kind is not None and name.casefold() not in taken and can_be_stored(name):
            taken.add(name.casefold())
            fields.append(pa.field(name, kind))
    return pa.struct(fields)


def can_be_stored(name: str) -> bool:
    """Whether a Delta table can have a column of that name: delta-rs cuts names at a NUL byte without a word."""
    return "\x00" not in name


def wider(known: pa.DataType, misfits: pa.Array, *, floats: bool) -> pa.DataType:
    """The narrowest type that holds all that ``known`` does and most of the values ``misfits``; ``known`` if none does.

    Integers become wider integers, and floats when ``floats`` says that those there are stay exact; float32 becomes
    float64; dates become timestamps; decimals get more digits. In lists, structs and maps what they hold is widened.
    Nothing becomes text here.
    """
    if pt.is_struct(known) and pt.is_struct(misfits.type):
        children = dict(zip(misfits.type.names, misfits.flatten(), strict=True))
        fields = [
            field.with_type(wider(field.type, children[field.name], floats=floats)) if field.name in children else field
            for field in known
        ]
        return pa.struct(fields)
    if is_list(known) and is_list(misfits.type):
        return _relisted(known, wider(known.value_type, misfits.flatten(), floats=floats))
    if pt.is_map(known) and pt.is_map(misfits.type):
        pairs = misfits.drop_null()
        return _remapped(known, wider(known.item_type, pairs.items, floats=floats) if len(pairs) else known.item_type)
    if pt.is_nested(known) or pt.is_nested(misfits.type):
        return known
    return _wider_scalar(known, misfits, floats=floats)


def _wider_scalar(known: pa.DataType, values: pa.Array, *, floats: bool) -> pa.DataType:
    left = convert(values, known).misfits
    if left is None:
        return known
    values = values.filter(left)
    best, held = known, 0
    for candidate in _candidates(known, values, floats=floats):
        misfits = convert(values, candidate).misfits
        fitting = len(values) - (0 if misfits is None else int(pc.sum(misfits).as_py()))
        if fitting > held:
            best, held = candidate, fitting
    return best


def _candidates(known: pa.DataType, values: pa.Array, *, floats: bool) -> Iterator[pa.DataType]:
    if known in _INTEGERS:
        yield from _INTEGERS[_INTEGERS.index(known) + 1 :]
        if floats and not pt.is_decimal(values.type):
            yield pa.float64()
    elif known == pa.float32():
        yield pa.float64()
    elif pt.is_date(known):
        yield TIMESTAMP
    if pt.is_decimal(known) or (known in _INTEGERS and pt.is_decimal(values.type)):
        found = _decimal_of_texts(values) if is_text(values.type) else values.type
        both = None if found is None or pt.is_nested(found) else merge_types(known, found)
        if both is not None and pt.is_decimal(both) and both != known:
            yield both


def _decimal_of_texts(texts: pa.Array) -> pa.DataType | None:
    """A decimal with room for all of the texts that are plain decimal numbers."""
    before, behind = 0, 0
    for text in texts.drop_null().to_pylist():
        try:
            number = Decimal(text.strip())
        except InvalidOperation:
            continue
        _, digits, exponent = number.as_tuple()
        if isinstance(exponent, int):
            before, behind = max(before, len(digits) + exponent), max(behind, -exponent)
    precision = max(before, 0) + behind
    return pa.decimal128(precision, behind) if 0 < precision <= _MAX_PRECISION else None


def extends(kind: pa.DataType, known: pa.DataType) -> bool:
    """Whether readers find what was written as ``known`` in a column of type ``kind``: it has at most more struct
    fields, and not in maps.
    """
    if pt.is_struct(kind) and pt.is_struct(known):
        places = [kind.get_field_index(field.name) for field in known]
        return all(
            place >= 0 and extends(kind.field(place).type, field.type)
            for place, field in zip(places, known, strict=True)
        )
    if is_list(kind) and is_list(known):
        return extends(kind.value_type, known.value_type)
    if pt.is_map(kind) and pt.is_map(known):
        same_items = extends(kind.item_type, known.item_type) and extends(known.item_type, kind.item_type)
        return bool(kind.key_type == known.key_type) and same_items
    return bool(kind == known)


def new_paths(known: pa.DataType | None, found: pa.DataType, path: str) -> Iterator[tuple[str, pa.DataType]]:
    """The places that ``found`` has and ``known`` (None: nothing yet) has not, with their types.

    A struct's field is ``path.name``, a list's element ``path[]``, a map's value ``path{}``.
    """
    if known is None:
        yield path, found
    elif pt.is_struct(known) and pt.is_struct(found):
        for field in found:
            place = known.get_field_index(field.name)
            before = None if place < 0 else known.field(place).type
            yield from new_paths(before, field.type, f"{path}.{field.name}")
    elif is_list(known) and is_list(found):
        yield from new_paths(known.value_type, found.value_type, f"{path}[]")
    elif pt.is_map(known) and pt.is_map(found):
        yield from new_paths(known.item_type, found.item_type, f"{path}{{}}")


def changed_paths(known: pa.DataType, found: pa.DataType, path: str) -> Iterator[tuple[str, pa.DataType, pa.DataType]]:
    """The places that both have in different types, with the types of ``known`` and of ``found``."""
    if pt.is_struct(known) and pt.is_struct(found):
        for field in known:
            place = found.get_field_index(field.name)
            if place >= 0:
                yield from changed_paths(field.type, found.field(place).type, f"{path}.{field.name}")
    elif is_list(known) and is_list(found):
        yield from changed_paths(known.value_type, found.value_type, f"{path}[]")
    elif pt.is_map(known) and pt.is_map(found):
        yield from changed_paths(known.item_type, found.item_type, f"{path}{{}}")
    elif known != found:
        yield path, known, found
