"""A batch takes rows out of its table and puts its own in, in one commit.

Which rows go is a ``Selection``. The files that may hold one are found by the log's statistics, looked into and copied
without these rows by tasks; what was staged comes in with the same commit. When another writer was faster the commit
is planned anew, on what is there then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pyarrow as pa

from lakeray.delta.files import DataFile, data_files
from lakeray.delta.partitions import parsed_value
from lakeray.delta.rewrite import Rewrite, commit_rewrite, keeps_change_feed
from lakeray.delta.sieve import ChangesTask, Layout, Picker, Sieved, SieveTask
from lakeray.delta.staged import StagedFile, remove_staged
from lakeray.delta.table import TableHandle
from lakeray.delta.turn import Committed
from lakeray.errors import StoreUnavailable
from lakeray.failpoints import failpoint
from lakeray.importer.context import ImportContext
from lakeray.importer.executor import Died, Task
from lakeray.importer.identity import ImportId
from lakeray.importer.layout import table_options
from lakeray.importer.result import RESULT_KEY, Result, store_result

_TRIES = 3


class Selection(Protocol):
    """Which rows of a table go."""

    @property
    def operation(self) -> str:
        """What the table's history calls the commit."""
        ...

    @property
    def columns(self) -> Collection[str]:
        """Whose statistics ``may_hold`` looks at."""
        ...

    @property
    def picker(self) -> Picker | None:
        """Picks the rows in a file that may hold some; None when all rows of such a file go."""
        ...

    def may_hold(self, file: DataFile) -> bool:
        """Whether the log allows a row that goes in the file."""
        ...

    def told(self, result: Result, counts: dict[Any, int]) -> Result:
        """The result, with how many rows went of what."""
        ...


@dataclass(kw_only=True, slots=True)
class Exchange:
    """One batch's commit. ``result`` is what the batch did apart from the rows that go; ``schema`` has the types that
    its files were staged in, None when there are none.
    """

    context: ImportContext
    identity: ImportId
    result: Result
    selection: Selection
    schema: pa.Schema | None = None
    _attempts: int = 0
    _made: dict[str, Result] = field(default_factory=dict)
    _staged: list[StagedFile] = field(default_factory=list)

    def commit(self) -> tuple[Committed, Result | None]:
        """Commit or find committed; the result when this call's is the winner's.

        Raises what ``commit_rewrite`` raises; StoreUnavailable when workers die again and again.
        """
        result = self.result
        committed = commit_rewrite(
            self.context.table.uri,
            app_id=self.identity.app_id,
            number=result.batch,
            previous=result.batch - 1,
            plan=self._plan,
            operation=self.selection.operation,
            concerns=lambda files: any(map(self.selection.may_hold, files)),
            columns=list(self.selection.columns),
            schema=self.schema,
            metadata={"lakeray.batch": str(result.batch), "lakeray.run": result.run_id},
            failpoints=True,
        )
        # After an error what was staged stays: the commit may have happened, and vacuum knows whose it is.
        winner = self._made.get(committed.metadata.get(RESULT_KEY, ""))
        if winner is None:
            self._discard()
        return committed, winner

    def _plan(self, handle: TableHandle) -> Rewrite:
        """What this commit does to that version of the table; its result is stored, so that the commit can name it."""
        self._discard()
        self._attempts += 1
        failpoint("before_take_out")
        layout = self._layout(handle)
        files = [file for file in data_files(handle, self.selection.columns) if self.selection.may_hold(file)]
        sieved, whole = self._take_out(layout, files)
        removed = [item.file for item in sieved] + whole
        kept = [file for item in sieved for file in item.kept]
        changes = [file for item in sieved for file in item.changes]
        adds = [*self.result.files, *kept]
        if layout.change_feed and removed and adds:
            changes += self._changes(layout, self.result.files, whole)
        counts: dict[Any, int] = {}
        for item in sieved:
            for key, count in item.counts.items():
                counts[key] = counts.get(key, 0) + count
        gone = sum(counts.values()) + sum(file.rows or 0 for file in whole)
        result = self._store(self.selection.told(self.result, counts))
        failpoint("after_take_out")
        return Rewrite(
            adds=adds,
            removes=removed,
            changes=changes,
            metrics={
                "numRemovedFiles": len(removed),
                "numAddedFiles": len(adds),
                "numDeletedRows": gone,
                "numOutputRows": result.rows.written,
            },
            metadata={RESULT_KEY: result.name},
        )

    def _take_out(self, layout: Layout, files: Sequence[DataFile]) -> tuple[list[Sieved], list[DataFile]]:
        """Files that rows go from, and files that go as a whole without a look."""
        picker = self.selection.picker
        if picker is None:
            return [], list(files)
        tasks = [
            SieveTask(file=file, layout=layout, picker=picker, prefix=f"{self._prefix}-t{place:04d}-k")
            for place, file in enumerate(files)
        ]
        found: list[Sieved] = []
        for item in self._run(tasks):
            self._staged += [*item.kept, *item.changes]
            if item.rows:
                found.append(item)
        return found, []

    def _changes(self, layout: Layout, added: Sequence[StagedFile], whole: Sequence[DataFile]) -> list[StagedFile]:
        """Once a commit has change data files, readers take all of its changes from them alone."""
        work = [("insert", _as_data_file(file, layout.schema)) for file in added] + [("delete", file) for file in whole]
        tasks = [
            ChangesTask(file=file, layout=layout, kind=kind, prefix=f"{self._prefix}-t{place:04d}-c")
            for place, (kind, file) in enumerate(work)
        ]
        found = [file for files in self._run(tasks) for file in files]
        self._staged += found
        return found

    def _run(self, tasks: Sequence[Task]) -> Iterator[Any]:
        """The tasks' answers. What a dead worker had is run again: the fault is hardly a file's of the table."""
        for _ in range(_TRIES):
            dead: list[Task] = []
            for told in self.context.executor.run(tasks):
                self.context.check_cancelled()
                if isinstance(told.message, Died):
                    dead.append(tasks[told.index])
                    reason = told.message.reason
                elif told.message is not None:
                    yield told.message
            if not dead:
                return
            tasks = dead
        raise StoreUnavailable(
            f"workers that copied files of {self.context.table.uri} died {_TRIES} times: {reason}",
            uri=self.context.table.uri,
            hint="look at the Ray cluster's logs",
        )

    def _store(self, result: Result) -> Result:
        named = replace(result, attempt=f"{result.attempt}-p{self._attempts}")
        store_result(self.identity, named)
        self._made[named.name] = named
        return named

    def _layout(self, handle: TableHandle) -> Layout:
        memory_bytes = self.context.task_memory_bytes
        return Layout(
            uri=handle.uri,
            schema=handle.schema,
            partition_by=tuple(handle.partition_by),
            change_feed=keeps_change_feed(handle),
            options=table_options(self.context.table, handle.properties, memory_bytes=memory_bytes),
        )

    @property
    def _prefix(self) -> str:
        """Names by which a vacuum knows that the batch may still need the files."""
        return self.identity.file_prefix(self.result.batch, self.result.attempt) + f"-t{self._attempts:04d}-x"

    def _discard(self) -> None:
        """Delete what an earlier plan staged: no commit can name it any more."""
        remove_staged(self.context.table.uri, self._staged)
        self._staged = []


def _as_data_file(file: StagedFile, schema: pa.Schema) -> DataFile:
    values = {name: parsed_value(text, schema.field(name).type) for name, text in file.partition_values.items()}
    return DataFile(
        path=file.path,
        logged=file.path,
        size_bytes=file.size_bytes,
        rows=file.rows,
        partition_values=file.partition_values,
        partition=values,
    )
