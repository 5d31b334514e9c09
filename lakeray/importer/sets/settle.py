"""What a batch's rows decide together, on staged files, before anyone can see them.

Duplicates go first, then the rows that a set expectation with ``on_violation: quarantine`` names; the other set
expectations look at what would be committed. Files that lose rows are written anew under names of their own. All of it
can be repeated: nothing but the result names the files that count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa

from lakeray.delta.parquet import WriteOptions
from lakeray.delta.staged import StagedFile
from lakeray.delta.statistics import Indexed
from lakeray.delta.table import TableHandle
from lakeray.errors import StoreUnavailable, TransformError
from lakeray.failpoints import failpoint
from lakeray.importer.context import ImportContext
from lakeray.importer.executor import Died, Task
from lakeray.importer.manifest import Manifest
from lakeray.importer.merge.scratch import remove
from lakeray.importer.provenance.take_out import going
from lakeray.importer.quarantine import table as quarantine
from lakeray.importer.recording.summary import Rows
from lakeray.importer.result import ObjectOutcome
from lakeray.importer.sets.duplicates import DuplicateTask, more_columns
from lakeray.importer.sets.keys import TableAt, row_bytes, shares
from lakeray.importer.sets.spread import Spread, SpreadTask, TableSpreadTask, all_bounds
from lakeray.importer.sets.staged_rows import Marked, StagedRows, count_marked, joined
from lakeray.importer.sets.strike import Refusal, StrikeTask, Struck
from lakeray.objects import join, open_store
from lakeray.spec.sets import Deduplicate, Latest, Window
from lakeray.spec.steps import Step

ROW_GROUP_SHARE = 8
SPREAD_SHARE = 8
MOST_READINGS = 2
"""So often all keys may be read for the sake of one rule; where it would be more they are divided first."""


def is_settled(step: Step) -> bool:
    """Whether the step has rules over sets, so that staged rows must know where they came from."""
    return step.deduplicate is not None or bool(step.expect_set)


class Settling:
    """The staged files of one attempt while rows are taken out of them; ``files``, ``quarantine_files`` and
    ``outcomes`` are what counts so far.
    """

    def __init__(
        self,
        context: ImportContext,
        manifest: Manifest,
        handle: TableHandle,
        *,
        files: Sequence[StagedFile],
        outcomes: Sequence[ObjectOutcome],
        schema: pa.Schema,
        prefix: str,
    ) -> None:
        self.context = context
        self.manifest = manifest
        self.handle = handle
        self.schema = schema
        self.files = list(files)
        self.quarantine_files: list[StagedFile] = []
        self.outcomes = list(outcomes)
        self._prefix = prefix
        self._counter = 0
        self._made: list[StagedFile] = []
        self._keys: list[str] = []

    @property
    def staged(self) -> StagedRows:
        """The rows that would be committed now."""
        return StagedRows(root=self.context.table.uri, files=tuple(self.files), schema=self.schema)

    @property
    def rows(self) -> Rows:
        """The batch's balance so far."""
        return Rows.total(outcome.rows for outcome in self.outcomes)

    @property
    def table(self) -> TableAt | None:
        """The table's own rows, as far as they stay beside the batch's."""
        if self.context.mode == "overwrite":
            return None
        leaving = going(self.outcomes, self.context.identity(self.handle)) if self.manifest.going else None
        return TableAt(uri=self.handle.uri, version=self.handle.version, going=leaving)

    def run(self, tasks: Sequence[Task]) -> list[Any]:
        """What the tasks answer, in their order. Raises StoreUnavailable when a worker dies."""
        answers: dict[int, Any] = {}
        for told in self.context.executor.run(tasks):
            self.context.check_cancelled()
            if isinstance(told.message, Died):
                raise StoreUnavailable(
                    f"a worker that compared rows of batch {self.manifest.batch} died: {told.message.reason}",
                    uri=self.context.table.uri,
                    hint="nothing was committed; run again, with a smaller LAKERAY_TASK_MEMORY if it was out of memory",
                )
            answers[told.index] = told.message
        return [answers[index] for index in range(len(tasks))]

    def check_columns(self, rule: str, columns: Sequence[str]) -> None:
        """Raise TransformError for a column that is not written."""
        for name in columns:
            if self.schema.get_field_index(name) < 0:
                raise TransformError(
                    f"{rule}: there is no column {name!r} among those that are written",
                    hint=f"columns: {', '.join(self.schema.names)}",
                )

    def duplicates(self, rule: str, key: Sequence[str], *, table: TableAt | None, **choice: Any) -> Marked:
        """The rows that go when one row of each key stays; ``choice`` as in ``DuplicateTask``."""
        self.check_columns(rule, key)
        memory, slots = self.context.task_memory_bytes, self.context.executor.slots
        parts = shares(self.staged, len(key), memory_bytes=memory, slots=slots)
        more = more_columns(choice.get("latest"), choice.get("window"))
        with self.spread(key, more, parts) as spread:
            if parts > MOST_READINGS and not spread:
                return {}  # no row has a whole key
            known = self._spread_table(table, key, choice.get("window"), parts, spread) if spread else None
            task = DuplicateTask(
                staged=self.staged, key=tuple(key), table=table, parts=parts, spread=spread, known=known, **choice
            )
            return joined(self.run([replace(task, part=part) for part in range(parts)]))

    @contextmanager
    def spread(self, key: Sequence[str], more: Sequence[str], parts: int) -> Iterator[tuple[Spread, ...]]:
        """The keys divided into ``parts`` shares; nothing where each may as well look at all of them."""
        if parts <= MOST_READINGS:
            yield ()
            return
        staged = self.staged
        count = max(1, min(len(staged.files), self.context.executor.slots))
        tasks = [
            SpreadTask(
                staged=staged,
                places=tuple(range(first, len(staged.files), count)),
                key=tuple(key),
                more=tuple(more),
                parts=parts,
                path=self._scratch(),
                rows_at_once=self._rows_at_once(len(key)),
            )
            for first in range(count)
        ]
        try:
            yield tuple(found for found in self.run(tasks) if found.groups)
        finally:
            self._forget_scratch()

    def _spread_table(
        self,
        table: TableAt | None,
        key: Sequence[str],
        window: tuple[str, float] | None,
        parts: int,
        spread: Sequence[Spread],
    ) -> Spread | None:
        """The table's keys, divided alike."""
        if table is None:
            return None
        names = dict.fromkeys([*key, *more_columns(None, window)])
        task = TableSpreadTask(
            table=table,
            key=tuple(key),
            schema=pa.schema([self.schema.field(name) for name in names]),
            bounds=all_bounds(spread),
            parts=parts,
            root=self.staged.root,
            path=self._scratch(),
            rows_at_once=self._rows_at_once(len(key)),
        )
        (found,) = self.run([task])
        return cast("Spread", found)

    def _rows_at_once(self, columns: int) -> int:
        return max(1, self.context.task_memory_bytes // (SPREAD_SHARE * row_bytes(columns)))

    def _scratch(self) -> str:
        """A name for keys: a file that no commit names, as a vacuum sees it."""
        self._counter += 1
        self._keys.append(f"{self._prefix}-t{self._counter:04d}-h.parquet")
        return self._keys[-1]

    def _forget_scratch(self) -> None:
        remove(self.context.table.uri, self._keys)
        self._keys = []

    def strike(self, marks: Marked, *, refused: tuple[str, str] | None = None) -> int:
        """Take the marked rows out: as duplicates, or ``refused`` by (rule, reason); how many."""
        lost = count_marked(marks)
        if not lost:
            return 0
        staged, tasks = self.staged, []
        for place, bits in marks.items():
            self._counter += 1
            prefix = f"{self._prefix}-t{self._counter:04d}-x"
            tasks.append(self._strike_task(staged, {place: bits}, prefix, refused))
        struck = [answer for answer in self.run(tasks) if isinstance(answer, Struck)]
        for done in struck:
            self._made.extend(done.files)
            self.quarantine_files.extend(done.quarantine_files)
            self._account(done, quarantined=refused is not None)
        failpoint("rows_struck")
        replaced = [file for place, file in enumerate(self.files) if place in marks]
        self.files = [file for place, file in enumerate(self.files) if place not in marks]
        self.files += [file for done in struck for file in done.files]
        replace(staged, files=tuple(replaced)).remove()
        return lost

    def discard(self) -> None:
        """Remove what was made here: the batch will not be committed."""
        replace(self.staged, files=tuple(self._made)).remove()
        store = open_store(self.context.table.quarantine_uri)
        for file in self.quarantine_files:
            store.delete(join(self.context.table.quarantine_uri, file.path))

    def _strike_task(
        self, staged: StagedRows, marks: Marked, prefix: str, refused: tuple[str, str] | None
    ) -> StrikeTask:
        context = self.context
        options = WriteOptions(
            target_file_bytes=context.table.target_file_size,
            row_group_bytes=context.task_memory_bytes // ROW_GROUP_SHARE,
            compression=context.table.codec.codec,
            compression_level=context.table.codec.effort,
            indexed=Indexed.of_properties(self.handle.properties),
        )
        refusal = None
        if refused is not None:
            rule, reason = refused
            identity = context.identity(self.handle)
            origin = quarantine.Origin(
                pipeline=str(identity.pipeline),
                step=identity.step,
                batch=self.manifest.batch,
                run_id=context.run_id,
                now=self.manifest.created_at,
                withhold_raw=bool(context.step.mask),
            )
            objects, uri = tuple(self.manifest.objects), context.table.quarantine_uri
            refusal = Refusal(uri=uri, rule=rule, reason=reason, origin=origin, objects=objects)
        return StrikeTask(
            staged=staged,
            marks=marks,
            partition_by=tuple(self.handle.partition_by),
            options=options,
            prefix=prefix,
            refusal=refusal,
        )

    def _account(self, struck: Struck, *, quarantined: bool) -> None:
        """Move the rows that went from ``written`` to where they are now, object by object."""
        index = {outcome.planned: number for number, outcome in enumerate(self.outcomes)}
        for place, lost in struck.rows.items():
            number = index[self.manifest.objects[place]]
            outcome = self.outcomes[number]
            rows, rescued = outcome.rows, struck.rescued.get(place, 0)
            update = {"written": rows.written - lost, "rescued": rows.rescued - rescued}
            name = "quarantined" if quarantined else "deduplicated"
            update[name] = getattr(rows, name) + lost
            kind = "partly_loaded" if quarantined else outcome.outcome
            self.outcomes[number] = replace(outcome, rows=rows.model_copy(update=update), outcome=kind)


def deduplicate(settling: Settling, rule: Deduplicate) -> None:
    """Take duplicates out of the batch."""
    window = (rule.within.column, rule.within.window) if isinstance(rule.within, Window) else None
    latest = rule.keep.latest if isinstance(rule.keep, Latest) else None
    settling.check_columns("deduplicate", [name for name in (latest, window[0] if window else None) if name])
    marks = settling.duplicates(
        "deduplicate",
        rule.key,
        table=None if rule.within == "batch" else settling.table,
        keep="last" if rule.keep == "last" else "first",
        latest=latest,
        window=window,
    )
    settling.strike(marks)
