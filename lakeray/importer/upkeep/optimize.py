"""Small files are put together, or rows brought into an order, beside imports, merges and vacuum.

Workers stage new files; commits of a few groups each exchange them for the old ones (``dataChange=false``). A group of
which another writer took a file in the meantime is given up, its new files deleted. Killed anywhere, this leaves files
that no commit names, which vacuum takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from lakeray.delta.arrange.bins import Bin, bins, by_partition, shares
from lakeray.delta.arrange.tasks import Arranged, CompactTask
from lakeray.delta.arrange.zorder import check_columns
from lakeray.delta.files import DataFile, check_no_deletion_vectors, data_files
from lakeray.delta.rewrite import Rewrite, commit_rearranged
from lakeray.delta.table import TableHandle, require_table
from lakeray.errors import ObjectError
from lakeray.failpoints import failpoint
from lakeray.importer.executor import Executor, InlineExecutor
from lakeray.importer.upkeep.sort import sorted_groups
from lakeray.importer.upkeep.work import Group, Optimized, Wish, Work
from lakeray.objects import join, open_store

GROUPS_A_COMMIT = 64
"""So much work at most is lost by a kill; far fewer commits than groups keep the log short."""
_TASK_BYTES = 2 * 2**30


def optimize(
    uri: str,
    wish: Wish | None = None,
    *,
    executor: Executor | None = None,
    check: Callable[[], None] = lambda: None,
) -> Optimized:
    """Do what ``wish`` says to the table at ``uri``; rows, transaction ids and change feed stay as they are.

    Raises UnsupportedTable where lakeray may not write, TableError for columns that cannot order rows, CommitConflict
    when other writers never left a gap, and what ``check`` raises; what is committed until then stays.
    """
    wish, executor = wish or Wish(), executor or InlineExecutor()
    handle = require_table(uri)
    handle.check_writable("append")
    check_no_deletion_vectors(handle)
    work = Work.on(handle, wish, executor, check)
    if wish.z_order:
        check_columns(uri, handle.schema, handle.partition_by, wish.z_order)
        groups = sorted_groups(work, data_files(handle))
    else:
        groups = _compacted(work, data_files(handle))
    exchange = _Exchange(work)
    for group in groups:
        exchange.take(group)
    exchange.commit()
    return exchange.done()


def _compacted(work: Work, files: list[DataFile]) -> Iterator[Group]:
    wanted = bins([file for group in by_partition(files) if work.wants(group) for file in group], work.target_bytes)
    if not wanted:
        return
    runs = shares([_cost(one) for one in wanted], work.executor.slots, at_most=_TASK_BYTES)
    tasks = [CompactTask(bins=tuple((place, wanted[place].files) for place in run), place=work.place) for run in runs]
    for _, told in work.answers(tasks):
        for found in told:
            yield _group(found, wanted)


def _cost(one: Bin) -> int:
    return one.size_bytes + len(one.files) * 2**18  # opening a file costs about as much as so many bytes


def _group(found: Arranged, wanted: list[Bin]) -> Group:
    return Group(removes=wanted[found.number].files, adds=found.adds)


class _Overtaken(Exception):
    """Nothing is left to commit."""


class _Exchange:
    """Gathers groups, commits them, counts."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._waiting: list[Group] = []
        self._counts = dict.fromkeys(
            ("files_removed", "files_added", "bytes_removed", "bytes_added", "commits", "given_up"), 0
        )

    def take(self, group: Group) -> None:
        """One more group, committed with the next ones."""
        self._waiting.append(group)
        if not self._work.wish.one_commit and len(self._waiting) >= GROUPS_A_COMMIT:
            self.commit()

    def commit(self) -> None:
        """Exchange the files of all groups that wait."""
        if not self._waiting:
            return
        failpoint("optimize_staged")
        kept: list[Group] = []

        def plan(handle: TableHandle) -> Rewrite:
            kept[:] = self._still_valid(handle)
            if not kept:
                raise _Overtaken
            removes = [file for group in kept for file in group.removes]
            adds = [file for group in kept for file in group.adds]
            metrics = {"numRemovedFiles": len(removes), "numAddedFiles": len(adds)}
            return Rewrite(adds=adds, removes=removes, data_change=False, metrics=metrics)

        parameters = {"targetSize": str(self._work.target_bytes), "predicate": "[]"}
        if self._work.wish.z_order:
            parameters["zOrderBy"] = str(list(self._work.wish.z_order))
        with suppress(_Overtaken):
            commit_rearranged(self._work.place.uri, plan=plan, parameters=parameters)
            failpoint("optimize_committed")
            self._counts["commits"] += 1
            self._count(kept)
        lost = [group for group in self._waiting if group not in kept]
        self._waiting = []
        self._counts["given_up"] += len(lost)
        self._delete(lost)

    def _still_valid(self, handle: TableHandle) -> list[Group]:
        """Groups whose files are all live in this version; what was written for another definition is not."""
        place = self._work.place
        fields = {item.name: item.type for item in handle.schema}
        same = all(fields.get(item.name) == item.type for item in place.schema)
        if not same or tuple(handle.partition_by) != place.partition_by:
            return []
        live = {file.logged for file in data_files(handle)}
        return [group for group in self._waiting if all(file.logged in live for file in group.removes)]

    def _count(self, groups: list[Group]) -> None:
        for group in groups:
            self._counts["files_removed"] += len(group.removes)
            self._counts["files_added"] += len(group.adds)
            self._counts["bytes_removed"] += sum(file.size_bytes for file in group.removes)
            self._counts["bytes_added"] += sum(file.size_bytes for file in group.adds)

    def _delete(self, groups: list[Group]) -> None:
        store = open_store(self._work.place.uri)
        for group in groups:
            for file in group.adds:
                with suppress(ObjectError, OSError):
                    store.delete(join(self._work.place.uri, file.path))

    def done(self) -> Optimized:
        """All counts."""
        return Optimized(**self._counts, version=require_table(self._work.place.uri).version)
