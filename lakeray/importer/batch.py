"""One batch from its manifest to the ledger, in the order that makes it happen exactly once.

Write, audit, result, new columns, commit, record (quarantine, then ledger). Every step can be repeated by anyone at
any time: the table's transaction id is the fence, the winner's result says what happened.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import pyarrow as pa

from lakeray.delta.commit import Mode, commit_once
from lakeray.delta.table import TableHandle, add_columns, create_table, open_table
from lakeray.errors import ExactlyOnceError, TableError
from lakeray.failpoints import failpoint
from lakeray.importer import quarantine
from lakeray.importer.context import ImportContext
from lakeray.importer.drift import SchemaState, new_in_table
from lakeray.importer.identity import ImportId
from lakeray.importer.ledger import KEEP_LOG, Ledger
from lakeray.importer.manifest import Manifest
from lakeray.importer.result import ObjectOutcome, Result, load_result, store_result
from lakeray.importer.schema import schema_names
from lakeray.importer.schema_log import record_version
from lakeray.importer.summary import BatchSummary
from lakeray.importer.widening import retyped, widen
from lakeray.importer.write import Written, write_batch
from lakeray.objects import join, open_store

RESULT_KEY = "lakeray.result"


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """A recorded batch: ``result`` is the winner's."""

    summary: BatchSummary
    result: Result
    phases_s: dict[str, float]
    worker_deaths: int = 0


class BatchProtocol:
    """Carries batches of one import through the steps of ARCHITECTURE.md."""

    def __init__(self, context: ImportContext, identity: ImportId) -> None:
        self._context = context
        self._identity = identity

    def run(
        self, manifest: Manifest, source_schema: pa.Schema, *, restores_checked: int, state: SchemaState | None = None
    ) -> Done:
        """Carry ``manifest`` through; ``state`` is what the batch before knew of the source's schema. Raises whatever
        stopped it before the commit; then nothing of it is visible.
        """
        context, clock = self._context, time.monotonic
        started = clock()
        context.observer.batch_started(
            step=context.step_name,
            batch=manifest.batch,
            objects=len(manifest.objects),
            size_bytes=manifest.size_bytes,
        )
        handle = open_table(context.table.uri)
        if handle is None:
            raise TableError(
                "the table disappeared while it was imported into", uri=context.table.uri, hint="run again"
            )
        handle.check_writable(mode=manifest.mode)
        state = state or SchemaState()
        written = write_batch(context, manifest, handle, source_schema, renamed=state.renamed)
        staged = clock()
        result = self._store_result(manifest, written, handle, restores_checked, state)
        self._widen(handle, written, batch=manifest.batch)
        self._add_columns([item for item in written.table_schema if item not in handle.schema])
        version, winner = self._commit(result, mode=manifest.mode, schema=written.table_schema)
        committed = clock()
        self.record(winner, table_version=version)
        done = self._done(manifest, winner, version, won=winner.name == result.name, duration_s=clock() - started)
        if not done.won:
            self._discard(written)
        context.observer.batch_ended(
            step=context.step_name,
            batch=manifest.batch,
            rows_written=winner.rows.written,
            table_version=version,
            won=done.won,
        )
        phases = {"write": staged - started, "commit": committed - staged, "record": clock() - committed}
        return Done(summary=done, result=winner, phases_s=phases, worker_deaths=written.worker_deaths)

    def record(self, winner: Result, *, table_version: int) -> None:
        """Make quarantine and ledger say what ``winner`` did; idempotent."""
        uri = self._context.table.quarantine_uri
        if winner.replays is not None:
            # A RESTORE of the table leaves the quarantine alone: rows that are refused again would be there twice.
            quarantine.forget(
                uri, pipeline=str(self._identity.pipeline), step=self._identity.step, batch=winner.replays
            )
        if winner.quarantine_files:
            if open_table(uri) is None:
                create_table(
                    uri,
                    quarantine.SCHEMA,
                    partition_by=[],
                    properties={quarantine.BESIDE: self._identity.table_uri, **KEEP_LOG},
                )
            commit_once(
                uri,
                app_id=self._identity.quarantine_app_id,
                number=winner.batch,
                previous=None,
                files=winner.quarantine_files,
                mode="append",
                metadata={RESULT_KEY: winner.name},
                dense=False,
            )
        failpoint("after_quarantine_commit")
        record_version(self._identity, winner)
        failpoint("before_ledger_commit")
        Ledger(self._identity).record(winner, table_version=table_version)
        failpoint("after_ledger_commit")

    def abandon(self, manifest: Manifest, *, reason: str, last: Result | None) -> Done:
        """Close a batch with nothing in it: its objects are recorded as skipped until ``ledger reset``.

        What ``last``, the batch before, knew of schema and RESTOREs is passed on.
        """
        started = time.monotonic()
        outcomes = [
            ObjectOutcome(planned=item, outcome="skipped", code="abandoned", error=reason) for item in manifest.objects
        ]
        result = Result(
            batch=manifest.batch,
            attempt=f"abandoned-{secrets.token_hex(4)}",
            run_id=self._context.run_id,
            manifest_nonce=manifest.nonce,
            created_at=self._context.now().isoformat(),
            outcomes=outcomes,
            files=[],
            quarantine_files=[],
            source_schema=last.source_schema if last else {},
            schema_state=last.schema_state if last else {},
            replays=manifest.replays,
            restores_checked=last.restores_checked if last else 0,
            abandoned=True,
        )
        uri = self._context.table.uri
        store_result(self._identity, result)
        version, winner = self._commit(result, mode="append")
        self.record(winner, table_version=version)
        duration_s = time.monotonic() - started
        summary = self._done(manifest, winner, version, won=winner.name == result.name, duration_s=duration_s)
        if not summary.won:
            raise ExactlyOnceError(
                f"batch {manifest.batch} was committed by an import in the meantime, so it was not abandoned",
                uri=uri,
                hint="look at `lakeray ledger show`",
            )
        return Done(summary=summary, result=winner, phases_s={})

    def _store_result(
        self, manifest: Manifest, written: Written, handle: TableHandle, restores_checked: int, state: SchemaState
    ) -> Result:
        read = any(outcome.rows.read for outcome in written.outcomes)
        changes, after = state.after(written.source_schema, written.seen, read=read)
        result = Result(
            batch=manifest.batch,
            attempt=written.attempt,
            run_id=self._context.run_id,
            manifest_nonce=manifest.nonce,
            created_at=self._context.now().isoformat(),
            outcomes=written.outcomes,
            files=written.files,
            quarantine_files=written.quarantine_files,
            source_schema=schema_names(written.source_schema),
            new_columns=new_in_table(handle.schema, written.table_schema),
            schema_changes=[change.to_json() for change in changes],
            schema_state=after.to_json(),
            expectations=written.expectations,
            replays=manifest.replays,
            restores_checked=restores_checked,
        )
        failpoint("before_result")
        store_result(self._identity, result)
        failpoint("after_result")
        return result

    def _widen(self, handle: TableHandle, written: Written, *, batch: int) -> None:
        wide = retyped(handle.schema, written.table_schema)
        if wide:
            failpoint("before_widen_commit")
            widen(self._context, handle, wide, batch=batch)
            failpoint("after_widen_commit")

    def _add_columns(self, new: list[pa.Field]) -> None:
        if new:
            failpoint("before_schema_commit")
            add_columns(self._context.table.uri, new)
            failpoint("after_schema_commit")

    def _commit(self, result: Result, *, mode: Mode, schema: pa.Schema | None = None) -> tuple[int, Result]:
        """Commit or find committed; the table's version and the winner's result."""
        committed = commit_once(
            self._context.table.uri,
            app_id=self._identity.app_id,
            number=result.batch,
            previous=result.batch - 1,
            files=result.files,
            mode=mode,
            schema=schema,
            metadata={RESULT_KEY: result.name, "lakeray.batch": str(result.batch), "lakeray.run": result.run_id},
            failpoints=True,
        )
        failpoint("after_commit")
        name = committed.metadata[RESULT_KEY]
        winner = result if name == result.name else load_result(self._identity, name)
        return committed.version, winner

    def _done(self, manifest: Manifest, winner: Result, version: int, *, won: bool, duration_s: float) -> BatchSummary:
        return BatchSummary(
            number=manifest.batch,
            objects=len(manifest.objects),
            rows=winner.rows,
            bytes_read=sum(outcome.bytes_read for outcome in winner.outcomes),
            bytes_written=sum(file.size_bytes for file in winner.files),
            files=len(winner.files),
            table_version=version,
            duration_s=duration_s,
            won=won,
            replays=manifest.replays,
        )

    def _discard(self, written: Written) -> None:
        """Remove the files of an attempt that lost: another's are committed, so nothing can ever name these."""
        for root, files in (
            (self._context.table.uri, written.files),
            (self._context.table.quarantine_uri, written.quarantine_files),
        ):
            store = open_store(root)
            for file in files:
                store.delete(join(root, file.path))
