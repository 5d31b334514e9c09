"""What is known of a source's schema against what its objects hold now; changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from pydantic import Field

from lakeray.importer.discovery.source import open_listing
from lakeray.importer.executor import Executor
from lakeray.importer.identity import ImportId
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.recording.recovery import last_result
from lakeray.importer.recording.summary import Summary
from lakeray.importer.schema.drift import Change
from lakeray.importer.schema.log import versions
from lakeray.importer.schema.source import (
    Sampled,
    SampleTask,
    first_schema,
    schema_from_names,
    schema_names,
    with_hints,
)
from lakeray.objects import ObjectInfo
from lakeray.spec.sources import Source
from lakeray.spec.types import type_name
from lakeray.transform.growth import changed_paths, new_paths
from lakeray.transform.infer import merge_types

_PER_TASK = 16


class SchemaVersionSummary(Summary):
    """One entry of the schema log; ``changes`` as ``drift.Change`` stores them."""

    version: int
    batch: int
    created_at: str
    changes: list[dict[str, str]]


class SchemaDiff(Summary):
    """``known`` is what the last batch knew, under today's hints (the hints alone before the first batch); ``found``
    what the objects that were ``looked_at`` hold; ``changes`` how it differs, each with the first object that shows
    it; ``unread`` counts objects without a record that can be read; ``history`` is the schema log.
    """

    known: dict[str, str]
    found: dict[str, str]
    looked_at: int
    unread: int
    complete: bool
    changes: list[dict[str, str]]
    history: list[SchemaVersionSummary] = Field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanTask:
    """Finds the schema of whole objects, in a worker, in the memory of a chunk."""

    objects: tuple[PlannedObject, ...]
    source: Source

    def run(self) -> Iterator[list[Sampled]]:
        """One message: for each object a table without rows, in the types that hold all its values."""
        sample = SampleTask(objects=(), source=self.source)
        found = []
        for planned in self.objects:
            schema, last = pa.schema([]), Sampled(uri=planned.info.uri, table=None)
            for last in sample.chunks(planned, rows=None):
                if last.table is not None:
                    schema = _both(schema, _schema_of(self.source, last))
            found.append(Sampled(uri=last.uri, table=schema.empty_table() if len(schema) else None, error=last.error))
        yield found


def schema_diff(
    source: Source,
    *,
    identity: ImportId | None,
    sample: list[Sampled],
    executor: Executor,
    now: Callable[[], datetime],
    everything: bool,
) -> SchemaDiff:
    """Compare what is known with the ``sample``, or with ``everything`` that is listed."""
    samples = _scan(source, executor, now) if everything else sample
    result = last_result(identity) if identity else None
    known = schema_from_names(result.source_schema) if result else pa.schema([])
    known = with_hints(known, source)
    found = pa.schema([])
    first: dict[str, str] = {}
    read = 0
    for one in samples:
        if one.table is None:
            continue
        read += 1
        schema = one.table.schema if everything else _schema_of(source, one)
        for path in _differing(known, schema):
            first.setdefault(path, one.uri)
        found = _both(found, schema)
    return SchemaDiff(
        known=schema_names(known),
        found=schema_names(found),
        looked_at=len(samples),
        unread=len(samples) - read,
        complete=everything,
        changes=[change.to_json() for change in _changes(known, found, first)],
        history=[
            SchemaVersionSummary(
                version=item.version,
                batch=item.batch,
                created_at=item.created_at,
                changes=[change.to_json() for change in item.changes],
            )
            for item in (versions(identity) if identity else ())
        ],
    )


def _scan(source: Source, executor: Executor, now: Callable[[], datetime]) -> list[Sampled]:
    objects = [
        PlannedObject(info=ObjectInfo(**row))
        for page in open_listing(source, now=now).pages()
        for row in page.to_pylist()
    ]
    tasks = [
        ScanTask(objects=tuple(objects[start : start + _PER_TASK]), source=source)
        for start in range(0, len(objects), _PER_TASK)
    ]
    told = [message.message for message in executor.run(tasks)]
    found = [one for message in told if isinstance(message, list) for one in message]
    return sorted(found, key=lambda one: one.uri)


def _schema_of(source: Source, sampled: Sampled) -> pa.Schema:
    """The columns of a sample that hold a value, by what they hold."""
    table = sampled.table
    assert table is not None
    held = [name for name in table.column_names if table[name].null_count < table.num_rows]
    as_found = source.model_copy(update={"schema_hints": {}, "declared_schema": None})
    return first_schema(as_found, [Sampled(uri=sampled.uri, table=table.select(held))])


def _both(one: pa.Schema, other: pa.Schema) -> pa.Schema:
    """The columns of both in types that hold the values of both."""
    types = {item.name: item.type for item in one}
    for item in other:
        known = types.get(item.name)
        types[item.name] = item.type if known is None else (merge_types(known, item.type) or pa.string())
    return pa.schema(list(types.items()))


def _differing(known: pa.Schema, found: pa.Schema) -> Iterator[str]:
    for change in _changes(known, found, {}):
        if change.kind != "absent":
            yield change.path


def _changes(known: pa.Schema, found: pa.Schema, first: dict[str, str]) -> Iterator[Change]:
    for item in found:
        place = known.get_field_index(item.name)
        before = None if place < 0 else known.field(place).type
        for path, kind in new_paths(before, item.type, item.name):
            yield Change(kind="added", path=path, after=type_name(kind), object=first.get(path))
        for path, old, new in changed_paths(before, item.type, item.name) if before is not None else ():
            if not pa.types.is_string(old) and merge_types(old, new) != old:
                yield Change(
                    kind="conflict", path=path, before=type_name(old), after=type_name(new), object=first.get(path)
                )
    for item in known:
        if item.name not in found.names:
            yield Change(kind="absent", path=item.name, before=type_name(item.type))
