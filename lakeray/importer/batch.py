"""One batch from its manifest to the ledger, in the order that makes it happen exactly once.

Write, audit, result, new columns, commit, record (quarantine, then ledger). Every step can be repeated by anyone at
any time: the table's transaction id is the fence, the winner's result says what happened.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from lakeray.delta.commit import commit_once
from lakeray.delta.staged import StagedFile, remove_staged
from lakeray.delta.table import TableHandle, add_columns, open_table
from lakeray.errors import TableError
from lakeray.failpoints import failpoint
from lakeray.importer.claims import claim as claims
from lakeray.importer.context import ImportContext
from lakeray.importer.identity import ImportId
from lakeray.importer.manifest import Manifest
from lakeray.importer.merge import tombstones
from lakeray.importer.merge.batch import MergeBatch, Merged
from lakeray.importer.merge.rules import ChangeRules, rules_of
from lakeray.importer.merge.scratch import remove_recorded
from lakeray.importer.outputs.batch import discard_outputs, tell_outputs, write_outputs
from lakeray.importer.outputs.files import BatchOutput
from lakeray.importer.provenance import columns as provenance
from lakeray.importer.provenance.exchange import Exchange, Selection
from lakeray.importer.provenance.replace import PartitionsOut, WhereOut
from lakeray.importer.provenance.take_out import LoadsOut, settled
from lakeray.importer.quarantine import table as quarantine
from lakeray.importer.recording.ledger import KEEP_LOG, Ledger
from lakeray.importer.recording.summary import BatchSummary
from lakeray.importer.result import RESULT_KEY, ObjectOutcome, Result, load_result, store_result
from lakeray.importer.schema.drift import SchemaState, new_in_table
from lakeray.importer.schema.log import record_version
from lakeray.importer.schema.source import schema_names
from lakeray.importer.schema.widening import retyped, widen
from lakeray.importer.unnest.commit import commit_batch, decided, described
from lakeray.importer.unnest.record import ChildBatch, planned_children
from lakeray.importer.unnest.stage import remove_children
from lakeray.importer.unnest.tables import Child, new_in_children, open_children
from lakeray.importer.write import Written, write_batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """A recorded batch: ``result`` is the winner's."""

    summary: BatchSummary
    result: Result
    phases_s: dict[str, float]
    worker_deaths: int = 0


def summary_of(manifest: Manifest, winner: Result, version: int, *, won: bool, duration_s: float) -> BatchSummary:
    """What a recorded batch came to."""
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
        rows_removed=winner.rows_removed,
        unnested={child.name: child.rows for child in winner.children},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Before:
    """What was there before a batch: the table's columns, what is known of the source's, RESTOREs dealt with."""

    schema: pa.Schema
    state: SchemaState
    restores_checked: int


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
        handle.check_writable(mode="rewrite" if manifest.going else manifest.mode)
        rules = rules_of(manifest, context.plan)
        found = decided(self._identity, planned_children(manifest.extra), manifest.batch)
        if found is not None:
            return self._finish(manifest, found, started)
        children = open_children(context, planned_children(manifest.extra))
        before = _Before(schema=handle.schema, state=state or SchemaState(), restores_checked=restores_checked)
        outputs: list[BatchOutput] = []
        written = write_batch(context, manifest, handle, source_schema, renamed=before.state.renamed, children=children)
        staged = clock()
        new = [item for item in written.table_schema if item not in handle.schema]
        lost = False
        if rules is None or manifest.going:
            outputs = self._write_outputs(manifest, written)
            result = self._result(manifest, written, new, before, outputs=outputs, children=children)
            selection = self._selection(manifest, result, handle, written.table_schema)
            if selection is None:
                self._store(result)
            self._widen(handle, written.table_schema, batch=manifest.batch)
            self._add_columns(context.table.uri, new)
            for child in children:
                schema = written.child_schemas[child.into.name]
                self._widen(child.handle, schema, batch=manifest.batch)
                self._add_columns(child.handle.uri, [item for item in schema if item not in child.handle.schema])
            version, winner, won = self._commit(manifest, result, selection=selection, written=written)
            # With child tables this call may commit another's result; an exchange has one for each of its plans.
            lost = not won if selection is not None else winner.name != result.name
        else:
            self._widen(handle, written.table_schema, batch=manifest.batch)
            version, winner, won = self._merge(manifest, written, new, before, rules)
        committed = clock()
        self.record(winner, table_version=version)
        done = summary_of(manifest, winner, version, won=won, duration_s=clock() - started)
        if lost and rules is None:
            self._discard(written, children)
            discard_outputs(outputs)
        self._ended(done, winner)
        phases = {"write": staged - started, "commit": committed - staged, "record": clock() - committed}
        return Done(summary=done, result=winner, phases_s=phases, worker_deaths=written.worker_deaths)

    def _finish(self, manifest: Manifest, result: Result, started: float) -> Done:
        """Carry on with the result that a child table has already, whoever wrote it."""
        version, winner, won = self._commit(manifest, result)
        self.record(winner, table_version=version)
        done = summary_of(manifest, winner, version, won=won, duration_s=time.monotonic() - started)
        self._ended(done, winner)
        return Done(summary=done, result=winner, phases_s={"commit": done.duration_s})

    def _ended(self, done: BatchSummary, winner: Result) -> None:
        self._context.observer.batch_ended(
            step=self._context.step_name,
            batch=done.number,
            rows_written=winner.rows.written,
            table_version=done.table_version,
            won=done.won,
        )

    def record(self, winner: Result, *, table_version: int) -> None:
        """Make quarantine, outputs and ledger say what ``winner`` did; idempotent."""
        uri, identity = self._context.table.quarantine_uri, self._identity
        if winner.replays is not None:
            # A RESTORE of the table leaves the quarantine alone: rows that are refused again would be there twice.
            pipeline, objects = str(identity.pipeline), [outcome.planned for outcome in winner.outcomes]
            if winner.reprocessed is None:
                quarantine.forget_earlier(uri, objects, pipeline=pipeline, step=identity.step, before=winner.batch)
                part = claims.part_of(identity, winner.replays).step
                quarantine.forget_earlier(uri, objects, pipeline=pipeline, step=part, before=claims.EVERY_BATCH)
            quarantine.forget(uri, pipeline=pipeline, step=identity.step, batch=winner.replays)
        gone = [(item.takes, item.info.uri) for item in winner.gone if item.takes is not None]
        if gone:
            quarantine.forget_loads(uri, gone, pipeline=str(identity.pipeline), step=identity.step)
        tombstones.record(identity, winner)
        claims.record(identity, winner.batch, winner.claims)
        failpoint("after_tombstones")
        if winner.quarantine_files:
            quarantine.prepare(uri, beside=identity.table_uri, properties=KEEP_LOG)
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
        if winner.reprocessed is not None:
            failpoint("before_quarantine_leave")
            quarantine.leave(uri, winner.reprocessed)
            failpoint("after_quarantine_leave")
        record_version(self._identity, winner)
        tell_outputs(self._identity, winner)
        failpoint("before_ledger_commit")
        Ledger(self._identity).record(winner, table_version=table_version)
        failpoint("after_ledger_commit")

    def abandon(self, manifest: Manifest, *, reason: str, last: Result | None) -> Done:
        """Close a batch with nothing in it: its objects are recorded as skipped until ``ledger reset``. Whether it
        was that, or committed by an import in the meantime, the result says.

        What ``last``, the batch before, knew of schema and RESTOREs is passed on.
        """
        started = time.monotonic()
        # Objects of which only quarantined rows were meant keep their place in the ledger, the rows theirs.
        closed = manifest.objects if manifest.kind == "objects" else []
        outcomes = [
            ObjectOutcome(planned=item, outcome="kept")
            if item.fate
            else ObjectOutcome(planned=item, outcome="skipped", code="abandoned", error=reason)
            for item in closed
        ]
        result = Result(
            children=[ChildBatch.empty(child) for child in planned_children(manifest.extra)],
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
            abandoned=not manifest.claims,
            claims=manifest.claims,
        )
        store_result(self._identity, result)
        version, winner, won = self._commit(manifest, result)
        self.record(winner, table_version=version)
        duration_s = time.monotonic() - started
        summary = summary_of(manifest, winner, version, won=won, duration_s=duration_s)
        return Done(summary=summary, result=winner, phases_s={})

    def _merge(
        self, manifest: Manifest, written: Written, new: list[pa.Field], before: _Before, rules: ChangeRules
    ) -> tuple[int, Result, bool]:
        """Bring the staged changes into the table; its version, the winner's result, whether this call won."""
        context, identity = self._context, self._identity
        mine: dict[str, Result] = {}

        def store(merged: Merged) -> dict[str, str]:
            attempt = replace(written, attempt=merged.attempt, outcomes=merged.outcomes, files=merged.files)
            result = self._result(manifest, attempt, columns, before, tombstones=merged.tombstones)
            self._store(result)
            mine[result.name] = result
            return described(result)

        merge = MergeBatch(
            context, identity, manifest, rules,
            attempt=written.attempt, files=written.files, outcomes=written.outcomes, schema=written.table_schema,
        )  # fmt: skip
        try:
            rules.check(written.table_schema, uri=context.table.uri)
            columns = [*new, *rules.extra_columns(written.table_schema)]
            self._add_columns(context.table.uri, columns)
            committed = merge.commit(store)
            failpoint("after_commit")
            merge.forget_old_deletes()
        finally:
            merge.close()
        remove_recorded(identity, manifest.batch - 2)
        name = committed.metadata[RESULT_KEY]
        return committed.version, mine.get(name) or load_result(identity, name), committed.won

    def _result(
        self,
        manifest: Manifest,
        written: Written,
        new: list[pa.Field],
        before: _Before,
        *,
        tombstones: Sequence[StagedFile] = (),
        outputs: Sequence[BatchOutput] = (),
        children: Sequence[Child] = (),
    ) -> Result:
        read = any(outcome.rows.read for outcome in written.outcomes)
        changes, after = before.state.after(written.source_schema, written.seen, read=read)
        users = [item for item in new if not provenance.is_reserved(item.name)]
        return Result(
            batch=manifest.batch,
            attempt=written.attempt,
            run_id=self._context.run_id,
            manifest_nonce=manifest.nonce,
            created_at=self._context.now().isoformat(),
            outcomes=settled(written.outcomes),
            files=written.files,
            quarantine_files=written.quarantine_files,
            source_schema=schema_names(written.source_schema),
            new_columns=[
                *new_in_table(before.schema, pa.schema(users)),
                *new_in_children(children, written.child_schemas),
            ],
            schema_changes=[change.to_json() for change in changes],
            schema_state=after.to_json(),
            expectations=written.expectations,
            set_expectations=written.set_expectations,
            cleansing=written.cleansing,
            replays=manifest.replays,
            restores_checked=before.restores_checked,
            provenance=written.stamped,
            tombstone_files=list(tombstones),
            reprocessed=manifest.extra["reprocess"]["where"] if manifest.kind == "reprocess" else None,
            outputs=list(outputs),
            children=[
                replace(ChildBatch.empty(child), files=written.children.get(child.name, []))
                for child in planned_children(manifest.extra)
            ],
        )

    def _store(self, result: Result) -> None:
        failpoint("before_result")
        store_result(self._identity, result)
        failpoint("after_result")

    def _selection(
        self, manifest: Manifest, result: Result, handle: TableHandle, schema: pa.Schema
    ) -> Selection | None:
        """The rows that the batch takes out of the table; None when it only adds, or overwrites everything."""
        plan = self._context.plan
        if manifest.going:
            return LoadsOut.of(result, self._identity)
        if manifest.mode == "overwrite" and plan.replace_where is not None:
            return WhereOut.of(plan.replace_where, schema, partition_by=handle.partition_by, now=manifest.created_at)
        if manifest.mode == "overwrite" and plan.partitions == "dynamic":
            return PartitionsOut.of(result, handle)
        return None

    def _widen(self, handle: TableHandle, schema: pa.Schema, *, batch: int) -> None:
        wide = retyped(handle.schema, schema)
        if wide:
            failpoint("before_widen_commit")
            widen(self._context, handle, wide, batch=batch)
            failpoint("after_widen_commit")

    def _write_outputs(self, manifest: Manifest, written: Written) -> list[BatchOutput]:
        prefix = self._identity.file_prefix(manifest.batch, written.attempt)
        return write_outputs(self._context, written.files, schema=written.table_schema, prefix=prefix)

    @staticmethod
    def _add_columns(uri: str, new: list[pa.Field]) -> None:
        if new:
            failpoint("before_schema_commit")
            add_columns(uri, new)
            failpoint("after_schema_commit")

    def _commit(
        self,
        manifest: Manifest,
        result: Result,
        *,
        selection: Selection | None = None,
        written: Written | None = None,
    ) -> tuple[int, Result, bool]:
        """Commit or find committed, child tables first; the table's version, the winner's result, whether this call
        made the commit.
        """
        schema = written.table_schema if written else None
        if selection is not None:
            exchange = Exchange(
                context=self._context, identity=self._identity, result=result, selection=selection, schema=schema
            )
            committed, own = exchange.commit()
            failpoint("after_commit")
            winner = own or load_result(self._identity, committed.metadata[RESULT_KEY])
            return committed.version, winner, own is not None
        committed, winner = commit_batch(
            self._identity,
            planned_children(manifest.extra),
            result,
            mode="overwrite" if manifest.mode == "overwrite" else "append",
            schema=schema,
            schemas=written.child_schemas if written else {},
        )
        failpoint("after_commit")
        return committed.version, winner, committed.won

    def _discard(self, written: Written, children: Sequence[Child]) -> None:
        """Remove the files of an attempt that lost: another's are committed, so nothing can ever name these."""
        remove_children([child.into for child in children], written.children)
        remove_staged(self._context.table.uri, written.files)
        remove_staged(self._context.table.quarantine_uri, written.quarantine_files)
