"""Columns of a table take a wider type, in one commit that writes the files anew which hold the narrow one.

Delta's own type widening is not used: few readers know it. The commit changes no row: readers of changes skip it, and
whoever dies in the middle of it leaves staged files that nothing names. A file that another writer adds meanwhile is
planned anew with the rest.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from lakeray.delta.files import DataFile, check_no_deletion_vectors, data_files
from lakeray.delta.parquet import WriteOptions
from lakeray.delta.query import file_count
from lakeray.delta.rewrite import Rewrite, commit_rewrite
from lakeray.delta.staged import StagedFile
from lakeray.delta.statistics import Indexed
from lakeray.delta.table import TableHandle
from lakeray.delta.writer import StagedWriter
from lakeray.errors import ImportFailed, StoreUnavailable, UnsupportedTable
from lakeray.importer.context import ImportContext
from lakeray.objects import join, open_store
from lakeray.transform.coercions import convert
from lakeray.transform.contract import Widening
from lakeray.transform.growth import extends

SETTLED = Widening(closed=True)
"""The batch's types are agreed on: what does not fit them now is rescued."""
_EXACT = 2**53
_BATCH_ROWS = 64 * 1024
_ROW_GROUP_SHARE = 4


def widening_of(context: ImportContext, handle: TableHandle) -> Widening:
    """Which columns of the table may take a wider type in a batch."""
    source = context.source
    if source.types_rule != "evolve":
        return SETTLED
    texts = frozenset(name for name, kind in source.hints.items() if pa.types.is_string(kind))
    if file_count(handle) == 0:
        return Widening(texts=texts)
    if source.contract.widen == "none" or not _can_rewrite(handle):
        return Widening(fixed=frozenset(handle.schema.names))
    return Widening(fixed=frozenset(handle.partition_by), inexact=_inexact(handle), texts=texts)


def _can_rewrite(handle: TableHandle) -> bool:
    try:
        handle.check_writable("rewrite")
        check_no_deletion_vectors(handle)
    except UnsupportedTable:
        return False
    return True


def _inexact(handle: TableHandle) -> frozenset[str]:
    """Columns with 64-bit integers of which the statistics do not promise that a float holds them exactly."""
    wide = [item.name for item in handle.schema if _holds_int64(item.type)]
    plain = [name for name in wide if handle.schema.field(name).type == pa.int64()]
    files = data_files(handle, plain)
    exact = {name for name in plain if all(_is_exact(file, name) for file in files)}
    return frozenset(wide) - exact


def _is_exact(file: DataFile, name: str) -> bool:
    bounds = file.bounds.get(name)
    if bounds is None:
        return False
    if bounds.low is None or bounds.high is None:
        return bounds.nulls is not None and bounds.nulls == file.rows
    return bool(bounds.low >= -_EXACT and bounds.high <= _EXACT)


def _holds_int64(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_holds_int64(kind.field(place).type) for place in range(kind.num_fields))
    return bool(kind == pa.int64())


def retyped(before: pa.Schema, after: pa.Schema) -> dict[str, pa.DataType]:
    """The columns of ``before`` that took a type in which its files cannot be read, with that type."""
    found = {}
    for item in before:
        place = after.get_field_index(item.name)
        if place >= 0 and not extends(after.field(place).type, item.type):
            found[item.name] = after.field(place).type
    return found


def widen(context: ImportContext, handle: TableHandle, wide: dict[str, pa.DataType], *, batch: int) -> None:
    """See to it that the table has its columns in the types ``wide``; idempotent, also beside other writers.

    Raises ImportFailed when a value that came in meanwhile would not stay what it is, and whatever ``commit_rewrite``
    raises.
    """
    identity = context.identity(handle)
    digest = hashlib.sha256(repr(sorted((name, str(kind)) for name, kind in wide.items())).encode()).hexdigest()[:16]
    work = _Work(context=context, wide=wide, batch=batch)
    commit_rewrite(
        handle.uri,
        app_id=f"{identity.app_id}/widen-{digest}",
        number=batch,
        previous=None,
        plan=work.plan,
        operation="CHANGE COLUMN",
        concerns=bool,
        parameters={"columns": ", ".join(sorted(wide))},
        dense=False,
    )


@dataclass(kw_only=True)
class _Work:
    """The plan of one widening, made anew whenever the table moved."""

    context: ImportContext
    wide: dict[str, pa.DataType]
    batch: int
    _staged: tuple[StagedFile, ...] = ()

    def plan(self, handle: TableHandle) -> Rewrite:
        self._discard(handle)
        schema = pa.schema([item.with_type(self.wide.get(item.name, item.type)) for item in handle.schema])
        if not retyped(handle.schema, schema):
            return Rewrite(data_change=False)
        removes, adds = self._rewritten(handle, schema)
        self._staged = tuple(adds)
        actions = [{"metaData": _metadata(handle, schema, self.wide)}]
        return Rewrite(adds=adds, removes=removes, data_change=False, actions=actions)

    def _rewritten(self, handle: TableHandle, schema: pa.Schema) -> tuple[list[DataFile], list[StagedFile]]:
        files = data_files(handle)
        attempt = secrets.token_hex(4)
        prefix = self.context.identity(handle).file_prefix(self.batch, attempt)
        task = WidenTask(
            files=(),
            table_uri=handle.uri,
            schema=schema,
            wide=tuple(sorted(self.wide)),
            partition_by=tuple(handle.partition_by),
            prefix="",
            options=WriteOptions(
                target_file_bytes=self.context.table.target_file_size,
                row_group_bytes=self.context.task_memory_bytes // _ROW_GROUP_SHARE,
                compression=self.context.table.codec.codec,
                compression_level=self.context.table.codec.effort,
                indexed=Indexed.of_properties(handle.properties),
            ),
        )
        slots = max(1, self.context.executor.slots)
        groups = [files[start::slots] for start in range(min(slots, len(files)))]
        tasks = [
            replace(task, files=tuple(group), prefix=f"{prefix}-t{place:04d}-w") for place, group in enumerate(groups)
        ]
        removes: list[DataFile] = []
        adds: list[StagedFile] = []
        for told in self.context.executor.run(tasks):
            self.context.check_cancelled()
            if not isinstance(told.message, Widened):
                raise StoreUnavailable(
                    f"a worker died while it wrote files of {handle.uri} anew: {told.message}",
                    uri=handle.uri,
                    hint="run again",
                )
            removes.extend(told.message.removes)
            adds.extend(told.message.adds)
        return removes, adds

    def _discard(self, handle: TableHandle) -> None:
        """Files of an earlier plan, which no commit can name any more."""
        for file in self._staged:
            open_store(handle.uri).delete(join(handle.uri, file.path))
        self._staged = ()


def _metadata(handle: TableHandle, schema: pa.Schema, wide: dict[str, pa.DataType]) -> dict[str, Any]:
    """The table's metaData action with the wider types; everything else as it is.

    https://github.com/delta-io/delta/blob/master/PROTOCOL.md#change-metadata
    """
    from deltalake import Schema

    raw = orjson.loads(handle.delta.schema().to_json())
    new = {item["name"]: item for item in orjson.loads(Schema.from_arrow(schema).to_json())["fields"]}
    for item in raw["fields"]:
        if item["name"] in wide:
            item["type"] = new[item["name"]]["type"]
    metadata = handle.delta.metadata()
    action = {
        "id": str(metadata.id),
        "name": metadata.name,
        "description": metadata.description,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": orjson.dumps(raw).decode(),
        "partitionColumns": list(metadata.partition_columns),
        "createdTime": metadata.created_time,
        "configuration": dict(metadata.configuration),
    }
    return {name: value for name, value in action.items() if value is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Widened:
    """Which files held the narrow type, and those that take their place."""

    removes: list[DataFile]
    adds: list[StagedFile]


@dataclass(frozen=True, kw_only=True, slots=True)
class WidenTask:
    """Writes some files of a table anew in ``schema``, in a worker. A file without any ``wide`` column stays."""

    files: tuple[DataFile, ...]
    table_uri: str
    schema: pa.Schema
    wide: tuple[str, ...]
    partition_by: tuple[str, ...]
    prefix: str
    options: WriteOptions

    def run(self) -> Iterator[Widened]:
        """One message. Raises ImportFailed for a value that the wider type does not hold."""
        writer = StagedWriter(
            self.table_uri,
            schema=self.schema,
            partition_by=list(self.partition_by),
            prefix=self.prefix,
            options=self.options,
        )
        try:
            removes = [file for file in self.files if self._rewrite(file, writer)]
            yield Widened(removes=removes, adds=writer.close())
        except BaseException:
            writer.discard()
            raise

    def _rewrite(self, file: DataFile, writer: StagedWriter) -> bool:
        with open_store(self.table_uri).open(join(self.table_uri, file.path)) as stream:
            parquet = pq.ParquetFile(stream)
            held = parquet.schema_arrow
            if not any(
                name in held.names and not extends(self.schema.field(name).type, held.field(name).type)
                for name in self.wide
            ):
                return False
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
                writer.write(self._table(pa.Table.from_batches([batch]), file))
        return True

    def _table(self, found: pa.Table, file: DataFile) -> pa.Table:
        columns = []
        for item in self.schema:
            if item.name in self.partition_by:
                value = pa.scalar(file.partition[item.name], item.type)
                columns.append(pa.repeat(value, found.num_rows))
            elif item.name in found.column_names:
                columns.append(self._column(found[item.name].combine_chunks(), item, file))
            else:
                columns.append(pa.nulls(found.num_rows, item.type))
        return pa.Table.from_arrays(columns, schema=self.schema)

    def _column(self, values: pa.Array | pa.ChunkedArray, item: pa.Field, file: DataFile) -> pa.Array:
        array = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
        done = convert(array, item.type)
        if done.misfits is not None or done.cut:
            raise ImportFailed(
                f"the column {item.name!r} of {self.table_uri} cannot become {item.type}: the file {file.path} holds "
                "values that it would not hold exactly",
                uri=self.table_uri,
                hint="run again: the values that asked for it will be rescued",
            )
        return done.values
