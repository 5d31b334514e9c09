"""An import step from discovery to the last recorded batch.

What a crash left is finished first (see ``recovery``). Then the listing is compared with the ledger, and what is
fresh is planned and carried through batch by batch. A difference stays valid as long as every manifest since was
written by the same planner; when another importer writes one, the comparison begins again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from lakeray.delta.table import TableHandle, create_table, open_table, require_table, set_properties
from lakeray.delta.tags import set_tags
from lakeray.errors import ImportFailed, TransformError, UnsupportedTable
from lakeray.failpoints import failpoint
from lakeray.importer.batch import BatchProtocol
from lakeray.importer.claims.claim import Claim, active
from lakeray.importer.claims.view import seen_by_part, seen_by_stream
from lakeray.importer.context import ImportContext
from lakeray.importer.discovery.difference import Window
from lakeray.importer.discovery.overwrite import other_imports, overwrite_plan
from lakeray.importer.discovery.planner import Planner
from lakeray.importer.discovery.source import Listing, open_listing
from lakeray.importer.manifest import PlannedObject, load_manifest, new_manifest, store_manifest
from lakeray.importer.merge.rules import ChangeRules
from lakeray.importer.preparation import read_as_text
from lakeray.importer.protection.masks import task_keys
from lakeray.importer.provenance import columns as provenance
from lakeray.importer.quarantine.reprocess import Choice, cannot_reprocess, plan_reprocess
from lakeray.importer.recording.earlier import earlier_batches
from lakeray.importer.recording.ledger import Ledger
from lakeray.importer.recording.recovery import last_result, lost_to_restore, record_committed, reprocessed
from lakeray.importer.recording.tally import Tally
from lakeray.importer.result import Result
from lakeray.importer.schema.drift import SchemaState
from lakeray.importer.schema.source import (
    Sampled,
    SampleTask,
    choose_sample,
    first_schema,
    schema_from_names,
    unread_sample,
    with_hints,
    with_table,
)
from lakeray.importer.schema.wanted import with_wanted
from lakeray.importer.unnest.record import ChildBatch, PlannedChild, with_children
from lakeray.importer.unnest.restores import check_children
from lakeray.importer.unnest.tables import ChildTables, made_of, with_lists, without_lists
from lakeray.transform.unnest import child_schema


class Overtaken(Exception):
    """Another importer planned the batch that this one was about to plan."""


class ClaimOver(Exception):
    """Everything of the claim is imported: it takes no further batch."""


@dataclass
class ImportLoop:
    """One import step; ``drain`` may be called again and again, ``tally`` says what was done so far."""

    context: ImportContext
    tally: Tally = field(init=False)
    _schema: pa.Schema | None = None
    _state: SchemaState = field(default_factory=SchemaState)
    _recorded: int = 0
    _restores_checked: int = 0
    _refused_upto: int | None = None
    _last: Result | None = None
    _children_seen: Sequence[ChildBatch] = ()

    def __post_init__(self) -> None:
        self.tally = Tally(self.context)

    def drain(self, *, retry_failed: bool = True) -> None:
        """Import all that is there now. ``retry_failed=False`` leaves objects alone that failed before.

        Raises ExactlyOnceError when table and ledger contradict each other, ImportFailed when a policy stops the
        import, Cancelled, and whatever stops a batch; in each case all batches before are recorded and the next
        ``drain`` goes on behind them.
        """
        while True:
            self.context.check_cancelled()
            try:
                self._pass(retry_failed=retry_failed)
            except Overtaken:
                self.tally.note("another importer works on this table too: each batch counts once, whoever finishes it")
                continue
            return

    def recall(self, owner: str | None = None) -> None:
        """Count what the run imported before this process, under claims of ``owner`` too: called once, before anything
        else. Raises RecordLost.
        """
        for done in earlier_batches(self.context, owner):
            self.tally.batch(done, earlier=True)

    def reprocess(self, choice: Choice) -> None:
        """Take the chosen rows out of quarantine through the step's program into the table, in batches of their own.

        Called again after an error, it goes on; rows that it refused anew are not taken twice. Changes of rows count
        by their sequence, and as the last to arrive among equals. Raises what ``drain`` raises, and ImportFailed where
        there is nothing to go on with.
        """
        uri = self.context.table.uri
        handle = open_table(uri)
        wrong = "the table is not there yet" if handle is None else cannot_reprocess(self.context.plan)
        if handle is None or wrong is not None:
            raise ImportFailed(f"rows cannot be reprocessed into {uri}", uri=uri, hint=wrong)
        handle.check_writable(mode=self.context.mode)
        while True:
            self.context.check_cancelled()
            self.recover(handle)
            if self._refused_upto is None:
                self._refused_upto = self._recorded
            plan = plan_reprocess(self.context, self.context.identity(handle), choice, upto=self._refused_upto)
            if plan is None:
                return
            with suppress(Overtaken):
                self._import(handle, plan.objects, extra=plan.extra)
            handle = require_table(self.context.table.uri)

    def _pass(self, *, retry_failed: bool) -> None:
        context = self.context
        handle = open_table(context.table.uri)
        if handle is not None:
            handle.check_writable(mode=context.mode)
            self.recover(handle)
            if context.table.feed_properties:
                handle = set_properties(context.table.uri, context.table.feed_properties)
        ledger = Ledger(context.identity(handle), at_least=self._recorded) if handle else None
        listing = open_listing(context.source, now=context.now, list_pages=context.list_pages, ledger=ledger)
        apart = context.mode in ("merge", "scd2")
        planner = Planner(source=context.source, limits=context.plan.batch, apart=apart, retry_failed=retry_failed)
        for objects in self._plan(ledger, listing, planner):
            self._warn_of_others(handle)
            handle = handle or self.create_table(objects)
            self._import(handle, objects)
        self.tally.listing(planner, listing.counts)
        if handle is not None:
            Ledger(context.identity(handle)).compact()
            self._look_for_masked_columns()
            self._tag_columns()

    def _tag_columns(self) -> None:
        """Once the batches are in: columns that came with them are tagged too."""
        tables = [self.context.table, *(self.context.tables[name] for name in self.context.step.unnest)]
        for table in tables:
            for name in set_tags(table.uri, table.tags) if table.tags and open_table(table.uri) else ():
                self.tally.note(f"the tags of {name} classify nothing: the table has no such column")

    def _look_for_masked_columns(self) -> None:
        """A mask with a misspelt name hides nothing, so that has to be said."""
        table = open_table(self.context.table.uri) if self.context.step.mask else None
        columns = {name.casefold() for name in table.schema.names} if table else set()
        for name in self.context.step.mask:
            if table is not None and name.casefold() not in columns:
                self.tally.note(f"the mask of {name} hides nothing: the table has no such column")

    def _plan(self, ledger: Ledger | None, listing: Listing, planner: Planner) -> Iterator[list[PlannedObject]]:
        context = self.context
        if context.mode == "overwrite":
            if ledger is not None and active(ledger.identity):
                raise ImportFailed(
                    "parts of the source are claimed by a backfill, and mode overwrite would import them too",
                    uri=context.table.uri,
                    hint="wait for its end, or end it: `lakeray ledger claims`",
                )
            yield from overwrite_plan(listing, ledger, planner, batch=self._recorded)
            return
        for window in self._windows(ledger, listing):
            yield from planner.feed(window)
            context.observer.listing(step=context.step_name, listed=planner.listed, new=planner.listed - planner.known)
        yield from planner.finish()

    def _windows(self, ledger: Ledger | None, listing: Listing) -> Iterator[Window]:
        claim = self.context.claim
        if claim is None or ledger is None:
            return seen_by_stream(listing, ledger, self.tally.note)
        stream = replace(self.context, claim=None).identity(require_table(self.context.table.uri))
        return seen_by_part(claim, listing, Ledger(stream), ledger)

    def _warn_of_others(self, handle: TableHandle | None) -> None:
        plan = self.context.plan
        if handle is None or plan.mode != "overwrite" or plan.replace_where is not None or plan.partitions != "all":
            return
        others = other_imports(self.context.identity(handle), handle.properties)
        if others:
            self.tally.note(
                f"mode overwrite replaces what other imports wrote into this table too ({', '.join(others)}), "
                "and they do not write it again"
            )

    def create_table(self, objects: list[PlannedObject]) -> TableHandle:
        """Make the table, with columns as a sample of ``objects`` has them."""
        context = self.context
        if context.source.contract.tables != "evolve":
            raise ImportFailed(
                f"there is no table at {context.table.uri}, and the contract of {context.source.uri} does not let the "
                "import make one",
                uri=context.table.uri,
                hint="make the table, or say `contract: {tables: evolve}`",
            )
        samples = self._sample(choose_sample(_readable(objects)))
        self._schema = read_as_text(first_schema(context.source, samples), context.step, context.source)
        properties = {**context.table.properties, **context.table_properties, **context.table.feed_properties}
        try:
            self._schema = with_wanted(self._schema, objects, self._sample, context)
            made = made_of(context, self._schema, task_keys(context))
            for name, unnest in context.step.unnest.items():
                child_schema(made, unnest, table=name)  # refuses what cannot be unnested before there is any table
            schema = without_lists(made, context.step.unnest)
            rules = ChangeRules.of(context.plan)
            schema = rules.table_schema(schema) if rules else schema
            schema = provenance.with_fields(schema) if context.keeps_provenance else schema
            create_table(
                context.table.uri, schema, partition_by=list(context.table.partition_by), properties=properties
            )
        except (TransformError, UnsupportedTable) as error:
            self._schema = None
            raise unread_sample(context.source, samples) or error from error
        handle = open_table(context.table.uri)
        assert handle is not None
        Ledger(context.identity(handle)).recorded()  # refuses a ledger that belongs to an earlier table under this path
        return handle

    def _sample(self, objects: Sequence[PlannedObject], wanted: frozenset[str] = frozenset()) -> list[Sampled]:
        tasks = [SampleTask(objects=(item,), source=self.context.source, wanted=wanted) for item in objects]
        found: list[Sampled] = []
        for told in self.context.executor.run(tasks):
            if isinstance(told.message, list):
                found.extend(told.message)
        renamed = frozenset(pair for sample in found for pair in sample.renamed)
        self._state = replace(self._state, sampled=self._state.sampled | renamed)
        return sorted(found, key=lambda sample: sample.uri)

    def _import(
        self,
        handle: TableHandle,
        objects: list[PlannedObject],
        *,
        replays: int | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        context = self.context
        context.check_cancelled()
        identity = context.identity(handle)
        children = self._children(handle, objects)
        manifest = new_manifest(
            identity,
            batch=self._recorded + 1,
            source_uri=context.source.uri,
            objects=objects,
            mode=context.mode,
            now=context.now(),
            replays=replays,
            extra=with_children(extra, children),
        )
        failpoint("before_manifest")
        if not store_manifest(identity, manifest):
            raise Overtaken
        failpoint("after_manifest")
        self._carry(handle, manifest.batch)

    def part(self, claim: Claim) -> ImportLoop:
        """The import of what is claimed, which begins with what this one knows and counts where this one counts."""
        part = ImportLoop(replace(self.context, claim=claim))
        part.tally = self.tally
        part._schema, part._state = self._schema, self._state
        part._restores_checked = self._restores_checked
        return part

    def say(self, handle: TableHandle, said: dict[str, Any]) -> None:
        """Plan and carry through a batch without objects that says something of claims. Raises Overtaken."""
        self._import(handle, [], extra=said)

    def close(self) -> int:
        """Let there be no further batch, behind all that are planned; how many there were."""
        while True:
            handle = require_table(self.context.table.uri)
            identity = self.context.identity(handle)
            try:
                self.recover(handle)
            except ClaimOver:
                return self._recorded
            closed = new_manifest(
                identity,
                batch=self._recorded + 1,
                source_uri=self.context.source.uri,
                objects=[],
                mode=self.context.mode,
                now=self.context.now(),
                extra={"closed": True},
            )
            if store_manifest(identity, closed):
                return self._recorded

    def _carry(self, handle: TableHandle, batch: int) -> bool:
        """Carry the stored manifest of ``batch`` through; False when there is none."""
        identity = self.context.identity(handle)
        manifest = load_manifest(identity, batch)
        if manifest is None:
            return False
        if "closed" in manifest.claims:
            raise ClaimOver
        protocol = BatchProtocol(self.context, identity)
        if manifest.claims:
            done = protocol.abandon(manifest, reason="", last=self._last)
            self._recorded = done.summary.number
            self._learn(done.result)
            return True
        schema = self._source_schema(handle, manifest.objects)
        done = protocol.run(manifest, schema, restores_checked=self._restores_checked, state=self._state)
        self._recorded = done.summary.number
        self._learn(done.result)
        self.tally.batch(done)
        return True

    def _children(self, handle: TableHandle, objects: list[PlannedObject]) -> list[PlannedChild]:
        """The step's child tables, ready for the next batch."""
        context = self.context
        tables = ChildTables(
            context=context,
            identity=context.identity(handle),
            last=self._children_seen,
            batch=self._recorded,
        )

        def made() -> pa.Schema:
            return made_of(context, self._source_schema(handle, objects), task_keys(context))

        return tables.ready(made, self.tally.note)

    def _learn(self, result: Result) -> None:
        """What a recorded batch knew of the source's schema, and of child tables."""
        self._last, self._children_seen = result, result.children
        if result.source_schema:
            self._schema = schema_from_names(result.source_schema)
            self._state = SchemaState.from_json(self._schema, result.schema_state)

    def _source_schema(self, handle: TableHandle, objects: list[PlannedObject]) -> pa.Schema:
        if self._schema is None:
            self._schema = first_schema(self.context.source, self._sample(choose_sample(_readable(objects))))
        hinted = with_wanted(with_hints(self._schema, self.context.source), objects, self._sample, self.context)
        known = with_table(
            hinted,
            with_lists(handle.schema, self.context, hinted),
            source=self.context.source,
            step=self.context.step,
        )
        return read_as_text(known, self.context.step, self.context.source)

    def recover(self, handle: TableHandle) -> None:
        """Finish what was planned and record what was committed, whoever did it."""
        identity = self.context.identity(handle)
        for number in record_committed(self.context, handle):
            self.tally.note(f"batch {number} was in the table already: now the ledger says so too")
        result = last_result(identity)
        self._recorded = result.batch if result else 0
        if result is not None:
            self._restores_checked = max(self._restores_checked, result.restores_checked)
            self._learn(result)
        while self._carry(handle, self._recorded + 1):
            self.tally.note(f"batch {self._recorded} had been planned before: it is finished now")
        lost = lost_to_restore(self.context, handle, self._restores_checked, self.tally.note)
        self._children_seen = check_children(
            self.context,
            identity,
            self._last.children if self._last else (),
            lost=[batch for batch, _ in lost.batches],
            newest=self._recorded,
            note=self.tally.note,
        )
        for batch, objects in lost.batches:
            self._import(handle, objects, replays=batch, extra=reprocessed(identity, batch))
            self.tally.note(
                f"batch {batch} was taken away by a RESTORE: its objects are imported again as batch {self._recorded}"
            )
        self._restores_checked = lost.version  # not the newest version: there may have been another RESTORE since


def _readable(objects: list[PlannedObject]) -> list[PlannedObject]:
    return [item for item in objects if item.skip is None]
