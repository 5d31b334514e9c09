"""Rows of one task on their way to files, so that an object's rows come all or not at all.

An object's rows wait in memory until the object is read to its end; then they join the task's shared file. An object
that outgrows the buffer gets files of its own, which are discarded when it turns out to be corrupt. Memory is bounded
by the buffer and one row group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pyarrow as pa

from lakeray.delta.staged import StagedFile
from lakeray.delta.writer import StagedWriter

WriterFactory = Callable[[pa.Schema, str], StagedWriter]
"""Makes a writer for files of that schema whose names carry that suffix."""


@dataclass(slots=True)
class RollingWriter:
    """A sequence of staged files; a new one begins where the schema changes."""

    make: WriterFactory
    suffix: str
    files: list[StagedFile] = field(default_factory=list)
    _writer: StagedWriter | None = None
    _schema: pa.Schema | None = None
    _count: int = 0
    _finished: list[StagedWriter] = field(default_factory=list)

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if self._writer is None or not table.schema.equals(self._schema):
            self._finish()
            self._writer = self.make(table.schema, f"{self.suffix}{self._count}")
            self._schema = table.schema
            self._count += 1
        self._writer.write(table)

    def close(self) -> list[StagedFile]:
        """End the last file; all files so far."""
        self._finish()
        return self.files

    def discard(self) -> None:
        """Remove what was written, as far as it can be; what stays is an orphan that no commit names."""
        for writer in (*self._finished, *([self._writer] if self._writer is not None else [])):
            writer.discard()
        self._writer, self._finished, self.files = None, [], []

    def _finish(self) -> None:
        if self._writer is not None:
            self.files.extend(self._writer.close())
            self._finished.append(self._writer)
            self._writer = None


@dataclass(slots=True)
class Stage:
    """The files of one task. Call ``begin`` before an object, then ``add`` for its rows, then ``keep`` or ``drop``."""

    make: WriterFactory
    buffer_bytes: int
    _shared: RollingWriter = field(init=False)
    _own: RollingWriter | None = None
    _held: list[pa.Table] = field(default_factory=list)
    _held_bytes: int = 0
    _object: int = 0
    _kept: list[RollingWriter] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._shared = RollingWriter(self.make, "s")

    def begin(self) -> None:
        """A new object."""
        self._object += 1
        self._held, self._held_bytes, self._own = [], 0, None

    def add(self, table: pa.Table) -> None:
        """Rows of the current object."""
        if table.num_rows == 0:
            return
        if self._own is not None:
            self._own.write(table)
            return
        self._held.append(table)
        self._held_bytes += table.nbytes
        if self._held_bytes > self.buffer_bytes:
            self._own = RollingWriter(self.make, f"o{self._object}-")
            for held in self._held:
                self._own.write(held)
            self._held = []

    def keep(self) -> None:
        """The current object was read to its end: its rows count."""
        if self._own is not None:
            self._own.close()
            self._kept.append(self._own)
            self._own = None
        for held in self._held:
            self._shared.write(held)
        self._held = []

    def drop(self) -> None:
        """The current object is bad: none of its rows counts."""
        if self._own is not None:
            self._own.discard()
            self._own = None
        self._held = []

    def close(self) -> list[StagedFile]:
        """End all files; what a commit may name."""
        return [file for writer in (*self._kept, self._shared) for file in writer.close()]

    def discard(self) -> None:
        """Remove everything: no commit will name any of it."""
        self.drop()
        for writer in (*self._kept, self._shared):
            writer.discard()
        self._kept = []
