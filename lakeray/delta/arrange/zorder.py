"""A place on the Z-order curve for every row, from the ranks of its values among a sample.

Ranks instead of values make every column count alike, whatever its type and however skewed it is. Source: G. M. Morton,
"A computer oriented geodetic data base" (1966); ranks by quantiles as in "Z-ordering" of Databricks' Delta
(https://docs.databricks.com/delta/data-skipping.html).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import TableError

_BITS = 62  # of a place on the curve
_BITS_A_COLUMN = 10
_MOST_COLUMNS = 16
PLACE = "_lakeray_place"

Numbers = np.ndarray[Any, Any]


def check_columns(uri: str, schema: pa.Schema, partition_by: Sequence[str], columns: Sequence[str]) -> None:
    """Raise TableError unless rows can be ordered by these columns within each partition."""
    for name in columns:
        if name not in schema.names:
            raise TableError(
                f"the table at {uri} has no column {name!r} to order by",
                uri=uri,
                hint=f"its columns: {', '.join(schema.names)}",
            )
        if name in partition_by:
            raise TableError(
                f"the column {name!r} has one value in each partition of {uri}: there is nothing to order by it",
                uri=uri,
                hint="take a column that is not in `partition_by`",
            )
        if pa.types.is_nested(schema.field(name).type):
            raise TableError(
                f"the column {name!r} of {uri} is {schema.field(name).type}, which has no order",
                uri=uri,
                hint="take a number, a text, a date or a timestamp",
            )
    if len(set(columns)) < len(columns):
        raise TableError(f"a column to order {uri} by is named twice", uri=uri, hint=f"found: {', '.join(columns)}")
    if len(columns) > _MOST_COLUMNS:
        raise TableError(f"{len(columns)} columns are too many to order by", uri=uri, hint="two to four are useful")


def cuts_of(sample: pa.ChunkedArray, count: int) -> pa.Array:
    """At most ``count - 1`` values, ascending, that cut the sample into parts of about the same size; nulls are no
    part of it.
    """
    filled = _whole(sample.drop_null())
    ordered = filled.take(pc.sort_indices(filled))
    if not len(ordered):
        return ordered
    places = np.unique(np.arange(1, count) * len(ordered) // count)
    return pc.unique(ordered.take(pa.array(places)))


def column_cuts(sample: pa.Table, columns: Sequence[str]) -> dict[str, pa.Array]:
    """What ``places`` needs to know, from rows of a sample."""
    return {name: cuts_of(sample.column(name), _parts(columns)) for name in columns}


def places(table: pa.Table, cuts: dict[str, pa.Array]) -> Numbers:
    """Each row's place on the curve, uint64; nulls and NaN come last in their column."""
    bits = _bits(list(cuts))
    ranks = [_ranks(table.column(name), cut) for name, cut in cuts.items()]
    place: Numbers = np.zeros(table.num_rows, dtype=np.uint64)
    for bit in range(bits):
        for number, rank in enumerate(ranks):
            shift = bit * len(ranks) + len(ranks) - 1 - number
            place |= ((rank >> np.uint64(bit)) & np.uint64(1)) << np.uint64(shift)
    return place


def range_cuts(sample: Numbers, count: int) -> Numbers:
    """``count - 1`` places, ascending, that cut a sample of places into ranges of about the same number of rows."""
    ordered = np.sort(sample)
    return ordered[np.arange(1, count) * len(ordered) // count] if len(ordered) else ordered


def ranges_of(place: Numbers, cuts: Numbers, random: np.random.Generator) -> Numbers:
    """Each row's range, int32. Rows at the very place of a cut are spread over the ranges that meet there, so that a
    place with many rows (a frequent value) never makes a range that is too large.
    """
    first, last = np.searchsorted(cuts, place, "left"), np.searchsorted(cuts, place, "right")
    return (first + (random.random(len(place)) * (last - first + 1)).astype(np.int64)).astype(np.int32)


def in_order(table: pa.Table, cuts: dict[str, pa.Array]) -> pa.Array:
    """The rows' numbers in the order of the curve, rows at one place by the columns' values."""
    keys = {PLACE: pa.array(places(table, cuts)), **{name: table.column(name) for name in cuts}}
    return pc.sort_indices(pa.table(keys), sort_keys=[(name, "ascending") for name in keys])


def _ranks(values: pa.ChunkedArray, cuts: pa.Array) -> Numbers:
    """How many cuts are not above each value. By one stable sort of both together, which Arrow does for every type."""
    whole = pa.concat_arrays([cuts, _whole(values)])
    order = pc.sort_indices(whole).to_numpy()
    ranks = np.empty(len(whole), dtype=np.uint64)
    ranks[order] = np.cumsum(order < len(cuts))
    found = ranks[len(cuts) :]
    if values.null_count:
        found[values.is_null().to_numpy()] = len(cuts) + 1
    return found


def _whole(values: pa.ChunkedArray) -> pa.Array:
    found = values.combine_chunks()
    if isinstance(found, pa.ChunkedArray):
        found = found.chunk(0) if found.num_chunks else pa.array([], values.type)
    return found.cast(pa.uint8()) if pa.types.is_boolean(found.type) else found


def _bits(columns: Sequence[str]) -> int:
    return min(_BITS_A_COLUMN, _BITS // len(columns))


def _parts(columns: Sequence[str]) -> int:
    """So many that a rank, nulls' included, has no more than its bits."""
    return max(2, (1 << _bits(columns)) - 1)
