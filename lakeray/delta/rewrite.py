"""A commit that takes files out of a table happens exactly once, on exactly the version that it was planned on.

delta-rs replays such a commit on newer versions without looking (a remove of a file that compaction has replaced is
accepted, and the row is then there twice), and writes no change data files. So the log entry is written here:
``_delta_log/<version + 1>.json``, created if absent, which is a compare-and-set of the whole table on every store and
the very protocol that delta-rs itself follows. Source:
https://github.com/delta-io/delta/blob/master/PROTOCOL.md#delta-log-entries
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
import pyarrow as pa

from lakeray.delta.commit import check_types, checkpoint_now_and_then, until_done
from lakeray.delta.files import DataFile, check_no_deletion_vectors, data_files
from lakeray.delta.log import commit_uri
from lakeray.delta.staged import StagedFile
from lakeray.delta.table import TableHandle, require_table
from lakeray.delta.turn import NONCE, Committed, NoTurn, Turn
from lakeray.errors import CommitConflict, ObjectExists, UnsupportedTable
from lakeray.failpoints import failpoint
from lakeray.objects import open_store

_UNESCAPED = "/=:~-_.!$&'()*+,;@"  # what delta-rs leaves as it is in a path


@dataclass(frozen=True, kw_only=True, slots=True)
class Rewrite:
    """What one commit takes out of a table and puts in.

    ``removes`` are live files of the handle that it was planned on. ``changes`` are change data files below
    ``_change_data/`` (their schema is the table's with ``_change_type``); a table that keeps a change data feed needs
    them where rows were moved from removed to added files. ``data_change=False`` says that the rows stay the same (a
    compaction). ``actions`` are further actions as the log holds them, such as ``{"metaData": {...}}``. ``metrics`` and
    ``metadata`` (flat strings named ``lakeray.*``) stand in the commit's information.
    """

    adds: Sequence[StagedFile] = ()
    removes: Sequence[DataFile] = ()
    changes: Sequence[StagedFile] = ()
    data_change: bool = True
    actions: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)


Plan = Callable[[TableHandle], Rewrite]


def commit_rewrite(
    uri: str,
    *,
    app_id: str,
    number: int,
    previous: int | None,
    plan: Plan,
    operation: str,
    concerns: Callable[[Sequence[DataFile]], bool] = lambda _: False,
    columns: Sequence[str] = (),
    parameters: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    dense: bool = True,
    schema: pa.Schema | None = None,
    failpoints: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Committed:
    """Make batch ``number`` of ``app_id`` visible in the table at ``uri``, unless it is visible already.

    ``plan`` is called with a fresh handle whose batch it is and stages what its Rewrite names. When another writer was
    faster, the same Rewrite is sent again as long as the table's definition stands, all removed files are still live,
    and ``concerns`` says of the files that came in since (with the statistics of ``columns``) that they would have
    changed nothing; otherwise ``plan`` is called again with a newer handle, and files of its earlier answer are its own
    to delete: no commit can name them any more. ``operation`` is MERGE, DELETE, UPDATE, WRITE or OPTIMIZE;
    ``schema`` has the types of what was staged before, whatever the plan makes of it; ``previous``, ``dense``,
    ``metadata`` and the answer are as in ``commit_once``.

    Raises ExactlyOnceError, CommitConflict and StoreUnavailable as ``commit_once`` does; ColumnRetyped when a column of
    ``schema`` took another type in the table; UnsupportedTable when the
    table does not allow it (append-only, deletion vectors, row tracking, in-commit timestamps); whatever ``plan``
    raises.
    """
    nonce = uuid.uuid4().hex
    attempt = _Attempt(
        uri=uri,
        turn=Turn(app_id=app_id, number=number, previous=previous, dense=dense, nonce=nonce),
        plan=plan,
        concerns=concerns,
        columns=columns,
        info={
            "operation": operation,
            "operationParameters": dict(parameters or {}),
            "engineInfo": "lakeray",
            "isBlindAppend": False,
            **(metadata or {}),
            NONCE: nonce,
        },
        failpoints=failpoints,
        schema=schema,
    )
    return _carried(attempt, f"committing batch {number}", sleep)


def commit_rearranged(
    uri: str,
    *,
    plan: Plan,
    parameters: Mapping[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Committed:
    """Put the same rows into other files (``data_change=False``), in a commit that belongs to no batch.

    ``plan`` is called again whenever one of its removed files is no longer live; an append-only table allows this
    too. Raises CommitConflict, StoreUnavailable, UnsupportedTable, and whatever ``plan`` raises.
    """
    nonce = uuid.uuid4().hex
    attempt = _Attempt(
        uri=uri,
        turn=NoTurn(nonce=nonce, since=require_table(uri).version),
        plan=plan,
        concerns=lambda _: False,
        columns=(),
        info={
            "operation": "OPTIMIZE",
            "operationParameters": dict(parameters or {}),
            "engineInfo": "lakeray",
            "isBlindAppend": False,
            NONCE: nonce,
        },
        failpoints=False,
        mode="append",
    )
    return _carried(attempt, "putting rows into other files", sleep)


def _carried(attempt: _Attempt, doing: str, sleep: Callable[[float], None]) -> Committed:
    while True:
        done = until_done(attempt.run, attempt.uri, doing, sleep=sleep)
        if done is not None:
            return done
        attempt.make_plan()  # apart from the commit's own tries: what it raises is not for them to repeat


@dataclass(kw_only=True, slots=True)
class _Planned:
    """A Rewrite with what it rests on: ``live`` are the files of the handle, as the log spells them."""

    rewrite: Rewrite
    definition: tuple[Any, ...]
    live: frozenset[str]


@dataclass(kw_only=True, slots=True)
class _Attempt:
    """One call of ``commit_rewrite``; ``run`` is one pass through the protocol, from a fresh handle on."""

    uri: str
    turn: Turn | NoTurn
    plan: Plan
    concerns: Callable[[Sequence[DataFile]], bool]
    columns: Sequence[str]
    info: dict[str, Any]
    failpoints: bool
    mode: str = "rewrite"
    schema: pa.Schema | None = None
    _handle: TableHandle | None = None
    _planned: _Planned | None = None

    def run(self) -> Committed | None:
        """The commit, or None when a plan has to be made first."""
        handle = self._handle = require_table(self.uri)
        had = self.turn.had(handle)
        if had is not None:
            return had
        handle.check_writable(self.mode)
        if self._planned is None or not self._holds(self._planned, handle):
            return None
        if self.failpoints:
            failpoint("before_commit")
        info = self._send(handle, self._planned.rewrite)
        if self.failpoints:
            failpoint("commit_reply")
        checkpoint_now_and_then(handle, handle.version + 1)
        metadata = {name: str(value) for name, value in info.items() if name.startswith("lakeray.")}
        return Committed(version=handle.version + 1, won=True, metadata=metadata)

    def make_plan(self) -> None:
        """Plan on the handle that ``run`` has seen."""
        assert self._handle is not None
        check_no_deletion_vectors(self._handle)
        if self.schema is not None:
            check_types(self._handle, self.schema)
        rewrite = self.plan(self._handle)
        live = frozenset(file.logged for file in data_files(self._handle))
        gone = [file.path for file in rewrite.removes if file.logged not in live]
        assert not gone, f"planned to remove files that are not live: {gone[:3]}"
        _check_change_feed(self._handle, rewrite)
        self._planned = _Planned(rewrite=rewrite, definition=_definition(self._handle), live=live)

    def _holds(self, planned: _Planned, handle: TableHandle) -> bool:
        """Whether the plan would come out the same on this handle."""
        if planned.definition != _definition(handle):
            return False
        now = data_files(handle, self.columns)
        live = {file.logged for file in now}
        if not all(file.logged in live for file in planned.rewrite.removes):
            return False
        new = [file for file in now if file.logged not in planned.live]
        return not new or not self.concerns(new)

    def _send(self, handle: TableHandle, rewrite: Rewrite) -> dict[str, Any]:
        """Create the log entry behind the handle's version. Raises CommitConflict when another is there."""
        now_ms = int(time.time() * 1000)
        metrics = {name: str(value) for name, value in rewrite.metrics.items()}
        info = {
            "timestamp": now_ms,
            "readVersion": handle.version,
            **self.info,
            **rewrite.metadata,
            "operationMetrics": metrics,
        }
        files = _file_actions(rewrite, now_ms)
        actions = [{"commitInfo": info}, *rewrite.actions, *self.turn.actions(now_ms), *files]
        body = b"".join(orjson.dumps(action) + b"\n" for action in actions)
        try:
            open_store(self.uri).create(commit_uri(self.uri, handle.version + 1), body)
        except ObjectExists:
            raise CommitConflict(
                f"another writer made version {handle.version + 1} of {self.uri}", uri=self.uri, hint="run again"
            ) from None
        return info


def _definition(handle: TableHandle) -> tuple[Any, ...]:
    """What a plan may rest on besides the files."""
    protocol = handle.delta.protocol()
    return (
        handle.id,
        handle.schema,
        handle.partition_by,
        handle.properties,
        protocol.min_reader_version,
        protocol.min_writer_version,
        protocol.reader_features,
        protocol.writer_features,
    )


def _check_change_feed(handle: TableHandle, rewrite: Rewrite) -> None:
    """Without change data files readers take every row of a removed file for deleted, of an added one for inserted."""
    moved = rewrite.adds and rewrite.removes and rewrite.data_change
    if moved and not rewrite.changes and keeps_change_feed(handle):
        raise UnsupportedTable(
            f"the table at {handle.uri} keeps a change data feed, which this commit would have to write",
            uri=handle.uri,
            hint="unset delta.enableChangeDataFeed, or import into another table",
        )


def keeps_change_feed(handle: TableHandle) -> bool:
    """Whether commits that move rows must write change data files."""
    return handle.properties.get("delta.enableChangeDataFeed", "").strip().lower() == "true"


def _file_actions(rewrite: Rewrite, now_ms: int) -> list[dict[str, Any]]:
    adds = [
        {
            "add": {
                "path": quote(file.path, safe=_UNESCAPED),
                "partitionValues": file.partition_values,
                "size": file.size_bytes,
                "modificationTime": file.modified_ms,
                "dataChange": rewrite.data_change,
                "stats": file.stats,
            }
        }
        for file in rewrite.adds
    ]
    removes = [
        {
            "remove": {
                "path": file.logged,
                "deletionTimestamp": now_ms,
                "dataChange": rewrite.data_change,
                "extendedFileMetadata": True,
                "partitionValues": file.partition_values,
                "size": file.size_bytes,
            }
        }
        for file in rewrite.removes
    ]
    changes = [
        {
            "cdc": {
                "path": quote(file.path, safe=_UNESCAPED),
                "partitionValues": file.partition_values,
                "size": file.size_bytes,
                "dataChange": False,
            }
        }
        for file in rewrite.changes
    ]
    return [*removes, *adds, *changes]
