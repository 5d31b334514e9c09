"""Columns of a table that are given a wider type, with the files that hold them."""

from __future__ import annotations

from lakeray.delta.table import TableHandle
from lakeray.importer.context import ImportContext
from lakeray.transform.contract import Widening

SETTLED = Widening(closed=True)
"""The batch's types are agreed on: what does not fit them now is rescued."""


def widening_of(_context: ImportContext, handle: TableHandle) -> Widening:
    """Which columns of the table may take a wider type in a batch."""
    return Widening(fixed=frozenset(handle.schema.names))
