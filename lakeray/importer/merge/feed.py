"""What a change data feed says of a merge: rows as they were, rows as they are.

Source: https://github.com/delta-io/delta/blob/master/PROTOCOL.md#add-cdc-file
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.merge.history import same
from lakeray.importer.merge.keys import key_array

FOLDER = "_change_data"
_TYPE = "_change_type"


def feed_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of change data files."""
    return pa.schema([*schema, pa.field(_TYPE, pa.string())])


def differences(old: pa.Table, new: pa.Table, identity: Sequence[str]) -> pa.Table:
    """Change data for ``old`` rows that became ``new`` ones: rows of one identity are one row's two images, and where
    the two are equal nothing changed.
    """
    before, after = key_array(old, identity), key_array(new, identity)
    found = pc.index_in(after, value_set=before, skip_nulls=True)
    gone = pc.invert(pc.is_in(before, value_set=after, skip_nulls=True))
    pair = found.drop_null()
    was, became = old.take(pair), new.filter(found.is_valid())
    changed = pa.array(~_equal(was, became))
    parts = [
        (old.filter(gone), "delete"),
        (was.filter(changed), "update_preimage"),
        (became.filter(changed), "update_postimage"),
        (new.filter(found.is_null()), "insert"),
    ]
    typed = [
        part.append_column(_TYPE, pa.repeat(pa.scalar(kind), part.num_rows)).cast(feed_schema(new.schema))
        for part, kind in parts
    ]
    return pa.concat_tables(typed)


def _equal(one: pa.Table, other: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    alike = np.ones(one.num_rows, dtype=bool)
    for name in one.column_names:
        alike &= same(_plain(one.column(name)), _plain(other.column(name)))
    return alike


def _plain(column: pa.ChunkedArray) -> pa.Array:
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined
