"""One task of a batch: some objects read, coerced, transformed, checked and staged, in a worker process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import pyarrow as pa

from lakeray.delta.parquet import WriteOptions
from lakeray.delta.staged import StagedFile
from lakeray.delta.writer import StagedWriter
from lakeray.errors import AccessDenied, ImportFailed, ObjectChanged, ObjectNotFound, ReadError, place_of
from lakeray.failpoints import failpoint
from lakeray.importer.discovery.source import path_columns, read_options
from lakeray.importer.layout import ROW_GROUP_SHARE, table_options
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.merge.marks import Marker
from lakeray.importer.merge.rules import ChangeRules
from lakeray.importer.origins import Origins
from lakeray.importer.pipeline import Pipeline
from lakeray.importer.preparation import CleansingCounts
from lakeray.importer.quarantine import table as quarantine
from lakeray.importer.quarantine.requeued import Requeued, Stays, restorer
from lakeray.importer.readers import ReadOptions, read
from lakeray.importer.readers.port import Chunk, Refused
from lakeray.importer.recording.summary import ExpectationSummary, Rows
from lakeray.importer.result import ObjectOutcome, Outcome
from lakeray.importer.schema.drift import Seen
from lakeray.importer.stage import Stage
from lakeray.importer.unnest.stage import ChildStages, Into
from lakeray.objects import SourcePattern, open_store
from lakeray.spec.sources import Source
from lakeray.spec.steps import Step
from lakeray.spec.tables import Table
from lakeray.transform.cleanse.outliers import Bounds
from lakeray.transform.contract import Widening
from lakeray.transform.program import Expectation

ADVANCE_EVERY_S = 1.0
CHUNK_SHARE, BUFFER_SHARE = 32, 8
"""A task's memory is shared out: a chunk and its copies, the object buffer, an open row group with its encoded
pages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advanced:
    """Progress since the last message."""

    objects: int
    rows: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOutcome:
    """What a task has staged: one outcome an object, files (of ``children`` by the table's name) that no commit names
    yet, the schemas that it ended with.

    ``retyped``: some of the files hold a column in a narrower type than others. ``seen`` is what the source showed of
    its schema.
    """

    outcomes: list[ObjectOutcome]
    files: list[StagedFile]
    quarantine_files: list[StagedFile]
    source_schema: pa.Schema
    table_schema: pa.Schema
    expectations: dict[str, ExpectationSummary]
    retyped: bool = False
    seen: Seen = field(default_factory=Seen)
    cleansing: CleansingCounts = field(default_factory=dict)
    children: dict[str, list[StagedFile]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """All that a worker needs; picklable. ``prefix`` begins the names of this attempt's files.

    ``changes`` is set when rows are changes, which are staged with their marks below ``table_uri``, not in the table.
    """

    objects: tuple[PlannedObject, ...]
    source: Source
    table: Table
    step: Step
    table_uri: str
    quarantine_uri: str
    prefix: str
    pipeline: str
    step_name: str
    batch: int
    run_id: str
    now: datetime
    seed: int
    keys: Mapping[str, bytes] = field(repr=False)
    source_schema: pa.Schema
    wire_schema: pa.Schema | None
    table_schema: pa.Schema
    partition_by: tuple[str, ...]
    constraints: tuple[Expectation, ...]
    table_properties: Mapping[str, str]
    memory_bytes: int
    bounds: Mapping[tuple[str, str], Bounds] = field(default_factory=dict)
    changes: ChangeRules | None = None
    origins: Origins
    requeued: Requeued | None = None
    """Where the rows come from when only those of the objects are meant that are in quarantine."""
    source_widening: Widening = field(default_factory=Widening)
    widening: Widening = field(default_factory=Widening)
    children: tuple[Into, ...] = ()

    def run(self) -> Iterator[Advanced | TaskOutcome]:
        """Progress about once a second, the outcome last. Raises what concerns the whole batch: a failed expectation,
        a wrong expression, a drifted schema, a store that cannot be reached.
        """
        worker = _Worker(self)
        try:
            for planned, place in zip(self.objects, self.origins.places, strict=True):
                failpoint("task_started")
                yield from worker.load(planned, place)
            outcome = worker.finish()
            yield worker.rest()
            yield outcome
        except BaseException:
            worker.discard()
            raise


class _Worker:
    """State of one running task. Memory: a chunk and its transforms, the object buffer, one row group a writer."""

    def __init__(self, spec: TaskSpec) -> None:
        self._spec = spec
        self._pattern = SourcePattern.parse(spec.source.uri)
        self._read = read_options(
            spec.source, wire_schema=spec.wire_schema, chunk_bytes=spec.memory_bytes // CHUNK_SHARE
        )
        self._pipeline = Pipeline(
            spec.step,
            source=spec.source,
            source_schema=spec.source_schema,
            table_schema=spec.table_schema,
            constraints=spec.constraints,
            now=spec.now,
            seed=spec.seed,
            keys=spec.keys,
            bounds=spec.bounds,
            marker=_marker(spec),
            source_widening=spec.source_widening,
            widening=spec.widening,
        )
        self._origin = quarantine.Origin(
            pipeline=spec.pipeline,
            step=spec.step_name,
            batch=spec.batch,
            run_id=spec.run_id,
            now=spec.now,
            withhold_raw=bool(spec.step.mask),
        )
        self._stage = Stage(self._table_writer, spec.memory_bytes // BUFFER_SHARE)
        self._refused = Stage(self._quarantine_writer, spec.memory_bytes // BUFFER_SHARE)
        self._children = ChildStages(spec.children, prefix=spec.prefix, memory_bytes=spec.memory_bytes)
        self._outcomes: list[ObjectOutcome] = []
        self._progress = _Progress()

    def load(self, planned: PlannedObject, place: int) -> Iterator[Advanced]:
        """Read one object, which is at ``place`` in the manifest, to its end, or find out why not."""
        self._stage.begin()
        self._refused.begin()
        self._children.begin()
        account = _Account()
        mark = self._pipeline.mark()
        try:
            for position in self._chunks(planned, account, place):
                yield from self._progress.during(account.rows.read, position)
        except (ObjectChanged, ObjectNotFound) as error:
            outcome = ObjectOutcome(planned=planned, outcome="superseded", code=error.code, error=error.message)
        except AccessDenied as error:
            if error.uri != planned.info.uri:
                raise
            # Never poison: what may be read tomorrow is no fault of the object.
            outcome = ObjectOutcome(planned=planned, outcome="failed", code=error.code, error=error.message)
        except ReadError as error:
            outcome = self._failed(planned, error.code, error.message)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            # A defect of ours that this object's values bring out: other objects are imported, this one is tried again
            # by the version that has it mended. The error's text may hold a value that is masked.
            outcome = self._failed(
                planned,
                "unexpected",
                f"unexpected {type(error).__name__} at {place_of(error)}: a defect of lakeray, please report it",
            )
        else:
            self._stage.keep()
            self._refused.keep()
            self._children.keep()
            outcome = replace(account.outcome(planned), unnested=self._children.counts)
            self._outcomes.append(outcome if self._spec.requeued is None else replace(outcome, bytes_read=0))
            yield from self._progress.after(account.rows.read, planned.info.size)
            return
        self._pipeline.rewind(mark)
        self._stage.drop()
        self._refused.drop()
        self._children.drop()
        self._outcomes.append(outcome)
        yield from self._progress.after(0, planned.info.size)

    def _failed(self, planned: PlannedObject, code: str, error: str) -> ObjectOutcome:
        return failed_outcome(planned, max_tries=self._spec.source.max_tries, code=code, error=error)

    def _chunks(self, planned: PlannedObject, account: _Account, place: int) -> Iterator[int]:
        """Stage the object chunk by chunk; yields the position in its stored bytes."""
        info = planned.info
        columns = path_columns(self._spec.source, self._pattern, info.uri)
        if self._spec.requeued is not None:
            try:
                for chunk in self._requeued(self._spec.requeued, planned, account):
                    self._put(planned, chunk, columns, account, place)
                    yield 0
            except (ReadError, ObjectChanged, ObjectNotFound) as error:  # of the quarantine, never the object's outcome
                raise ImportFailed(f"the quarantine cannot be read: {error.message}", uri=error.uri) from error
            return
        with open_store(info.uri).open(info.uri, match=info) as file:
            for chunk in read(file, self._options(columns), name=info.uri):
                self._put(planned, chunk, columns, account, place)
                yield min(file.tell(), info.size)

    def _put(
        self,
        planned: PlannedObject,
        chunk: Chunk,
        columns: Mapping[str, str | None],
        account: _Account,
        place: int,
    ) -> None:
        """Take a chunk through the pipeline and stage what comes out."""
        result = self._pipeline.run(chunk, planned.info, columns)
        table = self._children.take(result.table)
        start = account.rows.written
        self._stage.add(self._spec.origins.put(table, place, start=start, numbers=result.numbers))
        if chunk.refused:
            self._refused.add(self._origin.malformed(planned, chunk.refused))
            account.first_refusal(chunk.refused[0])
        if result.quarantined.num_rows:
            self._refused.add(self._origin.violations(planned, result.quarantined))
        account.add(result.rows)

    def _requeued(self, requeued: Requeued, planned: PlannedObject, account: _Account) -> Iterator[Chunk]:
        """The object's rows that are in quarantine; those that cannot be restored are staged to stay there."""
        spec = self._spec
        source = restorer(
            spec.source, spec.step, self._pipeline.source_schema, chunk_bytes=spec.memory_bytes // CHUNK_SHARE
        )
        for rows in requeued.rows(planned):
            for found in source.chunks(planned, rows):
                if isinstance(found, Stays):
                    self._refused.add(self._origin.again(found.rows))
                    account.stays(found)
                else:
                    yield found

    def _options(self, path: Mapping[str, str | None]) -> ReadOptions:
        """A column that the path gives is read only where the object has it: a reader fills what it was told to
        expect with nulls.
        """
        wire = self._read.wire_schema
        if wire is None or not path:
            return self._read
        return replace(self._read, wire_schema=pa.schema([item for item in wire if item.name not in path]))

    def finish(self) -> TaskOutcome:
        """End all files."""
        outcome = TaskOutcome(
            outcomes=self._outcomes,
            files=self._stage.close(),
            quarantine_files=self._refused.close(),
            source_schema=self._pipeline.source_schema,
            table_schema=self._pipeline.table_schema,
            expectations=self._pipeline.expectations,
            retyped=self._pipeline.retyped,
            seen=self._pipeline.seen,
            cleansing=self._pipeline.cleansing,
            children=self._children.close(),
        )
        failpoint("task_staged")
        return outcome

    def rest(self) -> Advanced:
        """Progress that no message told yet."""
        return self._progress.take()

    def discard(self) -> None:
        """The whole task is in vain."""
        self._stage.discard()
        self._refused.discard()
        self._children.discard()

    def _table_writer(self, schema: pa.Schema, suffix: str) -> StagedWriter:
        spec = self._spec
        options = table_options(spec.table, spec.table_properties, memory_bytes=spec.memory_bytes)
        return StagedWriter(
            spec.table_uri,
            schema=schema,
            partition_by=list(spec.partition_by),
            prefix=f"{spec.prefix}-{suffix}",
            options=options,
            beside=spec.origins.columns_beside,
        )

    def _quarantine_writer(self, schema: pa.Schema, suffix: str) -> StagedWriter:
        spec = self._spec
        options = WriteOptions(row_group_bytes=spec.memory_bytes // ROW_GROUP_SHARE)
        return StagedWriter(
            spec.quarantine_uri, schema=schema, partition_by=[], prefix=f"{spec.prefix}-q{suffix}", options=options
        )


def _marker(spec: TaskSpec) -> Marker | None:
    return None if spec.changes is None else Marker(rules=spec.changes, now=spec.now, seed=spec.seed)


class _Progress:
    """Gathers what is done into a message a second."""

    def __init__(self) -> None:
        self._objects, self._rows, self._bytes = 0, 0, 0
        self._object_rows, self._object_bytes = 0, 0
        self._told = time.monotonic()

    def during(self, rows: int, position: int) -> Iterator[Advanced]:
        """So far in the current object."""
        self._rows += rows - self._object_rows
        self._bytes += max(0, position - self._object_bytes)
        self._object_rows, self._object_bytes = rows, max(position, self._object_bytes)
        if time.monotonic() - self._told >= ADVANCE_EVERY_S:
            yield self.take()

    def after(self, rows: int, size_bytes: int) -> Iterator[Advanced]:
        """The current object is over."""
        self._objects += 1
        yield from self.during(rows, size_bytes)
        self._object_rows, self._object_bytes = 0, 0

    def take(self) -> Advanced:
        """What no message told yet."""
        message = Advanced(objects=self._objects, rows=self._rows, size_bytes=self._bytes)
        self._objects, self._rows, self._bytes, self._told = 0, 0, 0, time.monotonic()
        return message


class _Account:
    """What became of the rows of one object."""

    def __init__(self) -> None:
        self.rows = Rows()
        self._first: Refused | None = None

    def add(self, rows: Rows) -> None:
        """The balance of one more chunk."""
        self.rows = self.rows + rows

    def first_refusal(self, refused: Refused) -> None:
        """Where the object is broken first, for the ledger."""
        self._first = self._first or refused

    def stays(self, found: Stays) -> None:
        """Rows of the quarantine that it keeps as they are."""
        count = found.rows.num_rows
        self.rows = self.rows + Rows(read=count, quarantined=count)
        reason = f"{count} rows stay in quarantine, they cannot be read again: {found.reason}"
        self._first = self._first or Refused(row=0, reason=reason)

    def outcome(self, planned: PlannedObject) -> ObjectOutcome:
        """The outcome of an object that was read to its end."""
        first = self._first
        return ObjectOutcome(
            planned=planned,
            outcome="partly_loaded" if self.rows.quarantined else "loaded",
            rows=self.rows,
            bytes_read=planned.info.size,
            code="malformed" if first else None,
            error=first.reason if first else None,
            line=first.line if first else None,
            column=first.column if first else None,
        )


def failed_outcome(planned: PlannedObject, *, max_tries: int, code: str, error: str) -> ObjectOutcome:
    """An object that could not be read; poison when it has been tried often enough."""
    outcome: Outcome = "poison" if planned.tries + 1 >= max_tries else "failed"
    return ObjectOutcome(planned=planned, outcome=outcome, code=code, error=error)
