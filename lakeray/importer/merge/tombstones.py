"""Deletes that are remembered, so that an older change of the same row, arriving later, still loses.

They are a Delta table in the import's folder: key, sequence, when. A batch's deletes are staged with it and recorded
from its result after its commit, as quarantined rows are.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from lakeray.delta.commit import commit_once
from lakeray.delta.files import Bounds, DataFile, data_files
from lakeray.delta.query import file_count
from lakeray.delta.rewrite import Rewrite, commit_rewrite
from lakeray.delta.table import TableHandle, add_columns, create_table, open_table
from lakeray.importer.identity import ImportId
from lakeray.importer.merge.rules import ChangeRules
from lakeray.importer.result import Result
from lakeray.importer.upkeep.optimize import optimize
from lakeray.objects import join

FORMAT = "1"
DELETED_AT = "_deleted_at"
_PROPERTY = "lakeray.tombstones"
_COMPACT_FILES = 100


def tombstones_uri(identity: ImportId) -> str:
    """Where the deletes of an import are remembered."""
    return join(identity.folder, "tombstones")


def tombstone_schema(schema: pa.Schema, rules: ChangeRules) -> pa.Schema:
    """Their columns, for a table of ``schema``: key, sequence, and when the batch was planned that deleted."""
    assert rules.sequence is not None
    names = list(dict.fromkeys([*rules.key, rules.sequence]))
    kept = [pa.field(name, schema.field(name).type) for name in names]
    return pa.schema([*kept, pa.field(DELETED_AT, pa.timestamp("us", tz="UTC"))])


def tombstone_rows(deletes: pa.Table, schema: pa.Schema, now: datetime) -> pa.Table:
    """Changes that delete, as they are remembered."""
    at = pa.repeat(pa.scalar(now, pa.timestamp("us", tz="UTC")), deletes.num_rows)
    columns = [at if item.name == DELETED_AT else deletes.column(item.name) for item in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def prepare(identity: ImportId, schema: pa.Schema) -> None:
    """See to it that deletes of ``schema`` can be remembered. Raises TableError when the key or the sequence has been
    of another type.
    """
    uri = tombstones_uri(identity)
    create_table(uri, schema, properties={_PROPERTY: FORMAT, "lakeray.app_id": identity.app_id})
    add_columns(uri, list(schema))


def record(identity: ImportId, result: Result) -> None:
    """Remember what ``result`` deleted, once however often it is called."""
    if result.tombstone_files:
        commit_once(
            tombstones_uri(identity),
            app_id=f"{identity.app_id}/tombstones",
            number=result.batch,
            previous=None,
            files=result.tombstone_files,
            metadata={"lakeray.result": result.name},
            dense=False,
        )


def forget(identity: ImportId, before: datetime, *, batch: int) -> None:
    """Drop files that hold only deletes from before that moment; keep the files few. ``batch`` is the one at work."""
    uri = tombstones_uri(identity)
    handle = open_table(uri)
    if handle is None:
        return

    def old(handle: TableHandle) -> Rewrite:
        return Rewrite(removes=_older(handle, before))

    if _older(handle, before):
        app_id = f"{identity.app_id}/tombstones/forget"
        commit_rewrite(uri, app_id=app_id, number=batch, previous=None, plan=old, operation="DELETE", dense=False)
    if file_count(handle) > _COMPACT_FILES:
        optimize(uri)


def _older(handle: TableHandle, before: datetime) -> list[DataFile]:
    files = data_files(handle, [DELETED_AT])
    return [file for file in files if (high := file.bounds.get(DELETED_AT, Bounds()).high) and high < before]
