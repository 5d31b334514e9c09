"""One attempt to bring a batch's changes into one version of the table; nothing of it is visible.

Every file that can hold a key is met by the changes, part by part; then each share is applied to what it has met.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lakeray.delta.files import DataFile, data_files
from lakeray.delta.parquet import WriteOptions
from lakeray.delta.rewrite import keeps_change_feed
from lakeray.delta.table import TableHandle, open_table
from lakeray.errors import UnsupportedTable
from lakeray.failpoints import failpoint
from lakeray.importer.context import ImportContext
from lakeray.importer.executor import Task
from lakeray.importer.identity import ImportId
from lakeray.importer.layout import table_options
from lakeray.importer.manifest import Manifest
from lakeray.importer.merge import tombstones
from lakeray.importer.merge.apply import Applied, ApplyTask
from lakeray.importer.merge.keys import may_hold
from lakeray.importer.merge.lookup import Places
from lakeray.importer.merge.match import Matched, MatchTask, Part, Place
from lakeray.importer.merge.order import Share
from lakeray.importer.merge.rules import ChangeRules
from lakeray.importer.merge.scratch import remove, scratch_uri
from lakeray.importer.waves import run_wave

_PART_BYTES = 16 * 2**20
"""A file is cut for the sake of parallelism into parts of no less than this."""
_TASKS_PER_SLOT = 4
"""So many, that all slots end at about the same time."""
_TASK_BYTES = 64 * 2**20
"""Small files share a task up to this."""


class Attempt:
    """``name`` is unique; ``run`` does the work, once; ``discard`` removes all that it has staged.

    ``met`` and ``applied`` are what tasks said, ``scratch`` the files that they left for each other.
    """

    def __init__(
        self,
        context: ImportContext,
        identity: ImportId,
        manifest: Manifest,
        rules: ChangeRules,
        shares: dict[int, Share],
        *,
        handle: TableHandle,
    ) -> None:
        self.name = secrets.token_hex(4)
        self.met: list[Matched] = []
        self.applied: list[Applied] = []
        self._context = context
        self._identity = identity
        self._manifest = manifest
        self._rules = rules
        self._shares = shares
        self._handle = handle
        self._feed = keeps_change_feed(handle)
        self._scratch: list[str] = []
        self._count = 0
        self._place = Place(
            uri=handle.uri,
            schema=handle.schema,
            partition_by=tuple(handle.partition_by),
            options=table_options(context.table, handle.properties, memory_bytes=context.task_memory_bytes),
            scratch=scratch_uri(identity),
            prefix=identity.file_prefix(manifest.batch, self.name),
        )

    def run(self) -> None:
        """Stage everything. Raises UnsupportedTable, and whatever stops a task."""
        _check_partial(self._handle, self._rules)
        if not self._shares:
            return
        take = self._feed or not self._rules.plain
        meeting = self._match_tasks(take=take)
        if take or self._rules.sequence is not None:
            met, past = self._run(meeting), run_wave(self._context, self._past_delete_tasks())
            self._scratch = [path for each in past for path in each.taken.values()]
            self._run(self._copy_tasks(met))
            failpoint("changes_matched")
            self._run(self._apply_tasks(met, past))
        else:  # nothing that a row says can change what becomes of its change: both at once
            both = self._run([*meeting, *self._apply_tasks([], [])])
            self._run(self._copy_tasks(both[: len(meeting)]))
            failpoint("changes_matched")
        failpoint("changes_applied")

    def removes(self) -> list[DataFile]:
        """The files of which a row was replaced."""
        return list({part.file.logged: part.file for each in self.met for part in each.hits}.values())

    def scratch(self) -> list[str]:
        """The files that only this attempt's tasks had to see."""
        return self._scratch + [path for each in self.met for path in each.taken.values()]

    def discard(self) -> None:
        """Remove what no commit can name any more."""
        staged = [file.path for met in self.met for file in met.files]
        staged += [file.path for each in self.applied for file in (*each.files, *each.feed)]
        remove(self._place.uri, staged)
        remove(
            tombstones.tombstones_uri(self._identity), [file.path for each in self.applied for file in each.tombstones]
        )
        self.met, self.applied = [], []

    def _run(self, tasks: Sequence[Task]) -> list[Any]:
        """Run a wave, remembering what it made even when it fails half-way."""
        return run_wave(self._context, tasks, made=self._remember)

    def _remember(self, answer: Any) -> None:
        if isinstance(answer, Matched):
            self.met.append(answer)
        else:
            self.applied.append(answer)

    def _named(self, place: Place) -> Place:
        """``place`` for one more task."""
        self._count += 1
        return replace(place, prefix=f"{place.prefix}-t{self._count:04d}")

    def _numbers(self, file: DataFile) -> tuple[int, ...]:
        """The shares whose keys the file can hold."""
        return share_numbers(self._shares, file)

    def _match_tasks(self, *, take: bool) -> list[MatchTask]:
        """Every part of every file that can hold a key, met by the changes that it can hold."""
        found = [(file, self._numbers(file)) for file in data_files(self._handle, self._rules.key)]
        candidates = [(file, numbers) for file, numbers in found if numbers]
        slots = self._context.executor.slots
        wanted = -(-_TASKS_PER_SLOT * slots // max(len(candidates), 1))
        by_shares: dict[tuple[int, ...], list[Part]] = {}
        for file, numbers in candidates:
            of = max(1, min(wanted, file.size_bytes // _PART_BYTES))
            by_shares.setdefault(numbers, []).extend(Part(file=file, number=number, of=of) for number in range(of))
        return [
            self._match_task(parts, self._place, numbers, take=take)
            for numbers, all_parts in by_shares.items()
            for parts in packed(all_parts, slots)
        ]

    def _match_task(self, parts: list[Part], place: Place, numbers: Sequence[int], *, take: bool) -> MatchTask:
        paths = {number: path for number in numbers if (path := self._shares[number].path)}
        return MatchTask(parts=tuple(parts), place=self._named(place), rules=self._rules, shares=paths, take=take)

    def _copy_tasks(self, met: Sequence[Matched]) -> list[MatchTask]:
        """The parts that no change met, of files of which another part was."""
        hit = {(part.file.logged, part.number): part for each in met for part in each.hits}
        files = {part.file.logged: part for part in hit.values()}
        rest = [
            replace(part, number=number)
            for logged, part in files.items()
            for number in range(part.of)
            if (logged, number) not in hit
        ]
        return [
            replace(self._match_task(parts, self._place, (), take=False), everything=True)
            for parts in packed(rest, self._context.executor.slots)
        ]

    def _past_delete_tasks(self) -> list[MatchTask]:
        """The remembered deletes, met like rows; nothing is written but those that a partial or a history needs."""
        rules = self._rules
        handle = open_table(tombstones.tombstones_uri(self._identity)) if rules.sequence is not None else None
        if handle is None:
            return []
        prefix = f"{self._place.prefix}-p"
        place = replace(self._place, uri=handle.uri, schema=handle.schema, partition_by=(), prefix=prefix)
        # A partial update and a history need the deletes themselves, wherever they stand; else it matters who is later.
        take = not rules.plain
        rules = replace(rules, sequence=None) if take else rules
        return [
            replace(self._match_task([Part(file=file)], place, numbers, take=take), look_only=True, rules=rules)
            for file in data_files(handle, rules.key)
            if (numbers := self._numbers(file))
        ]

    def _apply_tasks(self, met: Sequence[Matched], past: Sequence[Matched]) -> list[ApplyTask]:
        remembered = self._tombstone_place()
        return [
            ApplyTask(
                share=share.path,
                late=_together([each.late[number] for each in (*met, *past) if number in each.late]),
                taken=tuple(each.taken[number] for each in met if number in each.taken),
                past_deletes=tuple(each.taken[number] for each in past if number in each.taken),
                place=(named := self._named(self._place)),
                tombstones=replace(remembered, prefix=named.prefix) if remembered else None,
                rules=self._rules,
                keeps_feed=self._feed,
                now=self._manifest.created_at,
            )
            for number, share in self._shares.items()
            if share.path is not None
        ]

    def _tombstone_place(self) -> Place | None:
        rules = self._rules
        if rules.sequence is None or rules.delete is None:
            return None
        schema = tombstones.tombstone_schema(self._place.schema, rules)
        tombstones.prepare(self._identity, schema)
        uri = tombstones.tombstones_uri(self._identity)
        return replace(self._place, uri=uri, schema=schema, partition_by=(), options=WriteOptions())


def share_numbers(shares: dict[int, Share], file: DataFile) -> tuple[int, ...]:
    """The shares whose keys the file can hold."""
    return tuple(number for number, share in shares.items() if may_hold(file, dict(share.zones)))


def packed(parts: Sequence[Part], slots: int) -> list[list[Part]]:
    """Parts grouped into tasks: of about ``_TASK_BYTES`` at most, and enough tasks for all ``slots`` to work."""
    total = sum(part.file.size_bytes // part.of for part in parts)
    limit = min(_TASK_BYTES, max(_PART_BYTES, -(-total // (_TASKS_PER_SLOT * slots))))
    groups: list[list[Part]] = []
    held = limit
    for part in parts:
        size = part.file.size_bytes // part.of
        if held + size > limit:
            groups.append([])
            held = 0
        groups[-1].append(part)
        held += size
    return groups


def _together(places: Sequence[Places]) -> Places:
    return np.unique(np.concatenate(places)) if places else np.zeros(0, dtype=np.int64)


def _check_partial(handle: TableHandle, rules: ChangeRules) -> None:
    """Raise UnsupportedTable where a partial update could break what the table demands of whole rows."""
    demanded = [name for name in handle.not_null if name not in rules.key]
    if rules.partial and (demanded or handle.checks or handle.generated):
        raise UnsupportedTable(
            f"the table at {handle.uri} has columns or constraints that a partial update alone cannot satisfy",
            uri=handle.uri,
            hint="import without `partial`, or into a table without NOT NULL, CHECK and generated columns",
        )
