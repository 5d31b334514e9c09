"""Refused rows beside the table: what was refused, why, and where it came from.

The quarantine is a Delta table with one schema for every source. ``record`` is the row as JSON text as it was read
(as the hook of ``apply`` left it where there is one); ``raw`` the bytes of a record that could not be parsed. When the
step masks columns, ``record`` shows them masked and ``raw`` is withheld, since no one can tell where in it a masked
value stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from lakeray.delta.query import quoted_text
from lakeray.delta.table import add_columns, create_table, open_table
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
        ("masked", pa.bool_()),
    ]
)
"""``row`` is the record's 1-based number in its object; ``line`` and ``column`` are 1-based where the format has
lines. ``rule`` is ``malformed``, ``schema:<path>``, ``type:<column>``, ``mapping:<column>``, ``cleanse:<column>``,
``select:<column>``, ``where``, ``expect:<name>``, ``expect_set:<name>``, ``constraint:<name>`` or ``table:<column>``;
``record`` is the row as it would have been written for ``table:`` and ``expect_set:``. ``masked``: the step masked
columns, so that ``record`` is not what the object says (null: written by a version that did not say)."""

_OBJECTS_AT_ONCE = 200
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

    def again(self, rows: pa.Table) -> pa.Table:
        """Rows of the quarantine as they are, under this batch."""
        own = {"batch": self.batch, "run_id": self.run_id, "quarantined_at": self.now}
        arrays = [
            pa.repeat(pa.scalar(own[item.name], item.type), rows.num_rows) if item.name in own else rows[item.name]
            for item in SCHEMA
        ]
        return pa.table(arrays, schema=SCHEMA)

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
            "masked": self.withhold_raw,
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


def forget_loads(uri: str, loads: Sequence[tuple[int, str]], *, pipeline: str, step: str) -> None:
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
            listed = ", ".join(quoted_text(each) for each in uris[start : start + _URIS_AT_ONCE])
            delete_rows(uri, f"batch = {batch} AND {of_step(pipeline, step)} AND object_uri IN ({listed})")


def prepare(uri: str, *, beside: str, properties: Mapping[str, str]) -> None:
    """See to it that there is a quarantine at ``uri`` with all columns of today."""
    if open_table(uri) is None:
        create_table(uri, SCHEMA, partition_by=[], properties={BESIDE: beside, **properties})
    add_columns(uri, list(SCHEMA))


def forget(uri: str, *, pipeline: str, step: str, batch: int) -> None:
    """Take the rows of one batch out of the quarantine at ``uri``; idempotent, also when there is none."""
    if open_table(uri) is not None:
        delete_rows(uri, f"batch = {batch} AND {of_step(pipeline, step)}")


def forget_earlier(uri: str, objects: Sequence[PlannedObject], *, pipeline: str, step: str, before: int) -> None:
    """Take the rows of these object versions from batches ``before`` one out of the quarantine; idempotent."""
    if open_table(uri) is None:
        return
    for start in range(0, len(objects), _OBJECTS_AT_ONCE):
        some = " OR ".join(f"({of_object(item)})" for item in objects[start : start + _OBJECTS_AT_ONCE])
        delete_rows(uri, f"batch < {before} AND {of_step(pipeline, step)} AND ({some})")


def leave(uri: str, where: str) -> None:
    """Take the rows that a reprocessed batch was made of out of the quarantine; idempotent.

    ``where`` names rows of earlier batches only, whose number is fixed: whatever was refused since, by that batch too,
    has a higher one.
    """
    if open_table(uri) is not None:
        delete_rows(uri, where)


def of_step(pipeline: str, step: str) -> str:
    """SQL for the rows of one import."""
    return f"pipeline = {quoted_text(pipeline)} AND step = {quoted_text(step)}"


def of_step_with_parts(pipeline: str, step: str) -> str:
    """Likewise, with those of parts of its source that were imported under claims."""
    begins = f"{step}."
    return (
        f"pipeline = {quoted_text(pipeline)} AND "
        f"(step = {quoted_text(step)} OR substr(step, 1, {len(begins)}) = {quoted_text(begins)})"
    )


def of_object(planned: PlannedObject) -> str:
    """SQL for the rows of one object version."""
    info = planned.info
    parts = [f"object_uri = {quoted_text(info.uri)}"]
    for name, value in (("object_etag", info.etag), ("object_version_id", info.version_id)):
        parts.append(f"{name} IS NULL" if value is None else f"{name} = {quoted_text(value)}")
    return " AND ".join(parts)
