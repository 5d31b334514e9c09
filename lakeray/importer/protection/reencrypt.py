"""A table's values come under the newest data key, in commits that may be cut off anywhere and made again.

A file's statistics say under which key its values are, because a ciphertext begins with its key's name; so nobody has
to remember how far a rotation got. Readers see each value once at any time: a commit puts a file with the same rows in
the place of each file that it removes. Values that a running import writes under an older key meanwhile stay readable,
and are found by the next call.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.delta.files import Bounds, DataFile, data_files
from lakeray.delta.rewrite import Rewrite, commit_rewrite
from lakeray.delta.scan import Scan
from lakeray.delta.staged import StagedFile
from lakeray.delta.table import TableHandle, open_table
from lakeray.delta.writer import StagedWriter
from lakeray.errors import StoreUnavailable
from lakeray.failpoints import failpoint
from lakeray.importer.executor import Died, Executor, Task
from lakeray.importer.layout import table_options
from lakeray.objects import join, open_store
from lakeray.security.field_keys import Ring
from lakeray.spec.tables import Table

_ROWS = 16_384
_GROUP_BYTES = 2**30


@dataclass(frozen=True, kw_only=True)
class Reencryption:
    """Brings what ``rings`` encrypted in a table to their active keys.

    ``columns`` hold ciphertexts, ``texts`` may hold some within JSON. ``table`` says how data files look. The rings'
    secrets go to workers in their memory.
    """

    uri: str
    columns: tuple[str, ...]
    texts: tuple[str, ...]
    rings: tuple[Ring, ...] = field(repr=False)
    table: Table
    executor: Executor
    memory_bytes: int

    def run(self) -> int:
        """How many files were written anew. Raises CommitConflict, StoreUnavailable; then the same call goes on."""
        handle = open_table(self.uri)
        if handle is None:
            return 0
        handle.check_writable("rewrite")
        written, left = 0, self._stale(handle)
        while left:
            group = _first(left)
            written += self._renew({file.path for file in group})
            left = left[len(group) :]
        return written

    def _stale(self, handle: TableHandle) -> list[DataFile]:
        """The live files with a value under an older key."""
        files = [file for file in data_files(handle, self._suspects(handle)) if self._may_be_stale(handle, file)]
        tasks = [self._look(handle, file) for file in files]
        return [file for file, stale in zip(files, self._answers(tasks), strict=True) if stale]

    def _suspects(self, handle: TableHandle) -> list[str]:
        """Columns of the table, as it spells them, that may hold ciphertexts."""
        named = {name.casefold() for name in (*self.columns, *self.texts)}
        return [item.name for item in handle.schema if item.name.casefold() in named and pt.is_string(item.type)]

    def _may_be_stale(self, handle: TableHandle, file: DataFile) -> bool:
        prefixes = tuple(ring.active.prefix for ring in self.rings)
        encrypted = {name.casefold() for name in self.columns}
        for name in self._suspects(handle):
            bounds = file.bounds.get(name, Bounds())
            empty = file.rows is not None and bounds.nulls == file.rows
            known = name.casefold() in encrypted and any(_begins(bounds, prefix) for prefix in prefixes)
            if not empty and not known:
                return True
        return False

    def _renew(self, paths: set[str]) -> int:
        """Put files under the newest keys in the places of ``paths``, as far as those are still live."""
        staged: list[StagedFile] = []

        def plan(handle: TableHandle) -> Rewrite:
            self._remove(staged)
            removes = [file for file in data_files(handle) if file.path in paths]
            answers = self._answers([self._rewrite(handle, file) for file in removes])
            staged[:] = [file for answer in answers for file in answer]
            failpoint("key_renewed")
            return Rewrite(adds=tuple(staged), removes=removes, data_change=False)

        handle = open_table(self.uri)
        assert handle is not None
        app_id = f"lakeray/keys/{handle.id}"
        done = commit_rewrite(
            self.uri,
            app_id=app_id,
            number=(handle.transaction_version(app_id) or 0) + 1,
            previous=None,
            plan=plan,
            operation="UPDATE",
            parameters={"reason": "data keys were rotated"},
            dense=False,
            failpoints=True,
        )
        if not done.won:  # another rotation was faster with this number: look again
            self._remove(staged)
            return self._renew(paths)
        failpoint("key_committed")
        return len(staged)

    def _remove(self, staged: list[StagedFile]) -> None:
        store = open_store(self.uri)
        for file in staged:
            store.delete(join(self.uri, file.path))
        staged.clear()

    def _look(self, handle: TableHandle, file: DataFile) -> RenewTask:
        return self._task(handle, file, prefix=None)

    def _rewrite(self, handle: TableHandle, file: DataFile) -> RenewTask:
        return self._task(handle, file, prefix=f"part-keys-{secrets.token_hex(8)}")

    def _task(self, handle: TableHandle, file: DataFile, *, prefix: str | None) -> RenewTask:
        return RenewTask(
            uri=self.uri,
            path=file.path,
            partition=file.partition,
            schema=handle.schema,
            partition_by=tuple(handle.partition_by),
            properties=dict(handle.properties),
            suspects=tuple(self._suspects(handle)),
            rings=tuple(ring.to_bytes() for ring in self.rings),
            prefix=prefix,
            table=self.table,
            memory_bytes=self.memory_bytes,
        )

    def _answers(self, tasks: Sequence[Task]) -> list[Any]:
        answers: list[Any] = [None] * len(tasks)
        for told in self.executor.run(tasks) if tasks else ():
            if isinstance(told.message, Died):
                raise StoreUnavailable(
                    f"a worker that encrypted values of {self.uri} anew died: {told.message.reason}",
                    uri=self.uri,
                    hint="run `lakeray keys reencrypt`: it goes on where this one stopped",
                )
            answers[told.index] = told.message
        return answers


def _begins(bounds: Bounds, prefix: str) -> bool:
    """Whether all values begin with ``prefix``: exactly then both ends do; statistics cut texts off behind it."""
    return all(isinstance(end, str) and end.startswith(prefix) for end in (bounds.low, bounds.high))


def _first(files: Sequence[DataFile]) -> Sequence[DataFile]:
    """As many files as one commit takes."""
    total = 0
    for count, file in enumerate(files):
        total += file.size_bytes
        if total > _GROUP_BYTES and count:
            return files[:count]
    return files


@dataclass(frozen=True, kw_only=True, slots=True)
class RenewTask:
    """One data file: without a ``prefix`` whether it holds a value under an older key, with one the file anew."""

    uri: str
    path: str
    partition: dict[str, Any]
    schema: pa.Schema
    partition_by: tuple[str, ...]
    properties: dict[str, str]
    suspects: tuple[str, ...]
    rings: tuple[bytes, ...] = field(repr=False)
    prefix: str | None
    table: Table
    memory_bytes: int

    def run(self) -> Iterator[bool | list[StagedFile]]:
        """One answer."""
        rings = [Ring.from_bytes(data) for data in self.rings]
        with Scan(self.uri, self.path, schema=self.schema, partition=self.partition) as scan:
            yield self._is_stale(scan, rings) if self.prefix is None else self._renewed(scan, rings, self.prefix)

    def _is_stale(self, scan: Scan, rings: Sequence[Ring]) -> bool:
        tables = scan.tables(range(scan.row_groups), columns=list(self.suspects), rows=_ROWS)
        return any(_holds_old(column, rings) for table in tables for column in table.columns)

    def _renewed(self, scan: Scan, rings: Sequence[Ring], prefix: str) -> list[StagedFile]:
        writer = StagedWriter(
            self.uri,
            schema=self.schema,
            partition_by=list(self.partition_by),
            prefix=prefix,
            options=table_options(self.table, self.properties, memory_bytes=self.memory_bytes),
        )
        try:
            for table in scan.tables(range(scan.row_groups), rows=_ROWS):
                for name in self.suspects:
                    place = table.schema.get_field_index(name)
                    renewed = _renew(table.column(place), rings)
                    table = table.set_column(place, table.schema.field(place), renewed)  # noqa: PLW2901
                writer.write(table)
            return writer.close()
        except BaseException:
            writer.discard()
            raise


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _holds_old(column: pa.ChunkedArray, rings: Sequence[Ring]) -> bool:
    """Whether a text holds a ciphertext under a key that a ring has and does not encrypt with any more."""
    values = _whole(column)
    if not pc.any(pc.match_substring(values, "lrenc1:")).as_py():
        return False
    return any(ring.is_old(text) for text in values.drop_null().to_pylist() for ring in rings)


def _renew(column: pa.ChunkedArray, rings: Sequence[Ring]) -> pa.Array:
    """The texts with every ciphertext of an older key encrypted anew."""
    values = _whole(column)
    if not pc.any(pc.match_substring(values, "lrenc1:")).as_py():
        return values
    texts = values.to_pylist()
    for ring in rings:
        texts = [None if text is None else ring.renewed(text) for text in texts]
    return pa.array(texts, pa.string())
