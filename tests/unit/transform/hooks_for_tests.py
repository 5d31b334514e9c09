"""Hooks that the tests name as ``module:function``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

NOT_CALLABLE = 1


def doubled(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table])


def evens(table: pa.Table) -> pa.Table:
    return table.filter(pc.equal(pc.bit_wise_and(table["id"], 1), 0))


def with_length(table: pa.Table) -> pa.Table:
    return table.append_column("length", pc.utf8_length(table["name"]))


def stamped(table: pa.Table, *, now: datetime, seed: int) -> pa.Table:
    count = len(table)
    return table.append_column("at", pa.repeat(pa.scalar(now), count)).append_column(
        "seed", pa.repeat(pa.scalar(seed), count)
    )


def fails(table: pa.Table) -> pa.Table:
    if len(table):
        raise LookupError(f"a value: {table['name'][0]}")
    return table


def returns_a_list(table: pa.Table) -> Any:
    return table.to_pylist()


def untyped(table: pa.Table) -> pa.Table:
    return table.append_column("later", pa.nulls(len(table)))
