"""Refused rows beside the table: what was refused, why, and where it came from.

The quarantine is a Delta table with one schema for every source. ``record`` is the row as JSON text as it was before
``select``; ``raw`` the bytes of a record that could not be parsed. When the step masks columns, ``record`` shows them
masked and ``raw`` is withheld, since no one can tell where in it a masked value stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from lakeray.delta.table import open_table
from lakeray.delta.upkeep import delete_rows
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.readers.port import Refused

SCHEMA = pa.schema(
    [
        ("object_uri", pa.string()),
        ("object_etag", pa.string()),
        ("object_version_id", pa.string()),
        ("row", pa.int64()),
        ("line", pa.int64()),
        ("column", pa.int64()),
        ("rule", pa.string()),
        ("reason", pa.string()),
        ("record", pa.string()),
        ("raw", pa.binary()),
        ("pipeline", pa.string()),
        ("step", pa.string()),
        ("batch", pa.int64()),
        ("run_id", pa.string()),
        ("quarantined_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""``row`` is the record's 1-based number in its object; ``line`` and ``column`` are 1-based where the format has
lines. ``rule`` is ``malformed``, ``type:<column>``, ``table:<column>``, ``select:<column>``, ``where``,
``expect:<name>`` or ``constraint:<name>``."""


_URIS_AT_ONCE = 500
BESIDE = "lakeray.table"
"""Property of the quarantine: uri of the table whose import made it, where the ledgers of its batches are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What all rows of one attempt have in common."""

    pipeline: str
    step: str
    batch: int
    run_id: str
    now: datetime
    withhold_raw: bool

    def malformed(self, planned: PlannedObject, refused: Sequence[Refused]) -> pa.Table:
        """Rows for records that could not be parsed."""
        raw = None if self.withhold_raw else [item.raw for item in refused]
        return self._table(
            planned,
            len(refused),
            row=[item.row for item in refused],
            line=[item.line for item in refused],
            column=[item.column for item in refused],
            rule=["malformed"] * len(refused),
            reason=[item.reason for item in refused],
            raw=raw,
        )

    def violations(self, planned: PlannedObject, rows: pa.Table) -> pa.Table:
        """Rows that a rule refused; ``rows`` has the columns row, rule, reason and record."""
        columns = {name: rows[name] for name in ("row", "rule", "reason", "record")}
        return self._table(planned, rows.num_rows, **columns)

    def _table(self, planned: PlannedObject, count: int, **columns: object) -> pa.Table:
        info = planned.info
        same = {
            "object_uri": info.uri,
            "object_etag": info.etag,
            "object_version_id": info.version_id,
            "pipeline": self.pipeline,
            "step": self.step,
            "batch": self.batch,
            "run_id": self.run_id,
            "quarantined_at": self.now,
        }
        arrays = []
        for field in SCHEMA:
            given = columns.get(field.name)
            if given is not None:
                array = given if isinstance(given, pa.Array | pa.ChunkedArray) else pa.array(given, field.type)
                arrays.append(array.cast(field.type))
            else:
                arrays.append(pa.repeat(pa.scalar(same.get(field.name), field.type), count))
        return pa.table(arrays, schema=SCHEMA)


def forget_objects(uri: str, *, pipeline: str, step: str, loads: Sequence[tuple[int, str]]) -> None:
    """Take the rows of some loads (batch, uri of the object) out of the quarantine at ``uri``; idempotent, also when
    there is none.
    """
    if open_table(uri) is None:
        return
    by_batch: dict[int, list[str]] = {}
    for batch, object_uri in loads:
        by_batch.setdefault(batch, []).append(object_uri)
    for batch, uris in sorted(by_batch.items()):
        for start in range(0, len(uris), _URIS_AT_ONCE):
            listed = ", ".join("'" + each.replace("'", "''") + "'" for each in uris[start : start + _URIS_AT_ONCE])
            here = f"batch = {batch} AND pipeline = '{pipeline}' AND step = '{step}'"
            delete_rows(uri, f"{here} AND object_uri IN ({listed})")


def forget(uri: str, *, pipeline: str, step: str, batch: int) -> None:
    """Take the rows of one batch out of the quarantine at ``uri``; idempotent, also when there is none."""
    if open_table(uri) is not None:
        delete_rows(uri, f"batch = {batch} AND pipeline = '{pipeline}' AND step = '{step}'")
