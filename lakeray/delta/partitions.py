"""Partition values in the Delta protocol's string form, with the folder names that go with them.

The log holds the truth about partition values; folders are for people and for readers that look only at paths (Polars
does). Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md#partition-value-serialization
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import UnsupportedTable

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
_FOLDER_BYTES = 200  # file systems stop at 255 bytes a name

Values = tuple[str | None, ...]


def check_partition_types(schema: pa.Schema, partition_by: list[str]) -> None:
    """Raise UnsupportedTable unless every partition column is there and of a type with an exact string form."""
    for name in partition_by:
        if schema.get_field_index(name) < 0:
            raise UnsupportedTable(
                f"the partition column {name!r} is not among the table's columns",
                hint=f"columns: {', '.join(schema.names)}",
            )
        kind = schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise UnsupportedTable(
                f"the column {name!r} of type {kind} cannot partition a table",
                hint="partition by a string, number, boolean, date or timestamp",
            )
    if partition_by and len(partition_by) == len(schema):
        raise UnsupportedTable(
            "every column is a partition column", hint="Delta keeps at least one column in the data files"
        )


def partition_value(value: Any) -> str | None:
    """The protocol's string for one Python value of a partition column; None for null.

    The protocol reads an empty string as null, whatever the type, so an empty string is written as null and all
    readers agree. Instants are ISO 8601 in UTC, which no session's time zone can shift.
    """
    if value is None or value == "":
        return None
    for kind, spell in _SPELLINGS:
        if isinstance(value, kind):
            return spell(value)
    return str(value)


def parsed_value(text: str | None, kind: pa.DataType) -> Any:
    """The inverse of ``partition_value``, also of what other engines write: an instant without a zone is in UTC."""
    if text is None or text == "":
        return None
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        moment = dt.datetime.fromisoformat(text)
        return moment.astimezone(dt.UTC) if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return pa.scalar(text).cast(kind).as_py()


def _float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _moment(value: dt.datetime) -> str:
    if value.tzinfo is None:
        return value.isoformat(sep=" ", timespec="microseconds")
    naive = value.astimezone(dt.UTC).replace(tzinfo=None)
    return naive.isoformat(sep="T", timespec="microseconds") + "Z"


_SPELLINGS: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (bool, lambda value: "true" if value else "false"),
    (float, _float),
    (dt.datetime, _moment),  # before date, which it is a kind of
    (dt.date, dt.date.isoformat),
    (decimal.Decimal, lambda value: f"{value:f}"),
)


def folder(partition_by: list[str], values: Values) -> str:
    """``col=value/`` for every partition column, percent-encoded as Hive does; empty for a table without any.

    A value whose encoded form is longer than 200 bytes is cut: readers that trust folders instead of the log see the
    cut value.
    """
    return "".join(
        f"{_encoded(name)}={NULL_FOLDER if value is None else _encoded(value)}/"
        for name, value in zip(partition_by, values, strict=True)
    )


def _encoded(text: str) -> str:
    encoded = quote(text, safe="").replace("~", "%7E")
    if encoded in (".", ".."):
        return encoded.replace(".", "%2E")
    if len(encoded) <= _FOLDER_BYTES:
        return encoded
    cut = encoded[:_FOLDER_BYTES]
    return cut[: cut.rindex("%")] if "%" in cut[-2:] else cut


def split(table: pa.Table, partition_by: list[str]) -> Iterator[tuple[Values, pa.Table]]:
    """The rows of each partition, without the partition columns, in their order; every yielded table owns its memory.

    A table that lies in one partition comes back as it is, uncopied.
    """
    if table.num_rows == 0:
        return
    rest = table.drop_columns(partition_by) if partition_by else table
    if not partition_by:
        yield (), rest
        return
    codes, keys = _codes(table, partition_by)
    if len(keys) == 1:
        yield keys[0], rest
        return
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(keys)))
    rest = rest.combine_chunks()
    start = 0
    for key, end in zip(keys, ends.tolist(), strict=True):
        yield key, rest.take(pa.array(order[start:end]))
        start = end


def _codes(table: pa.Table, partition_by: list[str]) -> tuple[np.ndarray[Any, Any], list[Values]]:
    """One small integer for each row, with the key that it stands for; equal strings have one code."""
    combined: np.ndarray[Any, Any] = np.zeros(table.num_rows, dtype=np.int64)
    keys: list[Values] = [()]
    for name in partition_by:
        column, words = _column_codes(table.column(name))
        flat = combined * len(words) + column
        used, combined = np.unique(flat, return_inverse=True)
        keys = [(*keys[int(code) // len(words)], words[int(code) % len(words)]) for code in used]
    return combined, keys


def _column_codes(column: pa.ChunkedArray) -> tuple[np.ndarray[Any, Any], list[str | None]]:
    kind = column.type
    if pa.types.is_floating(kind):  # +0.0 and -0.0 differ in their strings, and a NaN equals itself there
        column = column.cast(pa.float64()) if kind != pa.float64() else column
    encoded = pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
    encoded = encoded.chunk(0) if isinstance(encoded, pa.ChunkedArray) else encoded
    strings = [partition_value(_widened(value, kind)) for value in encoded.dictionary.to_pylist()]
    words = list(dict.fromkeys(strings))
    places = {word: place for place, word in enumerate(words)}
    lookup = np.array([places[text] for text in strings], dtype=np.int64)
    indices = encoded.indices.to_numpy(zero_copy_only=False)
    return lookup[indices], words


def _widened(value: Any, kind: pa.DataType) -> Any:
    """A 32-bit float by its shortest decimal, as every reader of a float column parses it back."""
    if value is not None and pa.types.is_float32(kind) and math.isfinite(value):
        return float(str(np.float32(value)))
    return value
