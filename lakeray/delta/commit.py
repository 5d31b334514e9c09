"""A batch becomes visible here exactly once, whatever dies, freezes, races or loses its reply.

A Delta transaction id guards nothing by itself: delta-rs accepts any
number from a fresh handle. What it refuses is a commit through a handle older than another commit of the same
application. So the number is read and the commit made through one handle, which makes a compare-and-set of the two;
after any error or doubt the table is opened anew.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeVar

import pyarrow as pa

from lakeray.delta.failures import is_conflict, is_foreign, translated
from lakeray.delta.log import read_commit
from lakeray.delta.parquet import WriteOptions
from lakeray.delta.staged import StagedFile
from lakeray.delta.table import TableHandle, require_table
from lakeray.delta.turn import NONCE, Committed, Turn
from lakeray.delta.types import fit
from lakeray.delta.writer import StagedWriter
from lakeray.errors import ColumnRetyped, ExactlyOnceError, LakerayError, StoreUnavailable
from lakeray.failpoints import failpoint

_RETRIES_INSIDE = 200  # delta-rs's own default of 15 gave up among 8 writers
_CONFLICTS = 100
_FAILURES = 6
_CHECKPOINT_EVERY = 100

Mode = Literal["append", "overwrite"]
_Answer = TypeVar("_Answer")


def commit_once(
    uri: str,
    *,
    app_id: str,
    number: int,
    previous: int | None,
    files: Sequence[StagedFile],
    mode: Mode = "append",
    metadata: Mapping[str, str] | None = None,
    dense: bool = True,
    schema: pa.Schema | None = None,
    failpoints: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Committed:
    """Make batch ``number`` of ``app_id`` visible in the table at ``uri``, unless it is visible already.

    ``previous`` is the last number that the ledger has recorded, None for nothing. With ``dense`` the table must
    stand at ``number - 1``; without, at any lower number. ``metadata`` are flat strings named ``lakeray.*``; no files
    at all is a commit with only its number. When the batch was committed before, by whomever, nothing is written and
    the winner's metadata comes back.

    Raises ExactlyOnceError when the table contradicts ``previous`` or ``number``; CommitConflict or StoreUnavailable
    when others were always faster or the store failed again and again, in which case the same call may be made again.
    """
    nonce = uuid.uuid4().hex
    attempt = _Attempt(
        uri=uri,
        turn=Turn(app_id=app_id, number=number, previous=previous, dense=dense, nonce=nonce),
        files=files,
        mode=mode,
        schema=schema,
        metadata={**(metadata or {}), NONCE: nonce},
        failpoints=failpoints,
    )
    return until_done(attempt.run, uri, f"committing batch {number}", sleep=sleep)


def until_done(
    attempt: Callable[[], _Answer], uri: str, doing: str, *, sleep: Callable[[float], None] = time.sleep
) -> _Answer:
    """Pass through ``attempt`` again and again while others are faster or the store fails for a moment."""
    conflicts = failures = 0
    while True:
        try:
            return attempt()
        except (ExactlyOnceError, ColumnRetyped):
            raise
        except Exception as error:
            if not (is_foreign(error) or (isinstance(error, LakerayError) and error.retryable)):
                raise
            conflicts, failures = (conflicts + 1, failures) if is_conflict(error) else (conflicts, failures + 1)
            if conflicts > _CONFLICTS or failures > _FAILURES:
                raise translated(error, uri, doing) from error
            sleep(_pause_s(conflicts + failures))


def _pause_s(tries: int) -> float:
    """Seconds to wait, with jitter so that rivals part: 10 ms doubling up to a second."""
    longest = min(0.01 * 2.0 ** min(tries, 10), 1.0)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


@dataclass(frozen=True, kw_only=True, slots=True)
class _Attempt:
    """One call of ``commit_once``; ``run`` is one pass through the protocol, from a fresh handle on."""

    uri: str
    turn: Turn
    files: Sequence[StagedFile]
    mode: Mode
    schema: pa.Schema | None
    metadata: dict[str, str]
    failpoints: bool

    def run(self) -> Committed:
        handle = require_table(self.uri)
        had = self.turn.had(handle)
        if had is not None:
            return had
        handle.check_writable(self.mode)
        if self.schema is not None:
            check_types(handle, self.schema)
        if self.failpoints:
            failpoint("before_commit")
        self._send(handle)
        if self.failpoints:
            failpoint("commit_reply")
        version = self._own_version(handle)
        checkpoint_now_and_then(handle, version)
        return Committed(version=version, won=True, metadata=self.metadata)

    def _send(self, handle: TableHandle) -> None:
        """Commit through the very handle whose number was checked."""
        from deltalake import CommitProperties, PostCommitHookProperties, Transaction
        from deltalake.transaction import AddAction

        adds = [
            AddAction(
                path=file.path,
                size=file.size_bytes,
                partition_values=file.partition_values,
                modification_time=file.modified_ms,
                data_change=True,
                stats=file.stats,
            )
            for file in self.files
        ]
        handle.delta.create_write_transaction(
            adds,
            self.mode,
            handle.delta.schema(),
            handle.partition_by,
            commit_properties=CommitProperties(
                custom_metadata=self.metadata,
                app_transactions=[Transaction(self.turn.app_id, self.turn.number)],
                # What an overwrite removes was read from this handle: it may not be replayed on a newer version.
                max_commit_retries=_RETRIES_INSIDE if self.mode == "append" else 0,
            ),
            # A checkpoint that fails after the commit would look like a commit that failed.
            post_commithook_properties=PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False),
        )

    def _own_version(self, handle: TableHandle) -> int:
        """Which version the commit became: the handle does not move with it, so the log is asked."""
        version = handle.version + 1
        while (commit := read_commit(self.uri, version)) is not None:
            if commit.info.get(NONCE) == self.metadata[NONCE]:
                return version
            version += 1
        raise StoreUnavailable(f"the commit to {self.uri} is not yet in its log", uri=self.uri, hint="run again")


def check_types(handle: TableHandle, schema: pa.Schema) -> None:
    """Raise ColumnRetyped where the table no longer has the types that files were staged in (``schema``): readers take
    its word for what is in them.
    """
    for column in handle.schema:
        place = schema.get_field_index(column.name)
        if place >= 0 and fit(column.type, schema.field(place).type) == "clashes":
            raise ColumnRetyped(
                f"the column {column.name!r} of {handle.uri} became {column.type} while files were written for it",
                uri=handle.uri,
                hint="run again: they are written anew",
            )


def checkpoint_now_and_then(handle: TableHandle, version: int) -> None:
    """Keep opening cheap: a checkpoint at the table's interval. The batch is committed, so nothing here may fail it."""
    asked = handle.properties.get("delta.checkpointInterval", "")
    if version % (int(asked) if asked.isdigit() and int(asked) > 0 else _CHECKPOINT_EVERY):
        return
    with suppress(Exception):
        require_table(handle.uri).delta.create_checkpoint()


def record_rows(
    uri: str,
    table: pa.Table,
    *,
    app_id: str,
    number: int,
    previous: int | None = None,
    metadata: Mapping[str, str] | None = None,
    dense: bool = False,
    prefix: str = "rows",
    options: WriteOptions | None = None,
) -> Committed:
    """Append a small table of rows as transaction ``number`` of ``app_id``, unless that is there already.

    For ledgers and the like: one staged file (a file a partition in a partitioned table), one ``commit_once``. Raises
    what that raises.
    """
    handle = require_table(uri)
    nonce = uuid.uuid4().hex[:12]
    writer = StagedWriter(
        uri,
        schema=handle.schema,
        partition_by=handle.partition_by,
        prefix=f"{prefix}-{number:010d}-{nonce}",
        options=options,
    )
    try:
        seen = handle.transaction_version(app_id)
        if seen is None or seen < number:
            writer.write(table)
        files = writer.close()
    except BaseException:
        writer.discard()
        raise
    # After an error of the commit the files stay: it may have happened all the same.
    done = commit_once(
        uri, app_id=app_id, number=number, previous=previous, files=files, metadata=metadata, dense=dense
    )
    if not done.won:
        writer.discard()
    return done
