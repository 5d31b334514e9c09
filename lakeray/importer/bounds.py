"""The bounds of a batch's outlier rules, found in a pass over its objects before any of them is written.

The same objects give the same bounds, however they are shared out among tasks. What cannot be read has no part in
them: the tasks that write find that out again, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from lakeray.errors import AccessDenied, ObjectChanged, ObjectNotFound, ReadError
from lakeray.importer.context import ImportContext
from lakeray.importer.discovery.source import path_columns, read_options
from lakeray.importer.executor import Died
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.packing import pack
from lakeray.importer.preparation import Preparation
from lakeray.importer.readers import read
from lakeray.importer.schema.source import add_path_columns, wire_schema
from lakeray.objects import SourcePattern, open_store
from lakeray.spec.cleansing import Outlier
from lakeray.spec.sources import Source
from lakeray.spec.steps import Step
from lakeray.transform.cleanse.outliers import Bounds
from lakeray.transform.cleanse.sketch import Sketch
from lakeray.transform.coerce import Coercer

BatchBounds = dict[tuple[str, str], Bounds]
"""By column and rule."""
_CHUNK_SHARE = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundsTask:
    """Reads some objects and counts the numbers of ``columns`` as their other rules leave them; picklable."""

    objects: tuple[PlannedObject, ...]
    source: Source
    step: Step
    source_schema: pa.Schema
    columns: tuple[str, ...]
    memory_bytes: int

    def run(self) -> Iterator[dict[str, Sketch]]:
        """One message: a sketch a column."""
        found = {name: Sketch() for name in self.columns}
        for planned in self.objects:
            try:
                seen = self._object(planned)
            except (AccessDenied, ReadError, ObjectChanged, ObjectNotFound):
                continue
            for name, sketch in seen.items():
                found[name].merge(sketch)
        yield found

    def _object(self, planned: PlannedObject) -> dict[str, Sketch]:
        info = planned.info
        found = {name: Sketch() for name in self.columns}
        path = path_columns(self.source, SourcePattern.parse(self.source.uri), info.uri)
        wire = wire_schema(self.source, self.source_schema)
        if wire is not None:
            wire = pa.schema([item for item in wire if item.name not in path])
        options = read_options(self.source, wire_schema=wire, chunk_bytes=self.memory_bytes // _CHUNK_SHARE)
        coercer = Coercer(self.source_schema, evolution=self.source.evolution)
        preparation = Preparation(self.step, self.source)
        with open_store(info.uri).open(info.uri, match=info) as file:
            for chunk in read(file, options, name=info.uri):
                table = coercer.run(add_path_columns(chunk.table, path), chunk.extras).table
                done = preparation.run(table, chunk.rows).table
                for name, sketch in found.items():
                    sketch.add(done[name])
        return found


@dataclass(kw_only=True)
class _Search:
    context: ImportContext
    schema: pa.Schema
    columns: tuple[str, ...]
    found: dict[str, Sketch] = field(default_factory=dict)

    def through(self, objects: list[PlannedObject]) -> None:
        tasks = [self._task(group) for group in pack(objects, slots=self.context.executor.slots)]
        while tasks:
            again: list[BoundsTask] = []
            for told in self.context.executor.run(tasks):
                self.context.check_cancelled()
                task = tasks[told.index]
                if isinstance(told.message, Died) and len(task.objects) > 1:
                    again.extend(self._task([planned]) for planned in task.objects)
                elif isinstance(told.message, dict):
                    for name, sketch in told.message.items():
                        self.found.setdefault(name, Sketch()).merge(sketch)
            tasks = again

    def _task(self, objects: Sequence[PlannedObject]) -> BoundsTask:
        return BoundsTask(
            objects=tuple(objects),
            source=self.context.source,
            step=self.context.step,
            source_schema=self.schema,
            columns=self.columns,
            memory_bytes=self.context.task_memory_bytes,
        )


def batch_bounds(context: ImportContext, objects: list[PlannedObject], schema: pa.Schema) -> BatchBounds:
    """The bounds of every rule of the step that asks for the batch's own; nothing is read when none does."""
    rules = Preparation(context.step, context.source).batch_rules()
    if not rules:
        return {}
    search = _Search(context=context, schema=schema, columns=tuple(sorted({column for column, _ in rules})))
    search.through(objects)
    return {key: bounds_of(rule, search.found.get(key[0], Sketch())) for key, rule in rules.items()}


def bounds_of(rule: Outlier, sketch: Sketch) -> Bounds:
    """The bounds that ``rule`` finds in the numbers of a batch."""
    if rule.quantiles is not None:
        return sketch.quantile(rule.quantiles[0]), sketch.quantile(rule.quantiles[1])
    found = sketch.deviation()
    if found is None or found[1] == 0 or rule.mad is None:
        return None, None  # half of the numbers are one number: that says nothing about how far others may lie
    median, away = found
    return median - rule.mad * away, median + rule.mad * away
