"""How the data files of a table look, whichever task writes them."""

from __future__ import annotations

from collections.abc import Mapping

from lakeray.delta.parquet import WriteOptions
from lakeray.delta.statistics import Indexed
from lakeray.spec.tables import Table

ROW_GROUP_SHARE = 4
"""Of a task's memory, an open row group with its encoded pages may take this fraction."""


def table_options(table: Table, properties: Mapping[str, str], *, memory_bytes: int) -> WriteOptions:
    """What the workflow file and the table itself ask for, within a task's memory."""
    return WriteOptions(
        target_file_bytes=table.target_file_size,
        row_group_bytes=memory_bytes // ROW_GROUP_SHARE,
        compression=table.codec.codec,
        compression_level=table.codec.effort,
        indexed=Indexed.of_properties(properties),
    )
