"""A commit of a Delta table as an object: its log entry is what lies in the store, its rows are those that changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.changes import ChangedFile, commit_changes
from lakeray.delta.files import check_no_deletion_vectors, data_files
from lakeray.delta.rewrite import keeps_change_feed
from lakeray.delta.scan import Scan
from lakeray.delta.sieve import CHANGE_TYPE
from lakeray.delta.table import TableHandle, open_version, require_table
from lakeray.errors import ImportFailed, ObjectNotFound
from lakeray.importer.provenance import columns as provenance
from lakeray.importer.readers.port import Chunk, ReadOptions

LOG = "/_delta_log/"
VERSION = pa.field("_commit_version", pa.int64())
AT = pa.field("_commit_timestamp", pa.timestamp("us", tz="UTC"))
_ROWS = (1_000, 65_536)
_UNPACKED = 8
"""How many times larger a file's rows are taken to be in memory."""


def read_delta(file: BinaryIO, options: ReadOptions, *, name: str) -> Iterator[Chunk]:
    """The rows of the commit whose log entry ``file`` is; of the whole table at that version with ``read: snapshot``.

    From a table that keeps a change data feed rows come with ``_change_type`` (insert, update_postimage or delete; what
    a row was before its update is left out), ``_commit_version`` and ``_commit_timestamp``. Raises ImportFailed for a
    commit that removes rows of a table without one, unless ``change_commits`` says what to do; UnsupportedTable for
    column mapping or deletion vectors.
    """
    root, _, entry = name.rpartition(LOG)
    version = int(entry.removesuffix(".json"))
    if options.options.get("read") == "snapshot":
        yield from _numbered(_snapshot(root, version, options))
    else:
        yield from _numbered(_changes(file.read(), root, version, options, name))


def _snapshot(root: str, version: int, options: ReadOptions) -> Iterator[pa.Table]:
    handle = open_version(root, version)
    handle.check_readable()
    check_no_deletion_vectors(handle)
    source = _Files(handle=handle, version=version, chunk_bytes=options.chunk_bytes)
    for file in data_files(handle):
        yield from source.tables(
            ChangedFile(
                path=file.path, kind="insert", partition=file.partition, size_bytes=file.size_bytes, rows=file.rows
            )
        )


def _changes(data: bytes, root: str, version: int, options: ReadOptions, name: str) -> Iterator[pa.Table]:
    handle = require_table(root)
    handle.check_readable()
    source = _Files(handle=handle, version=version, chunk_bytes=options.chunk_bytes)
    changes = commit_changes(data, handle, uri=name)
    if keeps_change_feed(handle):
        for file in changes.files:
            for table in source.tables(file, told=True):
                yield _stamped(table, version, changes.at_ms)
        return
    policy = options.options.get("change_commits")
    if changes.removes and policy == "skip":
        return
    if changes.removes and policy != "append":
        raise ImportFailed(
            f"version {version} of {root} removes rows, and the table keeps no change data feed that says which",
            uri=name,
            hint="set delta.enableChangeDataFeed on that table for what comes, or read it as a snapshot with mode "
            "overwrite; `delta: {change_commits: skip}` leaves such versions out, `append` reads their new files whole",
        )
    for file in changes.files:
        if file.kind == "insert":
            yield from source.tables(file)


def _stamped(table: pa.Table, version: int, at_ms: int) -> pa.Table:
    count = table.num_rows
    table = table.append_column(VERSION, pa.repeat(pa.scalar(version, VERSION.type), count))
    return table.append_column(AT, pa.repeat(pa.scalar(at_ms * 1000, pa.int64()).cast(AT.type), count))


def _numbered(tables: Iterator[pa.Table]) -> Iterator[Chunk]:
    first = 1
    for table in tables:
        yield Chunk(table=table, rows=pa.array(range(first, first + table.num_rows), pa.int64()))
        first += table.num_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    """The files of one version of a table."""

    handle: TableHandle
    version: int
    chunk_bytes: int

    def tables(self, file: ChangedFile, *, told: bool = False) -> Iterator[pa.Table]:
        """The file's rows in the user's columns; ``told``: with what became of each."""
        schema = provenance.without(self.handle.schema)
        if told and file.kind is None:
            schema = pa.schema([*schema, CHANGE_TYPE])
        try:
            with Scan(self.handle.uri, file.path, schema=schema, partition=file.partition) as scan:
                for table in scan.tables(range(scan.row_groups), rows=self._rows(file)):
                    yield _as_told(table, file.kind) if told else table
        except ObjectNotFound as error:
            raise ImportFailed(
                f"version {self.version} of {self.handle.uri} cannot be read any more: {file.path} is gone",
                uri=self.handle.uri,
                hint="it was vacuumed before it was imported: read the table as a snapshot with mode overwrite, or set "
                "starting_version behind it",
            ) from error

    def _rows(self, file: ChangedFile) -> int:
        least, most = _ROWS
        if not file.rows or not file.size_bytes:
            return least
        fit = self.chunk_bytes * file.rows // (file.size_bytes * _UNPACKED)
        return max(least, min(most, fit))


def _as_told(table: pa.Table, kind: str | None) -> pa.Table:
    if kind is not None:
        return table.append_column(CHANGE_TYPE, pa.repeat(pa.scalar(kind), table.num_rows))
    return table.filter(pc.not_equal(table[CHANGE_TYPE.name], "update_preimage"))
