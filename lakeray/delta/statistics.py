"""The statistics of a data file, read from its written Parquet footer, as the Delta protocol's JSON text.

What stands here is used to skip files, so it may be loose but never wrong: every value of the file lies within its bounds. Where a bound
cannot be written so that all readers agree on it, it is left out. Source:
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

DEFAULT_INDEXED_LEAVES = 32
STRING_CHARACTERS = 32
_LAST_CHARACTER = "\U0010ffff"
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 - arithmetic on the proleptic calendar, in no zone
_MICROS = datetime.timedelta(microseconds=1)
_FIRST_MS = (datetime.datetime.min - _EPOCH) // _MICROS // 1000
_LAST_MS = (datetime.datetime.max - _EPOCH) // _MICROS // 1000
_TICKS_PER_MS = {"ms": 1, "us": 1_000, "ns": 1_000_000}


@dataclass(frozen=True, kw_only=True, slots=True)
class Indexed:
    """Which leaf columns get statistics: the first ``leaves`` (-1 for all), or only those at or below ``columns`` (dotted paths)."""

    leaves: int = DEFAULT_INDEXED_LEAVES
    columns: tuple[str, ...] | None = None

    @classmethod
    def of_properties(cls, properties: Mapping[str, str]) -> Indexed:
        """What ``delta.dataSkippingStatsColumns`` or ``delta.dataSkippingNumIndexedCols`` asks for."""
        named = properties.get("delta.dataSkippingStatsColumns")
        if named is not None:
            return cls(columns=tuple(name.strip().strip("`") for name in named.split(",") if name.strip()))
        count = properties.get("delta.dataSkippingNumIndexedCols", "")
        return cls(leaves=int(count)) if count.lstrip("-").isdigit() else cls()

    def wants(self, number: int, path: tuple[str, ...]) -> bool:
        """Whether the leaf of that number (from 0) and path gets statistics."""
        if self.columns is None:
            return self.leaves < 0 or number < self.leaves
        dotted = ".".join(path)
        return any(dotted == name or dotted.startswith(name + ".") for name in self.columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Leaf:
    """A Parquet leaf column: its number in the file, its path in structs, its type; ``repeated`` below a list or map."""

    number: int
    path: tuple[str, ...]
    kind: pa.DataType
    repeated: bool


def leaves(schema: pa.Schema) -> list[_Leaf]:
    """The Parquet leaf columns of a file of that schema, in the file's order."""
    found: list[_Leaf] = []

    def walk(kind: pa.DataType, path: tuple[str, ...], repeated: bool) -> None:
        if pa.types.is_struct(kind):
            for child in kind:
                walk(child.type, (*path, child.name), repeated)
        elif pa.types.is_map(kind):
            walk(kind.key_type, (*path, "key"), True)
            walk(kind.item_type, (*path, "value"), True)
        elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            walk(kind.value_type, (*path, "element"), True)
        else:
            found.append(_Leaf(number=len(found), path=path, kind=kind, repeated=repeated))

    for field in schema:
        walk(field.type, (field.name,), False)
    return found


def file_statistics(
    footer: pq.FileMetaData,
    schema: pa.Schema,
    *,
    indexed: Indexed = Indexed(),  # noqa: B008 - frozen
    nan_columns: Collection[tuple[str, ...]] = (),
) -> str:
    """The JSON text of a file's statistics: numRecords, minValues, maxValues, nullCount.

    ``schema`` is the file's own (without partition columns). ``nan_columns`` are the paths of float leaves that hold a NaN: a footer
    does not say so, and readers disagree on how a NaN compares, so those get no bounds.
    """
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, Any] = {}
    for leaf in leaves(schema):
        if leaf.repeated or not indexed.wants(leaf.number, leaf.path):
            continue
        columns = [footer.row_group(group).column(leaf.number).statistics for group in range(footer.num_row_groups)]
        if any(column is None for column in columns):
            continue
        if all(column.has_null_count for column in columns):
            _put(nulls, leaf.path, sum(column.null_count for column in columns))
        bounds = None if leaf.path in nan_columns else _bounds(columns, leaf.kind)
        if bounds is not None:
            for place, bound in ((low, bounds[0]), (high, bounds[1])):
                if bound is not None:
                    _put(place, leaf.path, bound)
    stats = {"numRecords": footer.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    return orjson.dumps(stats).decode()


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _bounds(columns: list[Any], kind: pa.DataType) -> tuple[Any, Any] | None:
    """The lowest and highest value of all row groups in their JSON form, either None where it has none."""
    filled = [column for column in columns if not (column.has_null_count and column.num_values == 0)]
    if not filled or not all(column.has_min_max for column in filled):
        return None
    if pa.types.is_integer(kind):
        return min(column.min_raw for column in filled), max(column.max_raw for column in filled)
    if pa.types.is_floating(kind):
        return _floats(min(column.min for column in filled), max(column.max for column in filled))
    if pa.types.is_date32(kind):
        return _date(min(column.min_raw for column in filled)), _date(max(column.max_raw for column in filled))
    if pa.types.is_timestamp(kind) and kind.unit in _TICKS_PER_MS:
        ticks = _TICKS_PER_MS[kind.unit]
        first = min(column.min_raw for column in filled) // ticks
        last = -(-max(column.max_raw for column in filled) // ticks)  # rounded up, or skipping would lose rows
        return _instant(first, zoned=kind.tz is not None), _instant(last, zoned=kind.tz is not None)
    if pa.types.is_decimal(kind):
        return (
            orjson.Fragment(f"{min(column.min for column in filled):f}"),
            orjson.Fragment(f"{max(column.max for column in filled):f}"),
        )
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _strings(min(_raw(column.min_raw) for column in filled), max(_raw(column.max_raw) for column in filled))
    return None  # booleans and binaries: readers agree on no bounds for them


def _floats(first: float, last: float) -> tuple[float | None, float | None]:
    """JSON knows no infinity; a zero bound includes both zeros."""
    low = -0.0 if first == 0 else first
    high = 0.0 if last == 0 else last
    return (low if abs(low) != float("inf") else None), (high if abs(high) != float("inf") else None)


def _date(days: int) -> str | None:
    try:
        return (datetime.date(1970, 1, 1) + datetime.timedelta(days=days)).isoformat()
    except OverflowError:
        return None


def _instant(milliseconds: int, *, zoned: bool) -> str | None:
    if not _FIRST_MS <= milliseconds <= _LAST_MS:
        return None
    moment = _EPOCH + datetime.timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds") + ("Z" if zoned else "")


def _raw(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _strings(first: bytes, last: bytes) -> tuple[str | None, str | None]:
    try:
        low, high = first.decode(), last.decode()
    except UnicodeDecodeError:
        return None, None
    return low[:STRING_CHARACTERS], _upper_bound(high)


def _upper_bound(text: str) -> str:
    """A short string that no string beginning like ``text`` exceeds in the order of UTF-8 bytes."""
    if len(text) <= STRING_CHARACTERS:
        return text
    end = STRING_CHARACTERS
    while end < len(text) and text[end] == _LAST_CHARACTER:
        end += 1
    return text[:end] + _LAST_CHARACTER if end < len(text) else text
