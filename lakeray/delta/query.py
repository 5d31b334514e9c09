"""SQL over one table, in the engine inside delta-rs, which reads every feature that delta-rs reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from lakeray.delta.failures import is_foreign, translated
from lakeray.delta.table import TableHandle
from lakeray.objects import delta_uri, storage_options


def query(handle: TableHandle, sql: str) -> pa.Table:
    """The answer to ``sql``, in which the table is called ``this``. Strings come as Arrow ``string``."""
    from deltalake import QueryBuilder

    try:
        answer = pa.table(QueryBuilder().register("this", handle.delta).execute(sql).read_all())
    except Exception as error:
        if is_foreign(error):
            raise translated(error, handle.uri, "reading the table") from error
        raise
    return _plain(answer)


def stream_at(uri: str, version: int, sql: str, *, rows: int) -> Iterator[pa.Table]:
    """The answer to ``sql`` over ``version`` of the table at ``uri``, called ``this``, in pieces of about ``rows``
    rows; no more than one is in memory at a time.
    """
    from deltalake import DeltaTable, QueryBuilder

    try:
        delta = DeltaTable(delta_uri(uri), version=version, storage_options=storage_options(uri))
        held: list[pa.RecordBatch] = []
        for batch in QueryBuilder().register("this", delta).execute(sql):
            held.append(pa.record_batch(batch))
            if sum(part.num_rows for part in held) >= rows:
                yield _plain(pa.Table.from_batches(held))
                held = []
        if held:
            yield _plain(pa.Table.from_batches(held))
    except Exception as error:
        if is_foreign(error):
            raise translated(error, uri, "reading the table") from error
        raise


def _plain(answer: pa.Table) -> pa.Table:
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return answer.cast(
        pa.schema([pa.field(column.name, plain.get(column.type, column.type)) for column in answer.schema])
    )


def between(column: str, low: Any, high: Any) -> str | None:
    """SQL that lets the engine pass over files whose statistics lie outside of two bounds, given as Python values.

    None for a type whose literals are not safe to write down: then everything has to be read.
    """
    texts = [_literal(value) for value in (low, high)]
    if None in texts:
        return None
    return f"{quoted_name(column)} BETWEEN {texts[0]} AND {texts[1]}"


def quoted_name(column: str) -> str:
    """``column`` as a quoted identifier."""
    return '"' + column.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _literal(value: Any) -> str | None:  # noqa: PLR0911 - a table of types
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return None if "\x00" in value else quoted_text(value)
    if isinstance(value, dt.datetime):
        if value.tzinfo is None:
            return f"arrow_cast('{value.isoformat()}', 'Timestamp(Microsecond, None)')"
        naive = value.astimezone(dt.UTC).replace(tzinfo=None)
        return f"""arrow_cast('{naive.isoformat()}Z', 'Timestamp(Microsecond, Some("UTC"))')"""
    if isinstance(value, dt.date):
        return f"DATE '{value.isoformat()}'"
    return None


def file_count(handle: TableHandle) -> int:
    """How many data files the table has."""
    return int(pa.table(handle.delta.get_add_actions(flatten=True)).num_rows)


def row_count(handle: TableHandle) -> int | None:
    """How many rows the files' statistics count; None when one of them has no statistics."""
    adds = pa.table(handle.delta.get_add_actions(flatten=True))
    if "num_records" not in adds.column_names:
        return 0 if adds.num_rows == 0 else None
    column = adds["num_records"]
    return None if column.null_count else int(sum(column.to_pylist()))
