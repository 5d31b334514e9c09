"""Every row of a table says, where that is kept, which version of which object it came from.

Three columns at the table's end hold it: the import (``<pipeline uuid>/<step>``), the batch, and the object's place in
that batch's manifest. They compress to next to nothing, and a file's statistics of them tell whether it can hold a row
of an object. They are no columns of the user's: no expression sees them, no source can fill them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.files import Bounds, DataFile
from lakeray.importer.identity import ImportId

IMPORT, BATCH, OBJECT = "_lakeray_import", "_lakeray_batch", "_lakeray_object"
FIELDS = (pa.field(IMPORT, pa.string()), pa.field(BATCH, pa.int64()), pa.field(OBJECT, pa.int32()))
NAMES = tuple(item.name for item in FIELDS)
_RESERVED = frozenset(NAMES)
_OBJECT_BITS = 32


def is_reserved(name: str) -> bool:
    """Whether no column of a source or an expression may be called so; Delta takes names in another case for one."""
    return name.casefold() in _RESERVED


def is_kept(schema: pa.Schema) -> bool:
    """Whether the rows of a table of that schema say where they came from."""
    return all(schema.get_field_index(name) >= 0 for name in NAMES)


def without(schema: pa.Schema) -> pa.Schema:
    """The user's columns."""
    return pa.schema([item for item in schema if not is_reserved(item.name)])


def with_fields(schema: pa.Schema) -> pa.Schema:
    """``schema`` with the columns of the provenance behind it."""
    return pa.schema([*without(schema), *FIELDS])


def import_name(identity: ImportId) -> str:
    """What rows of this import say."""
    return f"{identity.pipeline}/{identity.step}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stamp:
    """What all rows of one batch say."""

    importer: str
    batch: int

    def put(self, table: pa.Table, place: int) -> pa.Table:
        """Rows of the object at that place of the manifest, with where they came from."""
        values = (self.importer, self.batch, place)
        for item, value in zip(FIELDS, values, strict=True):
            table = table.append_column(item, pa.repeat(pa.scalar(value, item.type), table.num_rows))
        return table


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsOf:
    """Picks the rows of some objects of one import: ``places`` are those in the manifest, by batch."""

    importer: str
    places: Mapping[int, Collection[int]]

    @property
    def columns(self) -> tuple[str, ...]:
        """What ``pick`` looks at."""
        return NAMES

    def pick(self, table: pa.Table) -> pa.BooleanArray:
        """True for each row that came from one of the objects; never null."""
        wanted = pa.array([_key(batch, place) for batch, places in self.places.items() for place in places], pa.int64())
        keys = pc.bit_wise_or(pc.shift_left(table[BATCH], _OBJECT_BITS), table[OBJECT].cast(pa.int64()))
        found = pc.and_(pc.is_in(keys, value_set=wanted), pc.equal(table[IMPORT], self.importer))
        return pc.fill_null(found, fill_value=False).combine_chunks()

    def counts(self, table: pa.Table) -> dict[tuple[int, int], int]:
        """Rows by (batch, place) of a table of picked rows."""
        grouped = table.select([BATCH, OBJECT]).group_by([BATCH, OBJECT]).aggregate([([], "count_all")])
        pairs = zip(grouped[BATCH].to_pylist(), grouped[OBJECT].to_pylist(), strict=True)
        return dict(zip(pairs, grouped["count_all"].to_pylist(), strict=True))

    def may_hold(self, file: DataFile) -> bool:
        """Whether the file's statistics allow a row of one of the objects in it."""
        if not _allows(file, IMPORT, [self.importer]):
            return False
        batches = [batch for batch in self.places if _allows(file, BATCH, [batch])]
        bounds = file.bounds.get(BATCH)
        if bounds is not None and bounds.low is not None and bounds.low == bounds.high:
            return any(_allows(file, OBJECT, self.places[batch]) for batch in batches)
        return bool(batches)


def _key(batch: int, place: int) -> int:
    return batch << _OBJECT_BITS | place


def _allows(file: DataFile, name: str, values: Collection[object]) -> bool:
    """Whether one of the values can be in that column; a file without statistics allows everything."""
    bounds: Bounds | None = file.bounds.get(name)
    if bounds is None:
        return True
    if file.rows is not None and bounds.nulls == file.rows:
        return False
    low, high = bounds.low, bounds.high
    return any((low is None or value >= low) and (high is None or value <= high) for value in values)
