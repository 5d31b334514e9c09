"""Looks at a source and its ledger that change nothing: what a run would do, what a source holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from lakeray.delta.table import open_table
from lakeray.importer.claims.view import seen_by_stream
from lakeray.importer.context import ImportContext
from lakeray.importer.discovery.difference import Window, rested_difference
from lakeray.importer.discovery.planner import Planner
from lakeray.importer.discovery.source import open_listing
from lakeray.importer.executor import Executor
from lakeray.importer.manifest import PlannedObject, load_manifest
from lakeray.importer.recording.ledger import Ledger
from lakeray.importer.recording.summary import Summary
from lakeray.importer.schema.diff import SchemaDiff, schema_diff
from lakeray.importer.schema.source import SampleTask, choose_sample, first_schema, schema_names
from lakeray.objects import ObjectInfo
from lakeray.spec.sources import Source

SAMPLE_URIS = 5
SAMPLE_KEPT = 64


class PlanSummary(Summary):
    """What an import step would do now. ``pending_batch`` is a batch that was planned and not finished; ``new``
    counts objects to read.
    """

    step: str
    source_uri: str
    table_uri: str
    table_exists: bool
    listed: int
    new: int
    changed: int
    deleted: int
    known: int
    pending_batch: int | None
    batches: int
    size_bytes: int
    samples: list[str]
    notes: list[str] = Field(default_factory=list)


class DiscoverySummary(Summary):
    """What a source holds now; ``columns`` maps names to types, from a sample. ``new``, ``changed`` and ``deleted``
    are against the ledgers of the steps that import it (None when no step does, or no table is there yet).
    """

    source: str
    uri: str
    format: str
    objects: int
    size_bytes: int
    oldest: datetime | None
    newest: datetime | None
    columns: dict[str, str]
    new: int | None
    changed: int | None
    deleted: int | None
    temporary_left_out: int
    registered: str | None = None
    schema_diff: SchemaDiff | None = None


def plan(context: ImportContext) -> PlanSummary:
    """Compare the step's source with its ledger and count what a run would import. Reads listings and the ledger
    only.
    """
    handle = open_table(context.table.uri)
    notes: list[str] = []
    if handle is not None:
        handle.check_writable(mode=context.mode)
    identity = context.identity(handle) if handle else None
    ledger = Ledger(identity) if identity else None
    pending = load_manifest(identity, ledger.recorded() + 1) if identity and ledger else None
    listing = open_listing(context.source, now=context.now, list_pages=context.list_pages, ledger=ledger)
    planner = Planner(source=context.source, limits=context.plan.batch)
    batches, new, size_bytes, gone = 0, 0, 0, 0
    samples: list[str] = []

    def take(objects: list[PlannedObject]) -> None:
        nonlocal batches, new, size_bytes, gone
        readable = [item for item in objects if item.skip is None]
        batches += bool(objects)
        new += len(readable)
        gone += sum(item.fate is not None for item in objects)
        size_bytes += sum(item.info.size for item in readable)
        samples.extend(item.info.uri for item in readable[: SAMPLE_URIS - len(samples)])

    for window in seen_by_stream(listing, ledger, notes.append):
        for objects in planner.feed(window):
            take(objects)
    for objects in planner.finish():
        take(objects)
    if pending is not None:
        notes.append(
            f"batch {pending.batch} ({len(pending.objects)} objects) was planned and not finished: a run begins with it"
        )
    if gone:
        notes.append(f"the rows of {gone} loads of objects that changed or are gone would be taken out")
    if context.mode == "overwrite" and (new or planner.deleted):
        notes.append("mode overwrite reads everything that is listed and replaces the table in one commit")
    return PlanSummary(
        step=context.step_name,
        source_uri=context.source.uri,
        table_uri=context.table.uri,
        table_exists=handle is not None,
        listed=planner.listed,
        new=new,
        changed=planner.changed,
        deleted=planner.deleted,
        known=planner.known,
        pending_batch=pending.batch if pending else None,
        batches=batches,
        size_bytes=size_bytes,
        samples=samples,
        notes=notes,
    )


def discover(
    name: str,
    source: Source,
    *,
    ledger: Ledger | None,
    executor: Executor,
    now: Callable[[], datetime],
    diff: Literal["none", "sample", "all"] = "none",
) -> DiscoverySummary:
    """List the source, read a sample, compare with ``ledger`` where there is one; ``diff`` compares schemas too."""
    listing = open_listing(source, now=now, ledger=ledger)
    totals = _Totals()
    for window in rested_difference(listing, ledger):
        totals.add(window)
    found = open_listing(source, now=now, ledger=ledger)
    for page in found.pages():
        totals.page(page)
    tasks = [SampleTask(objects=(item,), source=source) for item in choose_sample(totals.sample)]
    samples = [sample for told in executor.run(tasks) if isinstance(told.message, list) for sample in told.message]
    return DiscoverySummary(
        source=name,
        uri=source.uri,
        format=source.format,
        objects=totals.objects,
        size_bytes=totals.size_bytes,
        oldest=totals.oldest,
        newest=totals.newest,
        columns=schema_names(first_schema(source, samples)) if samples else {},
        new=totals.new if ledger else None,
        changed=totals.changed if ledger else None,
        deleted=totals.deleted if ledger else None,
        temporary_left_out=found.counts.temporary,
        schema_diff=None
        if diff == "none"
        else schema_diff(
            source,
            identity=ledger.identity if ledger else None,
            sample=sorted(samples, key=lambda sample: sample.uri),
            executor=executor,
            now=now,
            everything=diff == "all",
        ),
    )


class _Totals:
    """What listing and comparison add up to; keeps one object of each page as a sample."""

    def __init__(self) -> None:
        self.objects, self.size_bytes, self.new, self.changed, self.deleted = 0, 0, 0, 0, 0
        self.oldest: datetime | None = None
        self.newest: datetime | None = None
        self.sample: list[PlannedObject] = []

    def add(self, window: Window) -> None:
        """A stretch of the comparison."""
        self.new += window.fresh.num_rows - window.changed
        self.changed += window.changed
        self.deleted += window.deleted

    def page(self, page: pa.RecordBatch) -> None:
        """A page of the listing."""
        self.objects += page.num_rows
        self.size_bytes += pc.sum(page["size"]).as_py() or 0
        bounds = pc.min_max(page["modified_at"])
        self.oldest = min(filter(None, (self.oldest, bounds["min"].as_py())))
        self.newest = max(filter(None, (self.newest, bounds["max"].as_py())))
        if len(self.sample) < SAMPLE_KEPT:
            rows = page.slice(0, 4).to_pylist()
            self.sample.extend(PlannedObject(info=ObjectInfo(**row)) for row in rows)
