"""Tables are read back here through every reader that users bring."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder

from lakeray.delta.upkeep import live_files


def plain(table: pa.Table) -> pa.Table:
    """With views and large types as the usual ones, so that readers compare."""
    kinds = {
        pa.string_view(): pa.string(),
        pa.large_string(): pa.string(),
        pa.binary_view(): pa.binary(),
        pa.large_binary(): pa.binary(),
    }
    kinds |= {column.type: pa.timestamp("us", tz="UTC") for column in table.schema if getattr(column.type, "tz", None)}
    fields = [pa.field(column.name, kinds.get(column.type, column.type)) for column in table.schema]
    return table.cast(pa.schema(fields))


def with_delta_rs(uri: str, sql: str = "SELECT * FROM t") -> pa.Table:
    return plain(pa.table(QueryBuilder().register("t", DeltaTable(uri)).execute(sql).read_all()))


def with_pyarrow(uri: str) -> pa.Table:
    return plain(DeltaTable(uri).to_pyarrow_table())


def with_polars(uri: str) -> pa.Table:
    return plain(pl.scan_delta(uri).collect().to_arrow())


def with_duckdb(uri: str) -> pa.Table:
    """The live data files as plain Parquet; without partition columns."""
    paths = [f"{uri}/{file.path}" for file in live_files(uri)]
    return plain(duckdb.connect().read_parquet(paths, hive_partitioning=False, union_by_name=True).to_arrow_table())


READERS = {"delta-rs": with_delta_rs, "pyarrow": with_pyarrow, "polars": with_polars, "duckdb": with_duckdb}


def rows(table: pa.Table) -> Counter[Any]:
    """The rows as a multiset; columns by name, so that their order does not matter."""
    names = sorted(table.column_names)
    return Counter(repr(tuple(row[name] for name in names)) for row in table.select(names).to_pylist())
