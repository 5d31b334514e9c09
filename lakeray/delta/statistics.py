"""The statistics of a data file, read from its written Parquet footer, as the Delta protocol's JSON text.

What stands here is used to skip files, so it may be loose but never wrong: every value of the file lies within its
bounds. Where a bound cannot be written so that all readers agree on it, it is left out. Source:
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

DEFAULT_INDEXED_LEAVES = 32
STRING_CHARACTERS = 32
_LAST_CHARACTER = "\U0010ffff"
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - arithmetic on the proleptic calendar, in no zone
_MICROS = dt.timedelta(microseconds=1)
_FIRST_MS = (dt.datetime(1, 1, 1) - _EPOCH) // _MICROS // 1000  # noqa: DTZ001
_LAST_MS = (dt.datetime(9999, 12, 31, 23, 59, 59, 999_999) - _EPOCH) // _MICROS // 1000  # noqa: DTZ001
_TICKS_PER_MS = {"ms": 1, "us": 1_000, "ns": 1_000_000}


@dataclass(frozen=True, kw_only=True, slots=True)
class Indexed:
    """Which leaf columns get statistics: the first ``leaves`` (-1: all), or those at or below ``columns`` (dotted)."""

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
class Leaf:
    """A Parquet leaf column: its number in the file, its path, its type; ``repeated`` below a list or map."""

    number: int
    path: tuple[str, ...]
    kind: pa.DataType
    repeated: bool


def leaves(schema: pa.Schema) -> list[Leaf]:
    """The Parquet leaf columns of a file of that schema, in the file's order."""
    found: list[Leaf] = []

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
            found.append(Leaf(number=len(found), path=path, kind=kind, repeated=repeated))

    for field in schema:
        walk(field.type, (field.name,), False)
    return found


def file_statistics(
    footer: pq.FileMetaData,
    schema: pa.Schema,
    *,
    indexed: Indexed = Indexed(),
    nan_columns: Collection[tuple[str, ...]] = (),
) -> str:
    """The JSON text of a file's statistics: numRecords, minValues, maxValues, nullCount.

    ``schema`` is the file's own (without partition columns). ``nan_columns`` are the paths of float leaves that hold
    a NaN: a footer does not say so, and readers disagree on how a NaN compares, so those get no bounds.
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
    for fits, spell in _SPELLINGS:
        if fits(kind):
            return spell(filled, kind)
    return None  # booleans and binaries: readers agree on no bounds for them


def _integers(columns: list[Any], _kind: pa.DataType) -> tuple[Any, Any]:
    return min(column.min_raw for column in columns), max(column.max_raw for column in columns)


def _floats(columns: list[Any], _kind: pa.DataType) -> tuple[Any, Any]:
    """JSON knows no infinity; a zero bound includes both zeros."""
    low, high = min(column.min for column in columns), max(column.max for column in columns)
    low = -0.0 if low == 0 else low
    high = 0.0 if high == 0 else high
    return (low if math.isfinite(low) else None), (high if math.isfinite(high) else None)


def _dates(columns: list[Any], kind: pa.DataType) -> tuple[Any, Any]:
    low, high = _integers(columns, kind)
    return _date(low), _date(high)


def _instants(columns: list[Any], kind: pa.DataType) -> tuple[Any, Any]:
    low, high = _integers(columns, kind)
    ticks = _TICKS_PER_MS[kind.unit]
    zoned = kind.tz is not None
    # The upper bound is rounded up: rounded down, skipping would lose rows.
    return _instant(low // ticks, zoned=zoned), _instant(-(-high // ticks), zoned=zoned)


def _decimals(columns: list[Any], _kind: pa.DataType) -> tuple[Any, Any]:
    low, high = min(column.min for column in columns), max(column.max for column in columns)
    return orjson.Fragment(f"{low:f}"), orjson.Fragment(f"{high:f}")


def _strings(columns: list[Any], _kind: pa.DataType) -> tuple[Any, Any]:
    try:
        low = min(_raw(column.min_raw) for column in columns).decode()
        high = max(_raw(column.max_raw) for column in columns).decode()
    except UnicodeDecodeError:
        return None, None
    return low[:STRING_CHARACTERS], _upper_bound(high)


_SPELLINGS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[list[Any], pa.DataType], tuple[Any, Any]]], ...] = (
    (pa.types.is_integer, _integers),
    (pa.types.is_floating, _floats),
    (pa.types.is_date32, _dates),
    (lambda kind: pa.types.is_timestamp(kind) and kind.unit in _TICKS_PER_MS, _instants),
    (pa.types.is_decimal, _decimals),
    (lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), _strings),
)


def _date(days: int) -> str | None:
    try:
        return (dt.date(1970, 1, 1) + dt.timedelta(days=days)).isoformat()
    except OverflowError:
        return None


def _instant(milliseconds: int, *, zoned: bool) -> str | None:
    if not _FIRST_MS <= milliseconds <= _LAST_MS:
        return None
    moment = _EPOCH + dt.timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds") + ("Z" if zoned else "")


def _raw(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _upper_bound(text: str) -> str:
    """A short string that no string beginning like ``text`` exceeds in the order of UTF-8 bytes."""
    if len(text) <= STRING_CHARACTERS:
        return text
    end = STRING_CHARACTERS
    while end < len(text) and text[end] == _LAST_CHARACTER:
        end += 1
    return text[:end] + _LAST_CHARACTER if end < len(text) else text
