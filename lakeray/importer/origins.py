"""Every staged row knows the object that it came from, in the columns of whoever asks for that.

An object is known by its place in the batch's manifest. Changes need it for their order, a table with provenance keeps
it, and rules over sets look for it beside the staged files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lakeray.importer.merge.rules import OBJECT, ROW
from lakeray.importer.provenance.columns import Stamp
from lakeray.importer.sets.staged_rows import BESIDE, with_origin


@dataclass(frozen=True, kw_only=True, slots=True)
class Origins:
    """How the rows of some objects are told where they came from; ``places`` are the objects' in the manifest."""

    places: tuple[int, ...]
    stamp: Stamp | None = None
    """What rows of a table with provenance say; None for another table."""
    changes: bool = False
    """Whether the rows are changes, which follow each other in the order of manifest and object."""
    beside: bool = False
    """Whether rules over sets look at the rows; see ``sets.staged_rows``."""

    @property
    def columns_beside(self) -> tuple[str, ...]:
        """The columns that go into files beside the staged ones."""
        return tuple(BESIDE.names) if self.beside else ()

    def put(self, table: pa.Table, place: int, *, start: int, numbers: pa.Int64Array) -> pa.Table:
        """Rows of the object at ``place``, of which ``start`` are staged already, with where they came from;
        ``numbers`` are those of their records in the object.
        """
        if self.changes:
            count = table.num_rows
            table = table.append_column(_OBJECT, pa.repeat(pa.scalar(place, pa.int32()), count))
            table = table.append_column(_ROW, pa.array(np.arange(start, start + count), pa.int64()))
        if self.stamp is not None:
            table = self.stamp.put(table, place)
        return with_origin(table, index=place, start=start, numbers=numbers) if self.beside else table


_OBJECT, _ROW = pa.field(OBJECT, pa.int32(), nullable=False), pa.field(ROW, pa.int64(), nullable=False)
