"""A task's rows for child tables, on their way to files with the rows that they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from lakeray.delta.staged import StagedFile, remove_staged
from lakeray.delta.writer import StagedWriter
from lakeray.errors import AuditError
from lakeray.importer.layout import table_options
from lakeray.importer.stage import Stage
from lakeray.spec.tables import Table
from lakeray.spec.unnest import Unnest
from lakeray.transform.unnest import child_rows, count_elements

_BUFFER_SHARE = 8
"""Of the memory of a task's own table, too, the object buffer has this fraction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Into:
    """A child table as a task needs it; picklable. ``table`` is what the workflow file says of it, ``partition_by`` and
    ``properties`` are the table's own.
    """

    name: str
    unnest: Unnest
    table: Table
    partition_by: tuple[str, ...]
    properties: Mapping[str, str]


class ChildStages:
    """The child tables' files of one task; an object's rows are there with the object's or not at all.

    Call ``begin`` before an object, ``take`` for its rows, then ``keep`` or ``drop``. ``counts`` has the rows of the
    current object by child. They share out among them the memory of one table.
    """

    def __init__(self, children: Sequence[Into], *, prefix: str, memory_bytes: int) -> None:
        self._children = children
        self._prefix = prefix
        self._memory_bytes = memory_bytes // max(1, len(children))
        buffer_bytes = self._memory_bytes // _BUFFER_SHARE
        self._stages = {child.name: Stage(partial(self._writer, child), buffer_bytes) for child in children}
        self.counts: dict[str, int] = {}

    def begin(self) -> None:
        """A new object."""
        self.counts = {}
        for stage in self._stages.values():
            stage.begin()

    def take(self, table: pa.Table) -> pa.Table:
        """Stage the children's rows of ``table``; returns what its own table gets."""
        for child in self._children:
            before = self.counts.get(child.name, 0)
            rows = before
            for part in child_rows(table, child.unnest, name=child.name):
                self._stages[child.name].add(part)
                rows += part.num_rows
            if rows - before != count_elements(table, child.unnest):
                raise AuditError(f"lists hold other than {rows - before} rows for {child.name}", uri=child.table.uri)
            if rows:
                self.counts[child.name] = rows
        return table.drop_columns([name for name in left_out(self._children) if name in table.column_names])

    def keep(self) -> None:
        """The current object was read to its end."""
        for stage in self._stages.values():
            stage.keep()

    def drop(self) -> None:
        """The current object is bad."""
        self.counts = {}
        for stage in self._stages.values():
            stage.drop()

    def close(self) -> dict[str, list[StagedFile]]:
        """End all files; by child what a commit may name."""
        return {name: stage.close() for name, stage in self._stages.items()}

    def discard(self) -> None:
        """Remove everything."""
        for stage in self._stages.values():
            stage.discard()

    def _writer(self, child: Into, schema: pa.Schema, suffix: str) -> StagedWriter:
        return StagedWriter(
            child.table.uri,
            schema=schema,
            partition_by=list(child.partition_by),
            prefix=f"{self._prefix}-{suffix}",
            options=table_options(child.table, child.properties, memory_bytes=self._memory_bytes),
        )


def left_out(children: Sequence[Into]) -> list[str]:
    """The lists that their own table does not keep: those that a child takes and none keeps."""
    kept = {child.unnest.from_ for child in children if child.unnest.keep}
    return sorted({child.unnest.from_ for child in children} - kept)


def remove_children(children: Sequence[Into], files: Mapping[str, Sequence[StagedFile]]) -> None:
    """Delete what no commit will name."""
    for child in children:
        remove_staged(child.table.uri, files.get(child.name, ()))
