"""Upkeep as part of a run: a step of its own, or what a table asks for after an import."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime

from lakeray.delta.arrange.bins import by_partition, small_files
from lakeray.delta.files import data_files
from lakeray.delta.table import open_table, require_table
from lakeray.errors import Cancelled, LakerayError
from lakeray.importer.recording.summary import BatchSummary, ImportSummary
from lakeray.observability.figures import counted, size
from lakeray.runtime.summary import MaintainSummary
from lakeray.runtime.upkeep import TableOf
from lakeray.spec.steps import Maintain
from lakeray.spec.upkeep import Optimize

_LOG_LOOKED_AT_EVERY = 100
"""Versions between two looks at which entries of the log can go, as between two checkpoints."""


def maintain(wish: Maintain, table: TableOf, *, check: Callable[[], None]) -> MaintainSummary:
    """Do what a step of kind ``maintain`` says, in the order in which one thing makes the next worth while.

    A table that is not there yet needs nothing. Raises what stops it; what was done until then stays.
    """
    if open_table(table.uri) is None:
        return MaintainSummary(table=wish.table, table_uri=table.uri, done=["there is no table yet: nothing to do"])
    done: list[str] = []
    if wish.optimize:
        done.append(_optimized(table.optimize(z_order=wish.z_order, check=check)))
    if wish.vacuum is not None:
        check()
        stale = table.stale_files(-(-int(wish.vacuum) // 3600), dry_run=False)
        done.append(f"vacuum: {counted(len(stale), 'file')}, {size(sum(file.size_bytes for file in stale))} deleted")
    if wish.checkpoint or wish.clean_log:
        check()
        told = table.checkpoint(clean_log=wish.clean_log)
        done.append(f"checkpoint: version {told['version']}")
        if wish.clean_log:
            held = f" (older ones are kept for {told['held_back_by']})" if told["held_back_by"] else ""
            done.append(f"log: {counted(told['deleted'], 'old entry', 'old entries')} deleted{held}")
    version = require_table(table.uri).version
    return MaintainSummary(table=wish.table, table_uri=table.uri, done=done, table_version=version)


def _optimized(told: dict[str, int]) -> str:
    if not told["files_removed"]:
        return "optimize: nothing to put together"
    text = f"optimize: {counted(told['files_removed'], 'file')} became {told['files_added']}"
    text += f" ({size(told['bytes_removed'])} became {size(told['bytes_added'])})"
    lost = told["given_up"]
    return text + (f"; {counted(lost, 'group')} left as another writer changed it" if lost else "")


class AfterImport:
    """What a table asks for once batches were imported into it. Never raises but Cancelled: the rows are in."""

    def __init__(self, table: TableOf, *, now: Callable[[], datetime], check: Callable[[], None]) -> None:
        self._table = table
        self._now = now
        self._check = check
        self._last = 0

    def look(self, imported: ImportSummary) -> list[str]:
        """Notes on what was done, or why it could not be done; nothing where no batch came since the last look."""
        fresh = [batch for batch in imported.batches if batch.number > self._last]
        if not fresh:
            return []
        self._last = fresh[-1].number
        notes: list[str] = []
        for work in (self._optimize, lambda: self._clean_log(fresh)):
            try:
                notes += work()
            except Cancelled:
                raise
            except LakerayError as error:
                notes.append(f"upkeep after the import was not done: {error.message}")
            except Exception as error:  # noqa: BLE001 - a defect of upkeep may not make an import fail
                notes.append(f"upkeep after the import was not done: unexpected {type(error).__name__}: {error}")
        return notes

    def _optimize(self) -> list[str]:
        rule = self._table.table.optimize if self._table.table else None
        if rule is None or not self._due(rule):
            return []
        started = time.monotonic()
        told = self._table.optimize(
            rule.target, z_order=rule.z_order, least_files=rule.when.small_files, check=self._check
        )
        return [f"automatic {_optimized(told)} in {time.monotonic() - started:.1f} s"] if told["files_removed"] else []

    def _due(self, rule: Optimize) -> bool:
        assert self._table.table is not None
        target = rule.target or self._table.table.target_file_size
        partitions = by_partition(small_files(data_files(require_table(self._table.uri)), target))
        return any(len(files) >= rule.when.small_files for files in partitions)

    def _clean_log(self, fresh: Sequence[BatchSummary]) -> list[str]:
        first, last = fresh[0].table_version - 1, fresh[-1].table_version
        if first // _LOG_LOOKED_AT_EVERY == last // _LOG_LOOKED_AT_EVERY:
            return []
        deleted = self._table.clean_log(now=self._now())
        return [f"{counted(deleted, 'old entry', 'old entries')} of the table's log deleted"] if deleted else []
