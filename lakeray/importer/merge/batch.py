"""The staged changes of one batch become one commit on whatever the table then is.

The changes are brought into order once. Then, on a given version: the files that can hold their keys are met part by
part, the shares are applied, and all of it is one Rewrite, which ``commit_rewrite`` sends or has made again when
another writer changed what it rests on.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pyarrow as pa

from lakeray.delta.files import DataFile, data_files
from lakeray.delta.parquet import WriteOptions
from lakeray.delta.rewrite import Rewrite, commit_rewrite, keeps_change_feed
from lakeray.delta.staged import StagedFile
from lakeray.delta.table import TableHandle, open_table
from lakeray.delta.turn import Committed
from lakeray.errors import CommitConflict, ObjectNotFound, UnsupportedTable
from lakeray.failpoints import failpoint
from lakeray.importer.context import ImportContext
from lakeray.importer.identity import ImportId
from lakeray.importer.layout import table_options
from lakeray.importer.manifest import Manifest
from lakeray.importer.merge import tombstones
from lakeray.importer.merge.apply import Applied, ApplyTask
from lakeray.importer.merge.keys import may_hold
from lakeray.importer.merge.lookup import Places
from lakeray.importer.merge.match import Matched, MatchTask, Part, Place
from lakeray.importer.merge.order import OrderTask, Share, Survey, SurveyTask, boundaries, surveyed
from lakeray.importer.merge.rules import ChangeRules
from lakeray.importer.merge.scratch import remove, scratch_uri
from lakeray.importer.result import ObjectOutcome
from lakeray.importer.waves import run_wave

_PART_BYTES = 8 * 2**20
"""A file is cut for the sake of parallelism into parts of no less than this."""
_TASK_BYTES = 64 * 2**20
"""Small files share a task up to this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merged:
    """What one attempt made of the changes on one version of the table; nothing of it is visible yet."""

    attempt: str
    files: list[StagedFile] = field(default_factory=list)
    feed: list[StagedFile] = field(default_factory=list)
    tombstones: list[StagedFile] = field(default_factory=list)
    removes: list[DataFile] = field(default_factory=list)
    outcomes: list[ObjectOutcome] = field(default_factory=list)
    metrics: dict[str, int] = field(default_factory=dict)


class MergeBatch:
    """One batch. ``outcomes`` and ``files`` are what its tasks have staged; ``close`` at the end, whatever comes."""

    def __init__(
        self,
        context: ImportContext,
        identity: ImportId,
        manifest: Manifest,
        rules: ChangeRules,
        *,
        attempt: str,
        files: Sequence[StagedFile],
        outcomes: Sequence[ObjectOutcome],
    ) -> None:
        self._context = context
        self._identity = identity
        self._manifest = manifest
        self._rules = rules
        self._root = scratch_uri(identity)
        self._prefix = identity.file_prefix(manifest.batch, attempt)
        self._files = list(files)
        self._outcomes = list(outcomes)
        self._scratch = [file.path for file in files]
        self._shares: dict[int, Share] | None = None
        self._beaten: Counter[int] = Counter()
        self._staged: Merged | None = None
        self._count = 0

    def commit(self, store: Callable[[Merged], dict[str, str]]) -> Committed:
        """Commit, or find committed. ``store`` keeps the record of each attempt and gives what the commit says of it.

        Raises what ``commit_rewrite`` raises, and whatever stops a task.
        """

        def plan(handle: TableHandle) -> Rewrite:
            self._discard()
            try:
                merged = self._staged = self._merged(handle)
            except ObjectNotFound as error:
                raise CommitConflict(
                    f"what was staged of batch {self._manifest.batch} is gone: another importer has finished it",
                    uri=handle.uri,
                    hint="run again: it looks at the table anew",
                ) from error
            return Rewrite(
                adds=merged.files,
                removes=merged.removes,
                changes=merged.feed,
                # A feed that has nothing to tell: every row is as it was.
                data_change=bool(merged.feed) or not keeps_change_feed(handle),
                metrics=merged.metrics,
                metadata=store(merged),
            )

        rules = self._rules
        done = commit_rewrite(
            self._context.table.uri,
            app_id=self._identity.app_id,
            number=self._manifest.batch,
            previous=self._manifest.batch - 1,
            plan=plan,
            operation="MERGE",
            concerns=lambda files: any(self._share_numbers(file) for file in files),
            columns=rules.key,
            parameters={"mode": rules.mode, "key": ", ".join(rules.key), "sequence": rules.sequence or ""},
            failpoints=True,
        )
        if not done.won:
            self._discard()
        return done

    def close(self) -> None:
        """Remove what only this batch's tasks had to see."""
        remove(self._root, self._scratch)
        self._scratch = []

    def _discard(self) -> None:
        """Remove what an attempt has staged that no commit can name any more."""
        merged, self._staged = self._staged, None
        if merged is None:
            return
        for root, files in (
            (self._context.table.uri, [*merged.files, *merged.feed]),
            (tombstones.tombstones_uri(self._identity), merged.tombstones),
        ):
            remove(root, [file.path for file in files])

    def _in_order(self, schema: pa.Schema) -> dict[int, Share]:
        """The shares of the changes, by number; made once."""
        if self._shares is not None:
            return self._shares
        rules, paths = self._rules, [file.path for file in self._files]
        edges = self._edges(paths)
        tasks = [
            OrderTask(
                root=self._root,
                paths=tuple(paths),
                out=f"{self._prefix}-t{number:04d}-c.parquet",
                rules=rules,
                schema=schema,
                low=low,
                high=high,
            )
            for number, (low, high) in enumerate(zip([None, *edges], [*edges, None], strict=True))
            if paths
        ]
        found: list[Share] = run_wave(self._context, tasks)
        self._shares = {number: share for number, share in enumerate(found) if share.path is not None}
        for share in found:
            self._beaten.update(share.beaten)
        self._scratch += [share.path for share in self._shares.values() if share.path]
        failpoint("changes_ordered")
        return self._shares

    def _edges(self, paths: list[str]) -> list[object]:
        """Where the changes are cut into shares."""
        if not paths:
            return []
        task = SurveyTask(root=self._root, paths=surveyed(paths), key=self._rules.key, seed=self._manifest.seed)
        survey: Survey = run_wave(self._context, [task])[0]
        rows = sum(file.rows for file in self._files)
        return boundaries(survey, rows, self._context.task_memory_bytes)

    def _share_numbers(self, file: DataFile) -> tuple[int, ...]:
        """The shares whose keys the file can hold."""
        shares = self._shares or {}
        return tuple(number for number, share in shares.items() if may_hold(file, dict(share.zones)))

    def _merged(self, handle: TableHandle) -> Merged:
        _check_partial(handle, self._rules)
        attempt = secrets.token_hex(4)
        shares = self._in_order(handle.schema)
        place = self._place(handle, attempt)
        feed = keeps_change_feed(handle)
        take = feed or self._rules.partial or self._rules.history is not None
        met = self._meet(handle, place, take=take) if shares else []
        past = self._look_at_past_deletes(place) if shares else []
        copied = self._copy_rest(met, place)
        failpoint("changes_matched")
        applied = self._apply(place, met, past, feed=feed)
        failpoint("changes_applied")
        files = [file for found in (*met, *copied) for file in found.files]
        files += [file for each in applied for file in each.files]
        removes = {part.file.logged: part.file for each in met for part in each.hits}
        self._scratch += [path for each in (*met, *past) for path in each.taken.values()]
        metrics = {
            "numSourceRows": sum(file.rows for file in self._files),
            "numOutputRows": sum(file.rows for file in files),
            "numTargetRowsCopied": sum(each.kept for each in (*met, *copied)),
            "numTargetFilesAdded": len(files),
            "numTargetFilesRemoved": len(removes),
            "numTargetChangeFilesAdded": sum(len(each.feed) for each in applied),
        }
        return Merged(
            attempt=attempt,
            files=files,
            feed=[file for each in applied for file in each.feed],
            tombstones=[file for each in applied for file in each.tombstones],
            removes=list(removes.values()),
            outcomes=self._accounted(applied),
            metrics=metrics,
        )

    def _place(self, handle: TableHandle, attempt: str) -> Place:
        context = self._context
        return Place(
            uri=handle.uri,
            schema=handle.schema,
            partition_by=tuple(handle.partition_by),
            options=table_options(context.table, handle.properties, memory_bytes=context.task_memory_bytes),
            scratch=self._root,
            prefix=self._identity.file_prefix(self._manifest.batch, attempt),
        )

    def _named(self, place: Place) -> Place:
        """``place`` for one more task."""
        self._count += 1
        return replace(place, prefix=f"{place.prefix}-t{self._count:04d}")

    def _meet(self, handle: TableHandle, place: Place, *, take: bool) -> list[Matched]:
        """Every part of every file that can hold a key, met by the changes that it can hold."""
        candidates = {
            file.logged: (file, numbers)
            for file in data_files(handle, self._rules.key)
            if (numbers := self._share_numbers(file))
        }
        slots = self._context.executor.slots
        wanted = -(-2 * slots // max(len(candidates), 1))
        by_shares: dict[tuple[int, ...], list[Part]] = {}
        for file, numbers in candidates.values():
            of = max(1, min(wanted, file.size_bytes // _PART_BYTES))
            by_shares.setdefault(numbers, []).extend(Part(file=file, number=number, of=of) for number in range(of))
        tasks = [
            self._match_task(parts, place, numbers, take=take)
            for numbers, all_parts in by_shares.items()
            for parts in packed(all_parts, slots)
        ]
        return run_wave(self._context, tasks)

    def _match_task(self, parts: list[Part], place: Place, numbers: Sequence[int], *, take: bool) -> MatchTask:
        shares = self._shares or {}
        paths = {number: path for number in numbers if (path := shares[number].path)}
        return MatchTask(parts=tuple(parts), place=self._named(place), rules=self._rules, shares=paths, take=take)

    def _copy_rest(self, met: list[Matched], place: Place) -> list[Matched]:
        """The parts that no change met, of files of which another part was."""
        hit = {(part.file.logged, part.number): part for each in met for part in each.hits}
        files = {part.file.logged: part for part in hit.values()}
        rest = [
            replace(part, number=number)
            for logged, part in files.items()
            for number in range(part.of)
            if (logged, number) not in hit
        ]
        tasks = [
            replace(self._match_task(parts, place, (), take=False), everything=True)
            for parts in packed(rest, self._context.executor.slots)
        ]
        return run_wave(self._context, tasks)

    def _look_at_past_deletes(self, place: Place) -> list[Matched]:
        """The remembered deletes, met like rows; nothing is written but those that apply to a partial or a history."""
        rules = self._rules
        if rules.sequence is None:
            return []
        handle = open_table(tombstones.tombstones_uri(self._identity))
        if handle is None:
            return []
        place = replace(place, uri=handle.uri, schema=handle.schema, partition_by=(), prefix=f"{place.prefix}-p")
        # A partial update and a history need the deletes themselves, wherever they stand; else it matters who is later.
        take = rules.partial or rules.history is not None
        rules = replace(rules, sequence=None) if take else rules
        tasks = [
            replace(self._match_task([Part(file=file)], place, numbers, take=take), look_only=True, rules=rules)
            for file in data_files(handle, rules.key)
            if (numbers := self._share_numbers(file))
        ]
        return run_wave(self._context, tasks)

    def _apply(self, place: Place, met: list[Matched], past: list[Matched], *, feed: bool) -> list[Applied]:
        remembered = self._tombstone_place(place)
        tasks = [
            ApplyTask(
                share=share.path,
                late=_together([each.late[number] for each in (*met, *past) if number in each.late]),
                taken=tuple(each.taken[number] for each in met if number in each.taken),
                past_deletes=tuple(each.taken[number] for each in past if number in each.taken),
                place=(named := self._named(place)),
                tombstones=replace(remembered, prefix=named.prefix) if remembered else None,
                rules=self._rules,
                keeps_feed=feed,
                now=self._manifest.created_at,
            )
            for number, share in (self._shares or {}).items()
            if share.path is not None
        ]
        return run_wave(self._context, tasks)

    def _tombstone_place(self, place: Place) -> Place | None:
        rules = self._rules
        if rules.sequence is None or rules.delete is None:
            return None
        schema = tombstones.tombstone_schema(place.schema, rules)
        tombstones.prepare(self._identity, schema)
        uri = tombstones.tombstones_uri(self._identity)
        return replace(place, uri=uri, schema=schema, partition_by=(), options=WriteOptions())

    def _accounted(self, applied: list[Applied]) -> list[ObjectOutcome]:
        """The objects' outcomes, with the changes that did not count among their rows."""
        beaten = Counter(self._beaten)
        for each in applied:
            beaten.update(each.beaten)
        ordinals = {item.info.uri: ordinal for ordinal, item in enumerate(self._manifest.objects)}
        found = []
        for outcome in self._outcomes:
            count = beaten[ordinals[outcome.planned.info.uri]]
            update = {
                "written": outcome.rows.written - count,
                "deduplicated": outcome.rows.deduplicated + count,
            }
            found.append(replace(outcome, rows=outcome.rows.model_copy(update=update)) if count else outcome)
        return found

    def forget_old_deletes(self) -> None:
        """Forget the deletes that the step need not remember any more."""
        if self._rules.sequence is not None:
            before = self._manifest.created_at - timedelta(seconds=self._rules.remember_deletes_s)
            tombstones.forget(self._identity, before)


def packed(parts: Sequence[Part], slots: int) -> list[list[Part]]:
    """Parts grouped into tasks: of about ``_TASK_BYTES`` at most, and enough tasks for all ``slots`` to work."""
    total = sum(part.file.size_bytes // part.of for part in parts)
    limit = min(_TASK_BYTES, -(-total // (2 * slots)))
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
