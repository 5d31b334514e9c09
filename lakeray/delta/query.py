"""SQL over one table, in the engine inside delta-rs, which reads every feature that delta-rs reads."""

from __future__ import annotations

import pyarrow as pa

from lakeray.delta.failures import is_foreign, translated
from lakeray.delta.table import TableHandle


def query(handle: TableHandle, sql: str) -> pa.Table:
    """The answer to ``sql``, in which the table is called ``this``. Strings come as Arrow ``string``."""
    from deltalake import QueryBuilder

    try:
        answer = pa.table(QueryBuilder().register("this", handle.delta).execute(sql).read_all())
    except Exception as error:
        if is_foreign(error):
            raise translated(error, handle.uri, "reading the table") from error
        raise
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return answer.cast(
        pa.schema([pa.field(column.name, plain.get(column.type, column.type)) for column in answer.schema])
    )


def file_count(handle: TableHandle) -> int:
    """How many data files the table has."""
    return int(pa.table(handle.delta.get_add_actions(flatten=True)).num_rows)
