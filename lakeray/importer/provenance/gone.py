"""Object versions whose rows are to be taken out: replaced by another version, or listed no more.

What one load brought into the table is a (version, batch) pair; a version that was imported again after a reset has
several. That an object is gone is believed only once the source was listed to its end, and never of too many at once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import ImportFailed
from lakeray.importer.manifest import Fate, PlannedObject
from lakeray.importer.recording.ledger import GONE, LOADED, identity_keys
from lakeray.objects import LISTING, ObjectInfo
from lakeray.spec.sources import Source

COLUMNS = ("modified_at", "takes", "provenance")
"""What ``live_loads`` reads of a ledger beside what the comparison of a listing does."""
LOADS = pa.schema([*LISTING, ("takes", pa.int64()), ("provenance", pa.bool_())])
"""One row a load: the object version, the batch that brought its rows in, whether these say so."""

UNKNOWN_ROWS = (
    "its earlier version was imported before rows said where they came from, so they cannot be taken out: import the "
    "table anew, or delete them and set changed_objects: append for one run"
)


def live_loads(rows: pa.Table) -> pa.Table:
    """The loads among a ledger's ``rows`` (all of the objects concerned, not only the latest) that nothing took out."""
    loads = rows.filter(pc.is_in(rows["outcome"], value_set=pa.array(LOADED)))
    taken = rows.filter(pc.is_in(rows["outcome"], value_set=pa.array(GONE)))
    if taken.num_rows:
        loads = loads.filter(pc.invert(pc.is_in(load_keys(loads, "batch"), value_set=load_keys(taken, "takes"))))
    told = pc.fill_null(loads["provenance"], fill_value=False)
    return pa.table([*(loads[name] for name in LISTING.names), loads["batch"], told], schema=LOADS)


def load_keys(rows: pa.Table, batch: str) -> pa.Array:
    """One string a load: an object version in the batch that the column ``batch`` names."""
    keys = identity_keys(rows)
    return pc.binary_join_element_wise(keys, rows[batch].cast(pa.string()).combine_chunks(), "\x00")


def going(loads: pa.Table, fate: Fate) -> Iterator[PlannedObject]:
    """What a manifest says of the loads."""
    for row in loads.to_pylist():
        takes = row.pop("takes")
        del row["provenance"]
        yield PlannedObject.going(ObjectInfo(**row), fate=fate, takes=takes)


@dataclass(slots=True)
class Vanished:
    """Loads of objects that were not listed, kept on disk until the listing is known to be whole.

    ``held`` counts imported objects that are listed, ``gone`` those that are not; ``unknown`` are further ones, whose
    rows do not say where they came from and therefore stay.
    """

    held: int = 0
    gone: int = 0
    unknown: int = 0
    _file: BinaryIO | None = None
    _writer: pa.RecordBatchFileWriter | None = None

    def add(self, loads: pa.Table, *, held: int) -> None:
        """One stretch of the comparison."""
        known = loads.filter(loads["provenance"])
        self.held += held
        self.gone += pc.count_distinct(known["uri"]).as_py()
        self.unknown += pc.count_distinct(loads["uri"].filter(pc.invert(loads["provenance"]))).as_py()
        if known.num_rows:
            if self._writer is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as this object
                self._writer = pa.ipc.new_file(self._file, LOADS)
            self._writer.write_table(known)

    def guard(self, source: Source) -> None:
        """Raise ImportFailed when so many are gone that a mistake is likelier."""
        everything = self.held + self.gone
        if self.gone > source.deletion_guard * everything:
            raise ImportFailed(
                f"{self.gone} of {everything} imported objects are not listed any more under {source.uri}, which is "
                f"more than the deletion_guard of {source.deletion_guard:g} lets pass; nothing was taken out",
                uri=source.uri,
                hint="check the source's uri and its store; if they were really deleted, set deletion_guard: 1 for one "
                "run",
            )

    def objects(self) -> Iterator[PlannedObject]:
        """All that go, a few in memory at a time."""
        if self._writer is None or self._file is None:
            return
        self._writer.close()
        self._writer = None
        self._file.seek(0)
        reader = pa.ipc.open_file(self._file)
        for number in range(reader.num_record_batches):
            yield from going(pa.Table.from_batches([reader.get_batch(number)]), "deleted")
