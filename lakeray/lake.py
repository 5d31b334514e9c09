"""The lake as a notebook or a command holds it: `connect()` gives one, everything else hangs on it."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from lakeray.catalog import SourceEntry, register_source
from lakeray.config import Settings
from lakeray.delta.table import open_table, require_table
from lakeray.errors import SpecError
from lakeray.importer.context import ImportContext
from lakeray.importer.discovery.look import DiscoverySummary, PlanSummary, discover, plan
from lakeray.importer.executor import Executor
from lakeray.importer.identity import pipeline_id
from lakeray.importer.outputs.batch import OutputsOf
from lakeray.importer.protection.rotation import KeysOf
from lakeray.importer.provenance.withdraw import withdraw
from lakeray.importer.quarantine.reprocess import Choice
from lakeray.importer.recording.amend import LedgerOf
from lakeray.importer.recording.ledger import Ledger
from lakeray.importer.recording.summary import BatchSummary
from lakeray.objects import absolute
from lakeray.observability.progress import Observer, Silent
from lakeray.reports.build import build_report
from lakeray.reports.model import Report
from lakeray.reports.profile import ProfileReport
from lakeray.runtime.actors.placed import placing
from lakeray.runtime.actors.workers import GRACE_S
from lakeray.runtime.background import Background
from lakeray.runtime.bench import utc_now
from lakeray.runtime.cluster import Cluster
from lakeray.runtime.doctor import Check, examine
from lakeray.runtime.durable.deadletters import DeadLettersOf
from lakeray.runtime.durable.run import DurableRun, narrowed
from lakeray.runtime.durable.runs import RunsOf
from lakeray.runtime.durable.triggers.backfill_runs import BackfillRun, BackfillsOf
from lakeray.runtime.durable.triggers.manage import SchedulesOf
from lakeray.runtime.durable.triggers.posting import post_notice
from lakeray.runtime.durable.views import OfState
from lakeray.runtime.executors import executor
from lakeray.runtime.quarantine import Import, QuarantineOf
from lakeray.runtime.run import WorkflowRun, watchable
from lakeray.runtime.summary import RunSummary
from lakeray.runtime.up import Up, UpSummary
from lakeray.runtime.upkeep import TableOf
from lakeray.spec.built import refuse_unbuilt
from lakeray.spec.load import load_workflow
from lakeray.spec.model import Workflow
from lakeray.transform.written import check_expressions

File = str | Path | Workflow


def connect(*, settings: Settings | None = None, observer: Observer | None = None) -> Lake:
    """A lake on this machine. Cheap: Ray starts with the first run. Raises ConfigError for a wrong environment
    variable.
    """
    return Lake(settings or Settings.from_env(os.environ), observer or Silent())


class Run(Background[RunSummary]):
    """A run in the background."""

    @property
    def report(self) -> Report:
        """The seven sections about the run so far; renders in a notebook."""
        return build_report(self.summary)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


class LakeTable(TableOf):
    """The upkeep of one table."""

    def profile(self) -> ProfileReport:
        """What its columns and files look like; renders in a notebook. Reads every row once, on Ray.

        Columns that the workflow masks and those tagged ``pii`` show no value. Raises UnsupportedTable for a table with
        deletion vectors.
        """
        return ProfileReport.model_validate(self.look().model_dump())


class Lake(OfState):
    """Every operation on a lake. Files are workflow files (a path) or workflows that are loaded already.

    Errors are those of ``lakeray.errors``; a file with mistakes raises SpecError with all of them, before anything
    starts.
    """

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer
        self._cluster = Cluster(settings)

    def validate(self, file: File) -> Workflow:
        """Read and check a workflow file, its SQL too."""
        if isinstance(file, Workflow):
            return file
        workflow = load_workflow(file)
        check_expressions(workflow)
        return workflow

    def run(self, file: File, *, steps: list[str] | None = None, continuous: bool = False) -> Run:
        """Start a run and return at once. What an earlier run of the very same file left unfinished is carried on.

        ``continuous`` keeps watching for new objects until it is cancelled; such a run keeps no history, so that it
        raises SpecError for steps that need one: gates, functions, waits.
        """
        workflow = self._runnable(file, steps)
        if continuous:
            watchable(workflow, steps)
            return Run(self._watching(workflow, steps))
        return Run(self._durable(workflow=narrowed(workflow, steps)))

    def _durable(self, **said: Any) -> DurableRun:
        return DurableRun(
            settings=self._settings,
            cluster=self._cluster,
            observer=self._observer,
            principal=getpass.getuser(),
            place=placing(self._settings, self._cluster),
            **said,
        )

    def up(
        self,
        *files: File,
        orchestrators: int | None = None,
        grace_s: float = GRACE_S,
        say: Callable[[dict[str, Any]], None] | None = None,
    ) -> Background[UpSummary]:
        """Drive all runs of the state until it is cancelled, and begin those that the files' schedules and triggers
        name. ``say`` is told what goes on.

        ``orchestrators``: how many share the runs (default: one for an embedded state, which allows no more; two for
        Redis). ``grace_s``: seconds that work has to end when it is asked to; then its process is ended. The result
        raises ConfigError where that cannot be.
        """
        workflows = [self._runnable(file, None) for file in files]
        return Background(
            Up(
                settings=self._settings,
                cluster=self._cluster,
                say=say or (lambda _: None),
                workflows=workflows,
                orchestrators=orchestrators,
                grace_s=grace_s,
            )
        )

    @property
    def runs(self) -> RunsOf[Run]:
        """All runs of the state (`LAKERAY_STATE`): to look at, to steer, to go on with."""
        return RunsOf(settings=self._settings, principal=getpass.getuser(), now=utc_now, new=self._durable, start=Run)

    @property
    def deadletters(self) -> DeadLettersOf[Run]:
        """Work that was given up: steps that killed their workers, what could not be undone."""
        return DeadLettersOf(state=self._settings.state, runs=self.runs)

    @property
    def schedules(self) -> SchedulesOf:
        """What makes runs begin by themselves while `lakeray up` stands: schedules and triggers of registered files."""
        return SchedulesOf(
            state=self._settings.state, principal=getpass.getuser(), now=utc_now, runnable=self._runnable
        )

    def notify(self, uri: str) -> None:
        """Say that an object is new, to the arrival triggers with `posted: true` whose source it belongs to."""
        post_notice(self._settings.state, uri, utc_now())

    @property
    def backfills(self) -> BackfillsOf:
        """All backfills of the state: to begin, to look at, to steer, to go on with."""
        return BackfillsOf(
            settings=self._settings,
            cluster=self._cluster,
            observer=self._observer,
            principal=getpass.getuser(),
            place=placing(self._settings, self._cluster),
            runnable=self._runnable,
        )

    def backfill(self, file: File, **asked: Any) -> BackfillRun:
        """Run the workflow, or a ``step`` of it, for each partition of a range of time (``start``, ``end``, ``every``)
        or of a list (``values``); returns at once. See ``BackfillsOf.start`` for all that can be asked.
        """
        return self.backfills.start(file, **asked)

    def _watching(self, workflow: Workflow, steps: list[str] | None) -> WorkflowRun:
        return WorkflowRun(
            workflow=workflow,
            settings=self._settings,
            cluster=self._cluster,
            observer=self._observer,
            steps=steps,
            continuous=True,
        )

    def plan(self, file: File, *, steps: list[str] | None = None) -> list[PlanSummary]:
        """What a run would import, step by step; nothing is written."""
        workflow = self._runnable(file, steps)
        names = [name for name in workflow.ordered() if steps is None or name in steps]
        return [plan(self._context(workflow, name)) for name in names if workflow.steps[name].import_ is not None]

    def discover(
        self,
        file: File,
        *,
        source: str | None = None,
        register: bool = False,
        schema_diff: Literal["none", "sample", "all"] = "none",
    ) -> list[DiscoverySummary]:
        """What the sources hold; ``register`` stores it in the catalog; ``schema_diff`` compares what is known of their
        schemas with a sample, or with all objects.
        """
        workflow = self.validate(file)
        names = [source] if source else list(workflow.sources)
        _known(names, workflow.sources, "source")
        found = []
        for name in names:
            declared = workflow.sources[name]
            summary = discover(
                name,
                declared,
                ledger=self._ledger_of_source(workflow, name),
                executor=self._executor("discover"),
                now=utc_now,
                diff=schema_diff,
            )
            found.append(self._registered(workflow, summary) if register else summary)
        return found

    def ledger(self, file: File, *, step: str | None = None) -> LedgerOf:
        """The ledger of an import step (the only one, when ``step`` is None)."""
        workflow = self.validate(file)
        return LedgerOf(self._context(workflow, _one(workflow, step)))

    def keys(self, file: File, *, table: str | None = None, column: str | None = None) -> KeysOf:
        """The data keys of the columns that the file encrypts (in one table, of one column)."""
        workflow = self.validate(file)
        _known([table] if table else [], workflow.tables, "table")
        return KeysOf(
            workflow=workflow,
            executor=self._executor("keys"),
            memory_bytes=self._settings.task_memory_bytes,
            now=utc_now,
            table=table,
            column=column,
        )

    def outputs(self, file: File, *, step: str | None = None) -> OutputsOf:
        """The files of other formats beside a step's table (of the only import step, when ``step`` is None)."""
        workflow = self.validate(file)
        return OutputsOf(self._context(workflow, _one(workflow, step)))

    def withdraw(
        self,
        file: File,
        *,
        step: str | None = None,
        batches: Sequence[int] | None = None,
        run_id: str | None = None,
    ) -> BatchSummary | None:
        """Take exactly the rows of these batches, or of all batches of that run, out of the table again, in one commit.

        None when nothing of them is there, so that calling again changes nothing. Their objects are not imported again
        until ``ledger(...).reset(...)``. Raises ImportFailed where rows do not say where they came from (see
        ``provenance`` of a table).
        """
        if batches is None and run_id is None:
            raise SpecError("nothing says what to withdraw", hint="name batches or a run_id")
        workflow = self.validate(file)
        return withdraw(self._context(workflow, _one(workflow, step)), batches=batches, run_id=run_id)

    def quarantine(self, file: File, *, table: str | None = None, step: str | None = None) -> QuarantineOf[Run]:
        """The refused rows of the workflow's import steps: of all, of those into ``table``, or of one ``step``."""
        workflow = self.validate(file)
        _known([table] if table else [], workflow.tables, "table")
        names = [name for name, item in workflow.steps.items() if item.import_ is not None]
        _known([step] if step else [], names, "import step")
        imports = []
        for name in [step] if step else names:
            plan = workflow.steps[name].import_
            if plan is not None and table in (None, plan.into):
                pipeline = str(pipeline_id(workflow.tenant, workflow.workflow))
                uri = workflow.tables[plan.into].quarantine_uri
                imports.append(Import(step=name, pipeline=pipeline, quarantine_uri=uri))

        def start(name: str, choice: Choice) -> Run:
            work = WorkflowRun(
                workflow=self._runnable(workflow, [name]),
                settings=self._settings,
                cluster=self._cluster,
                observer=self._observer,
                steps=[name],
                reprocess=choice,
            )
            return Run(work)

        return QuarantineOf(imports, start)

    def table(self, file_or_uri: File, name: str | None = None) -> LakeTable:
        """The upkeep of a table: one of a workflow file by name, or any by its uri."""
        if isinstance(file_or_uri, Workflow) or str(file_or_uri).endswith((".yaml", ".yml")):
            workflow = self.validate(file_or_uri)
            names = [name] if name else list(workflow.tables)
            _known(names, workflow.tables, "table")
            if len(names) != 1:
                raise SpecError("the workflow has several tables", hint=f"name one of them: {', '.join(names)}")
            return self._table(workflow.tables[names[0]].uri, workflow, names[0])
        require_table(str(file_or_uri))
        return self._table(str(file_or_uri))

    def doctor(self, file: File | None = None) -> list[Check]:
        """Look at the machine, the settings and, with a file, at every place that it names."""
        return examine(self._settings, self.validate(file) if file else None)

    def close(self) -> None:
        """End the local Ray, if one was started here."""
        self._cluster.stop()

    def _runnable(self, file: File, steps: Sequence[str] | None) -> Workflow:
        workflow = self.validate(file)
        if steps is not None:
            _known(list(steps), workflow.steps, "step")
        refuse_unbuilt(workflow, steps=set(steps) if steps is not None else None)
        return workflow

    def _context(self, workflow: Workflow, name: str) -> ImportContext:
        return ImportContext.of(
            workflow, name, run_id="none", executor=self._executor(name), observer=self._observer, now=utc_now
        )

    def _table(self, uri: str, workflow: Workflow | None = None, name: str | None = None) -> LakeTable:
        steps = workflow.steps.values() if workflow else ()
        into = [step for step in steps if step.import_ is not None and step.import_.into == name]
        return LakeTable(
            uri,
            table=workflow.tables[name] if workflow and name else None,
            executor=self._executor,
            memory_bytes=self._settings.task_memory_bytes,
            masked=frozenset(column for step in into for column in step.mask),
        )

    def _executor(self, name: str) -> Executor:
        return executor(self._settings.executor, name=f"lakeray {name}", cluster=self._cluster)

    def _ledger_of_source(self, workflow: Workflow, source: str) -> Ledger | None:
        for name, step in workflow.steps.items():
            if step.import_ is not None and step.import_.from_ == source:
                handle = open_table(workflow.tables[step.import_.into].uri)
                return Ledger(self._context(workflow, name).identity(handle)) if handle else None
        return None

    def _registered(self, workflow: Workflow, summary: DiscoverySummary) -> DiscoverySummary:
        entry = SourceEntry(
            tenant=workflow.tenant,
            workflow=workflow.workflow,
            registered_at=utc_now(),
            **summary.model_dump(include=set(SourceEntry.model_fields)),
        )
        return summary.model_copy(update={"registered": register_source(absolute(self._settings.catalog), entry)})


def _one(workflow: Workflow, step: str | None) -> str:
    imports = [name for name, item in workflow.steps.items() if item.import_ is not None]
    if step is not None:
        _known([step], imports, "import step")
        return step
    if len(imports) != 1:
        raise SpecError(
            f"the workflow has {len(imports)} import steps", hint=f"name one with --step: {', '.join(imports)}"
        )
    return imports[0]


def _known(names: Sequence[str], known: Any, noun: str) -> None:
    for name in names:
        if name not in known:
            raise SpecError(f"there is no {noun} {name!r}", hint=f"the workflow has: {', '.join(known) or 'none'}")
