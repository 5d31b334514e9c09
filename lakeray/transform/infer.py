"""Column types from a sample of rows, careful enough that no value of the sample loses anything.

From texts (CSV), a column becomes

=========  ==================================================================================================
int64      when every value is digits, perhaps with a minus, without leading zeros, in range
double     when every value is a decimal number, perhaps with an exponent, without leading zeros, with at most
           15 digits before and 17 behind the point, and one at least is no integer
bool       when every value is ``true`` or ``false`` in lower, upper or title case
date       when every value is ``YYYY-MM-DD``
timestamp  when every value is ISO 8601 with a time of day, or a date beside such
string     otherwise: ``00123``, ``+1``, ``1,5``, `` 1``, ``nan``, an empty text, or no value at all
=========  ==================================================================================================

Formats with types of their own (JSON, Avro, Parquet) keep them, in the types Delta can hold; only a JSON text column
is a date or a timestamp by the same rules. Where chunks disagree, see ``merge_types``; where that finds nothing,
texts stay texts and otherwise the first type stays: what does not fit it is rescued.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.transform import from_text
from lakeray.transform.delta_types import TIMESTAMP, delta_type, is_list, is_text
from lakeray.transform.moments import to_timestamp

_INTEGER = r"^-?(0|[1-9][0-9]{0,18})$"
_DECIMAL = r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,3})?$"
_BOOLEAN = r"^(true|false|True|False|TRUE|FALSE)$"
_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_MOMENT = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6}0*)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?)?$"
)
_MAX_PRECISION = 38
_INT64_DIGITS = 19


def _all(flags: pa.Array | pa.ChunkedArray) -> bool:
    return bool(pc.all(flags, min_count=0).as_py())


def _matches(pattern: str) -> Callable[[pa.Array], bool]:
    return lambda texts: _all(pc.match_substring_regex(texts, pattern))


def _fits(pattern: str, parse: Callable[[pa.Array], pa.Array]) -> Callable[[pa.Array], bool]:
    def check(texts: pa.Array) -> bool:
        return _all(pc.match_substring_regex(texts, pattern)) and parse(texts).null_count == 0

    return check


def _no_infinity(texts: pa.Array) -> pa.Array:
    return from_text.parse(texts, pa.float64())


_MOMENTS: tuple[tuple[pa.DataType, Callable[[pa.Array], bool]], ...] = (
    (pa.date32(), _fits(_DATE, lambda texts: from_text.parse(texts, pa.date32()))),
    (TIMESTAMP, _fits(_MOMENT, lambda texts: to_timestamp(texts, TIMESTAMP)[0])),
)
_CANDIDATES: tuple[tuple[pa.DataType, Callable[[pa.Array], bool]], ...] = (
    (pa.int64(), _fits(_INTEGER, lambda texts: from_text.parse(texts, pa.int64()))),
    (pa.float64(), _fits(_DECIMAL, _no_infinity)),
    (pa.bool_(), _matches(_BOOLEAN)),
    *_MOMENTS,
)


@dataclass(slots=True)
class _Texts:
    """What a column of texts can still be, after the values seen."""

    candidates: list[tuple[pa.DataType, Callable[[pa.Array], bool]]]
    seen: bool = field(default=False)

    def look(self, texts: pa.Array) -> None:
        texts = texts.drop_null()
        if len(texts):
            self.seen = True
            self.candidates = [(kind, check) for kind, check in self.candidates if check(texts)]

    def kind(self) -> pa.DataType:
        return self.candidates[0][0] if self.seen and self.candidates else pa.string()


def infer_schema(chunks: Iterable[pa.Table], hints: Mapping[str, pa.DataType], *, text: bool) -> pa.Schema:
    """The columns of all ``chunks`` in order of appearance, then hinted ones that none of them has.

    A hint decides its column's type. With ``text``, columns of texts are read as in the table above; without, only
    dates and timestamps in them are. A column without a type (null, or empty lists, throughout) is a string with
    ``text``, and otherwise left out.
    """
    kinds: dict[str, pa.DataType] = {}
    texts: dict[str, _Texts] = {}
    for chunk in chunks:
        for name in chunk.column_names:
            if name in hints:
                kinds.setdefault(name, hints[name])
                continue
            column = chunk[name]
            kinds[name] = _merged(kinds.get(name), column.type)
            if is_text(column.type):
                found = texts.setdefault(name, _Texts(candidates=list(_CANDIDATES if text else _MOMENTS)))
                found.look(column.combine_chunks().cast(pa.string()))
    for name, found in texts.items():
        if is_text(kinds[name]):
            kinds[name] = found.kind()
    writable = {name: kind if name in hints else delta_type(kind) for name, kind in kinds.items()}
    untyped = pa.string() if text else None
    known = {name: kind or untyped for name, kind in writable.items() if kind or untyped}
    return pa.schema(list({**known, **{name: kind for name, kind in hints.items() if name not in known}}.items()))


def _merged(known: pa.DataType | None, found: pa.DataType) -> pa.DataType:
    if known is None:
        return found
    both = merge_types(known, found)
    return known if both is None else both


def merge_types(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """The type that holds what ``a`` and what ``b`` hold, in Delta's types, None when there is none short of text.

    Within it is null what neither has a type for. Null takes the other; integers the wider; integer and float double;
    decimals (and integers) a decimal with room for both, up to 38 digits; date and timestamp timestamp; structs the
    fields of both, merged by name; lists and maps what they hold, merged.
    """
    if pt.is_null(a) or pt.is_null(b):
        return _known(b if pt.is_null(a) else a)
    if pt.is_struct(a) and pt.is_struct(b):
        return _merged_structs(a, b)
    if is_list(a) and is_list(b):
        return _wrapped(merge_types(a.value_type, b.value_type), pa.list_)
    if pt.is_map(a) and pt.is_map(b):
        key, item = merge_types(a.key_type, b.key_type), merge_types(a.item_type, b.item_type)
        return None if key is None or item is None else pa.map_(key, item)
    if pt.is_nested(a) or pt.is_nested(b):
        return None
    return _merged_scalars(_known(a), _known(b))


def _known(kind: pa.DataType) -> pa.DataType:
    """The Delta type of ``kind``, or ``kind`` itself while it has none."""
    return delta_type(kind) or kind


def _wrapped(kind: pa.DataType | None, wrap: Callable[[pa.DataType], pa.DataType]) -> pa.DataType | None:
    return None if kind is None else wrap(kind)


def _merged_structs(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    fields: dict[str, pa.DataType] = {child.name: child.type for child in first}
    for child in second:
        both = merge_types(fields[child.name], child.type) if child.name in fields else child.type
        if both is None:
            return None
        fields[child.name] = both
    return pa.struct(list(fields.items()))


def _merged_scalars(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    kinds = (first, second)
    if first == second:
        return first
    if all(pt.is_integer(kind) for kind in kinds):
        return max(kinds, key=lambda kind: kind.bit_width)
    if all(pt.is_integer(kind) or pt.is_floating(kind) for kind in kinds):
        return pa.float64()
    if all(pt.is_integer(kind) or pt.is_decimal(kind) for kind in kinds):
        return _merged_decimals(*(_as_decimal(kind) for kind in kinds))
    if all(pt.is_temporal(kind) for kind in kinds):
        return TIMESTAMP
    return None


def _as_decimal(kind: pa.DataType) -> pa.DataType:
    return kind if pt.is_decimal(kind) else pa.decimal128(_INT64_DIGITS, 0)


def _merged_decimals(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    scale = max(first.scale, second.scale)
    precision = max(first.precision - first.scale, second.precision - second.scale) + scale
    return pa.decimal128(precision, scale) if precision <= _MAX_PRECISION else None


__all__ = ["delta_type", "infer_schema", "merge_types"]
