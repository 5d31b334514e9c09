"""Hooks that workflows of the tests name under ``apply``."""

from __future__ import annotations

import os
import time

import pyarrow as pa
import pyarrow.compute as pc


def die_of_poison(table: pa.Table) -> pa.Table:
    """End the process, without a word, when a row says so."""
    if pc.any(pc.equal(table["note"], "poison")).as_py():
        os._exit(17)
    return table


def eat_memory(table: pa.Table) -> pa.Table:
    """Take memory until the process is killed for it, when a row says so."""
    if pc.any(pc.equal(table["note"], "hungry")).as_py():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
        held = [bytearray(256 * 2**20)]
        try:
            while True:
                held.append(bytearray(256 * 2**20))
        except MemoryError:
            os.abort()
    return table


def twice(table: pa.Table) -> pa.Table:
    """Every row two times."""
    return pa.concat_tables([table, table])


def quote_values(table: pa.Table) -> pa.Table:
    """Raise an error that quotes every value, when there is one."""
    if table.num_rows:
        raise ValueError(f"I do not like {table.to_pylist()}")
    return table


def slow(table: pa.Table) -> pa.Table:
    """A quarter of a second for every object: time for somebody to kill something."""
    time.sleep(0.25)
    return table
