"""Every object of a batch, read and staged, with its outcome.

Tasks whose worker dies are run again in halves until the object that kills workers stands alone. Tasks that disagree
about the type of a new column are run again with the type that holds the values of all.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from lakeray.delta.staged import StagedFile, remove_staged
from lakeray.delta.table import TableHandle
from lakeray.errors import AuditError, ImportFailed, StoreUnavailable
from lakeray.importer.bounds import BatchBounds, batch_bounds
from lakeray.importer.context import ImportContext
from lakeray.importer.executor import Breath, Died
from lakeray.importer.manifest import Manifest, PlannedObject
from lakeray.importer.merge.rules import rules_of
from lakeray.importer.merge.scratch import scratch_uri
from lakeray.importer.origins import Origins
from lakeray.importer.packing import pack
from lakeray.importer.preparation import CleansingCounts, added
from lakeray.importer.protection.masks import task_keys
from lakeray.importer.provenance import columns as provenance
from lakeray.importer.provenance.replace import constraint_of
from lakeray.importer.quarantine.requeued import Requeued
from lakeray.importer.recording.summary import ExpectationSummary, Rows, SetOutcome
from lakeray.importer.result import ObjectOutcome
from lakeray.importer.schema.agreement import agrees, merged_schema
from lakeray.importer.schema.constraints import constraints
from lakeray.importer.schema.drift import Seen
from lakeray.importer.schema.source import wire_schema
from lakeray.importer.schema.widening import SETTLED, widening_of
from lakeray.importer.sets.rules import settle
from lakeray.importer.sets.settle import Settling, is_settled
from lakeray.importer.sets.staged_rows import StagedRows
from lakeray.importer.task import Advanced, TaskOutcome, TaskSpec, failed_outcome
from lakeray.importer.unnest.stage import remove_children
from lakeray.importer.unnest.tables import Child, check_keys, made_of, widening_with, without_lists, working_schema
from lakeray.transform.names import Renamed


@dataclass(kw_only=True, slots=True)
class Written:
    """What the tasks of one attempt made, together."""

    attempt: str
    outcomes: list[ObjectOutcome] = field(default_factory=list)
    files: list[StagedFile] = field(default_factory=list)
    quarantine_files: list[StagedFile] = field(default_factory=list)
    source_schema: pa.Schema
    table_schema: pa.Schema
    expectations: dict[str, ExpectationSummary] = field(default_factory=dict)
    set_expectations: dict[str, SetOutcome] = field(default_factory=dict)
    cleansing: CleansingCounts = field(default_factory=dict)
    worker_deaths: int = 0
    seen: Seen = field(default_factory=Seen)
    stamped: bool = False
    children: dict[str, list[StagedFile]] = field(default_factory=dict)
    child_schemas: dict[str, pa.Schema] = field(default_factory=dict)

    @property
    def rows(self) -> Rows:
        """The batch's balance."""
        return Rows.total(outcome.rows for outcome in self.outcomes)


def write_batch(
    context: ImportContext,
    manifest: Manifest,
    handle: TableHandle,
    source_schema: pa.Schema,
    *,
    renamed: Collection[Renamed] = (),
    children: Sequence[Child] = (),
) -> Written:
    """Run the batch's tasks to their end; ``renamed`` are names that the source has for columns, ``children`` the
    batch's child tables. Raises what a task raises for the whole batch (a failed expectation, a lost store).
    """
    writer = _BatchWriter(context, manifest, handle, source_schema, renamed, children=children)
    try:
        return writer.run()
    except BaseException:
        writer.discard()
        raise


class _BatchWriter:
    def __init__(
        self,
        context: ImportContext,
        manifest: Manifest,
        handle: TableHandle,
        source_schema: pa.Schema,
        renamed: Collection[Renamed],
        *,
        children: Sequence[Child],
    ) -> None:
        self._renamed = renamed
        self._children = children
        self._context = context
        self._manifest = manifest
        self._handle = handle
        self._identity = context.identity(handle)
        self._schema = source_schema
        self._stamp = _stamp(context, manifest, handle)
        self._attempt = secrets.token_hex(4)
        self._keys = task_keys(context)
        self._table_schema = working_schema(
            provenance.without(handle.schema), children, lambda: made_of(context, source_schema, self._keys)
        )
        check_keys(children, self._table_schema)
        self._rules = rules_of(manifest, context.plan)
        self._places = {item: place for place, item in enumerate(manifest.objects)}
        self._counter = 0
        self._bounds: BatchBounds = {}
        self._deaths = 0
        self._workers_live = False
        self._done: list[tuple[TaskSpec, TaskOutcome]] = []
        self._lost: list[ObjectOutcome] = []
        self._seen = Seen()
        self._widening = self._source_widening = widening_with(
            widening_of(context, handle), [(child, widening_of(context, child.handle)) for child in children]
        )

    def run(self) -> Written:
        planned = self._manifest.objects
        readable = [item for item in planned if item.skip is None]
        skipped = [
            ObjectOutcome(planned=item, outcome=item.fate)
            if item.fate
            else ObjectOutcome(planned=item, outcome="skipped", code="skipped", error=item.skip)
            for item in planned
            if item.skip
        ]
        self._bounds = batch_bounds(self._context, readable, self._schema)
        self._drive([self._task(group) for group in pack(readable, slots=self._context.executor.slots)])
        self._settle_new_columns()
        written = self._merge(skipped)
        if is_settled(self._context.step):
            self._settle(written)
        _audit(self._manifest, written)
        return written

    def _settle(self, written: Written) -> None:
        """Deduplicate the batch, then hold it to its set expectations."""
        settling = Settling(
            self._context,
            self._manifest,
            self._handle,
            files=written.files,
            outcomes=written.outcomes,
            schema=written.table_schema,
            prefix=self._identity.file_prefix(self._manifest.batch, self._attempt),
        )
        written.set_expectations = settle(settling)
        written.files, written.outcomes = settling.files, settling.outcomes
        written.quarantine_files += settling.quarantine_files

    def discard(self) -> None:
        """Remove the files of a batch that will not be committed."""
        for task, outcome in self._done:
            _remove(task, outcome)

    def _task(self, objects: Sequence[PlannedObject]) -> TaskSpec:
        self._counter += 1
        context, step = self._context, self._context.step
        return TaskSpec(
            objects=tuple(objects),
            source=context.source,
            table=context.table,
            step=step,
            table_uri=scratch_uri(self._identity) if self._rules else context.table.uri,
            quarantine_uri=context.table.quarantine_uri,
            prefix=f"{self._identity.file_prefix(self._manifest.batch, self._attempt)}-t{self._counter:04d}",
            pipeline=str(self._identity.pipeline),
            step_name=self._identity.step,
            batch=self._manifest.batch,
            run_id=context.run_id,
            now=self._manifest.created_at,
            seed=self._manifest.seed,
            keys=self._keys,
            source_schema=self._schema,
            wire_schema=wire_schema(context.source, self._schema, self._renamed),
            table_schema=self._table_schema,
            partition_by=() if self._rules else tuple(self._handle.partition_by),
            constraints=(*constraints(self._handle), *constraint_of(context.plan)),
            table_properties=self._handle.properties,
            memory_bytes=context.task_memory_bytes,
            bounds=self._bounds,
            changes=self._rules,
            origins=Origins(
                places=tuple(self._places[item] for item in objects),
                stamp=self._stamp,
                changes=self._rules is not None,
                beside=is_settled(step),
            ),
            requeued=Requeued.of(self._manifest),
            source_widening=self._source_widening,
            widening=self._widening,
            children=tuple(child.into for child in self._children),
        )

    def _drive(self, tasks: list[TaskSpec]) -> None:
        while tasks:
            again: list[TaskSpec] = []
            for told in self._context.executor.run(tasks):
                self._context.check_cancelled()
                task = tasks[told.index]
                if isinstance(told.message, TaskOutcome):
                    self._done.append((task, told.message))
                elif isinstance(told.message, Died):
                    again.extend(self._after_death(task, told.message))
                elif isinstance(told.message, Advanced):
                    self._advance(told.message)
            tasks = again

    def _advance(self, message: Advanced) -> None:
        self._context.observer.advanced(
            step=self._context.step_name,
            batch=self._manifest.batch,
            objects=message.objects,
            rows=message.rows,
            size_bytes=message.size_bytes,
        )

    def _after_death(self, task: TaskSpec, died: Died) -> Iterator[TaskSpec]:
        self._deaths += 1
        self._blame_the_object(died)
        objects = task.objects
        if len(objects) == 1 and self._manifest.kind == "reprocess":
            # Not the object's outcome: it was imported, and would be read whole again.
            raise ImportFailed(
                f"the worker that took rows of {objects[0].info.uri} out of quarantine died: {died.reason}",
                uri=objects[0].info.uri,
                hint="nothing was committed; `lakeray ledger abandon` closes the batch, the rows stay in quarantine",
            )
        if len(objects) == 1:
            reason = f"the worker that read this object died: {died.reason}"
            limit = self._context.source.max_tries
            self._lost.append(failed_outcome(objects[0], max_tries=limit, code="worker_died", error=reason))
            return
        middle = len(objects) // 2
        yield self._task(objects[:middle])
        yield self._task(objects[middle:])

    def _blame_the_object(self, died: Died) -> None:
        """Make sure that workers can live at all before an object is called deadly. Raises StoreUnavailable when they
        cannot.
        """
        if self._done or self._workers_live:
            return
        self._workers_live = all(not isinstance(told.message, Died) for told in self._context.executor.run([Breath()]))
        if not self._workers_live:
            raise StoreUnavailable(
                f"no worker stays alive, whatever it does: {died.reason}", hint="look at the Ray cluster's logs"
            )

    def _settle_new_columns(self) -> None:
        """First what the source has, then what the table gets: an ``apply`` hook can make columns of its own."""
        merged = merged_schema(self._schema, [outcome.source_schema for _, outcome in self._done])
        if merged is not None:
            self._schema = merged
            self._source_widening = SETTLED
            self._run_again([agrees(outcome.source_schema, merged) for _, outcome in self._done])
        merged = merged_schema(self._table_schema, [outcome.table_schema for _, outcome in self._done])
        if merged is not None:
            self._table_schema = merged
            self._source_widening = self._widening = SETTLED
            self._run_again([agrees(outcome.table_schema, merged) and not outcome.retyped for _, outcome in self._done])

    def _run_again(self, agree: list[bool]) -> None:
        again = [done for done, agrees in zip(self._done, agree, strict=True) if not agrees]
        self._done = [done for done, agrees in zip(self._done, agree, strict=True) if agrees]
        for task, outcome in again:
            self._seen.add(outcome.seen, odd=False)
            _remove(task, outcome)
        self._drive([self._task(task.objects) for task, _ in again])

    def _merge(self, skipped: list[ObjectOutcome]) -> Written:
        written = Written(
            attempt=self._attempt,
            source_schema=self._schema,
            table_schema=self._table_schema,
            outcomes=[*skipped, *self._lost],
            worker_deaths=self._deaths,
            stamped=self._stamp is not None,
            seen=self._seen,
        )
        for _, outcome in self._done:
            written.seen.add(outcome.seen)
            written.outcomes.extend(outcome.outcomes)
            written.files.extend(outcome.files)
            written.quarantine_files.extend(outcome.quarantine_files)
            written.table_schema = _union(written.table_schema, outcome.table_schema)
            written.cleansing = added(written.cleansing, outcome.cleansing)
            for name, files in outcome.children.items():
                written.children.setdefault(name, []).extend(files)
        written.expectations = ExpectationSummary.summed(outcome.expectations for _, outcome in self._done)
        written.child_schemas = {child.into.name: child.schema(written.table_schema) for child in self._children}
        written.table_schema = without_lists(written.table_schema, self._context.step.unnest)
        if self._stamp is not None:
            written.table_schema = provenance.with_fields(written.table_schema)
        return written


def _stamp(context: ImportContext, manifest: Manifest, handle: TableHandle) -> provenance.Stamp | None:
    """What this batch's rows say of where they came from; a table that has it of some rows gets it of all."""
    if not (context.keeps_provenance or provenance.is_kept(handle.schema)):
        return None
    return provenance.Stamp(importer=provenance.import_name(context.identity(handle)), batch=manifest.batch)


def _union(known: pa.Schema, more: pa.Schema) -> pa.Schema:
    extra = [item for item in more if known.get_field_index(item.name) < 0]
    return pa.schema([*known, *extra]) if extra else known


def _audit(manifest: Manifest, written: Written) -> None:
    """Hold the batch to its plan and its balance. Raises AuditError."""
    planned = sorted(item.info.uri for item in manifest.objects)
    accounted = sorted(outcome.planned.info.uri for outcome in written.outcomes)
    if planned != accounted:
        missing = sorted(set(planned) - set(accounted))[:3]
        raise AuditError(
            f"batch {manifest.batch}: {len(planned)} objects were planned, {len(accounted)} have an outcome; {missing}"
        )
    for outcome in written.outcomes:
        if not outcome.rows.balanced:
            raise AuditError(
                f"rows of {outcome.planned.info.uri} do not balance: {outcome.rows!r}", uri=outcome.planned.info.uri
            )
    counted = Counter[str]()
    for outcome in written.outcomes:
        counted.update(outcome.unnested)
    held = Counter({name: sum(file.rows for file in files) for name, files in written.children.items()})
    if +counted != +held:
        raise AuditError(f"batch {manifest.batch}: files of child tables hold {+held}, outcomes say {+counted}")
    staged = sum(file.rows for file in written.files)
    refused = sum(file.rows for file in written.quarantine_files)
    rows = written.rows
    if (staged, refused) != (rows.written, rows.quarantined):
        raise AuditError(
            f"batch {manifest.batch}: files hold {staged} and {refused} rows, "
            f"outcomes say {rows.written} written and {rows.quarantined} refused"
        )


def _remove(task: TaskSpec, outcome: TaskOutcome) -> None:
    """Delete what a task has staged."""
    remove_staged(task.table_uri, outcome.files)
    remove_staged(task.quarantine_uri, outcome.quarantine_files)
    remove_children(task.children, outcome.children)
    if task.origins.beside:
        StagedRows(root=task.table_uri, files=tuple(outcome.files), schema=outcome.table_schema).forget_origin()
