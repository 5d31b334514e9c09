"""Everything an import step needs to know, gathered once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from lakeray.delta.table import TableHandle
from lakeray.errors import Cancelled
from lakeray.importer.claims.claim import Claim, part_of
from lakeray.importer.executor import Executor
from lakeray.importer.identity import ImportId, pipeline_id
from lakeray.observability.metrics import ImportMetrics
from lakeray.observability.progress import Observer
from lakeray.spec.model import Workflow
from lakeray.spec.sources import Source
from lakeray.spec.steps import Import, Mode, Step
from lakeray.spec.tables import Table


@dataclass(frozen=True, kw_only=True)
class ImportContext:
    """One import step of one run.

    ``keys`` holds the resolved mask keys by reference, ``tables`` all tables of the workflow by name; ``now`` is the
    clock (UTC); ``list_pages`` may replace the store's own listing. ``task_memory_bytes`` is the aim for the memory of
    one task. With a ``claim`` only its part of the source is imported, beside the stream.
    """

    tenant: str
    workflow: str
    run_id: str
    step_name: str
    step: Step
    source: Source
    table: Table
    executor: Executor
    observer: Observer
    now: Callable[[], datetime]
    keys: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    tables: Mapping[str, Table] = field(default_factory=dict)
    task_memory_bytes: int = 512 * 2**20
    list_pages: Callable[[str], Iterator[pa.RecordBatch]] | None = None
    metrics: ImportMetrics = field(default_factory=ImportMetrics)
    metrics_file: str | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    claim: Claim | None = None

    @classmethod
    def of(
        cls,
        workflow: Workflow,
        step_name: str,
        *,
        run_id: str,
        executor: Executor,
        observer: Observer,
        now: Callable[[], datetime],
    ) -> ImportContext:
        """The context of an import step of ``workflow``; what a run alone knows is added with ``replace``."""
        step = workflow.steps[step_name]
        assert step.import_ is not None
        return cls(
            tenant=workflow.tenant,
            workflow=workflow.workflow,
            run_id=run_id,
            step_name=step_name,
            step=step,
            source=workflow.sources[step.import_.from_],
            table=workflow.tables[step.import_.into],
            tables=workflow.tables,
            executor=executor,
            observer=observer,
            now=now,
        )

    def identity(self, handle: TableHandle) -> ImportId:
        """Who this import is for that table."""
        stream = ImportId(
            pipeline=pipeline_id(self.tenant, self.workflow),
            workflow=self.workflow,
            step=self.step_name,
            table_uri=self.table.uri,
            table_id=handle.id,
        )
        return stream if self.claim is None else part_of(stream, self.claim.number)

    @property
    def table_properties(self) -> dict[str, str]:
        """What the table shall say about this pipeline."""
        return {f"lakeray.pipeline.{self.workflow}": str(pipeline_id(self.tenant, self.workflow))}

    @property
    def plan(self) -> Import:
        """What the step imports, from where, into what."""
        assert self.step.import_ is not None
        return self.step.import_

    @property
    def mode(self) -> Mode:
        """How the step's objects get into the table."""
        return self.plan.mode

    @property
    def keeps_provenance(self) -> bool:
        """Whether rows shall say where they came from: asked for, or needed by a policy that takes rows out again."""
        source = self.source
        needed = source.changed_objects == "replace" or source.deleted_objects == "delete"
        return self.table.provenance or needed or self.step.compensate == "withdraw"

    def check_cancelled(self) -> None:
        """Raise Cancelled when a person asked the run to stop."""
        if self.cancelled.is_set():
            raise Cancelled(
                "the run was asked to stop", hint="run the same command again: it goes on where this one stopped"
            )
