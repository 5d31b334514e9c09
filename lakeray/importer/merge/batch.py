"""The staged changes of one batch become one commit on whatever the table then is.

The changes are brought into order once. Then, on a given version: the files that can hold their keys are met part by
part, the shares are applied, and all of it is one Rewrite, which ``commit_rewrite`` sends or has made again when
another writer changed what it rests on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pyarrow as pa

from lakeray.delta.files import DataFile
from lakeray.delta.rewrite import Rewrite, commit_rewrite, keeps_change_feed
from lakeray.delta.staged import StagedFile
from lakeray.delta.table import TableHandle
from lakeray.delta.turn import Committed
from lakeray.errors import CommitConflict, ObjectNotFound
from lakeray.failpoints import failpoint
from lakeray.importer.context import ImportContext
from lakeray.importer.identity import ImportId
from lakeray.importer.manifest import Manifest
from lakeray.importer.merge import tombstones
from lakeray.importer.merge.apply import Applied
from lakeray.importer.merge.attempt import Attempt, share_numbers
from lakeray.importer.merge.order import (
    SHARE_OF_MEMORY,
    SHARE_WITH_ROWS,
    OrderTask,
    Share,
    Survey,
    SurveyTask,
    boundaries,
    surveyed,
)
from lakeray.importer.merge.rules import ChangeRules
from lakeray.importer.merge.scratch import remove, scratch_uri
from lakeray.importer.result import ObjectOutcome
from lakeray.importer.waves import run_wave


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
    """One batch. ``outcomes`` and ``files`` are what its tasks have staged, in the types of ``schema``; ``close`` at
    the end, whatever comes.
    """

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
        schema: pa.Schema,
    ) -> None:
        self._context = context
        self._identity = identity
        self._manifest = manifest
        self._rules = rules
        self._root = scratch_uri(identity)
        self._prefix = identity.file_prefix(manifest.batch, attempt)
        self._files = list(files)
        self._outcomes = list(outcomes)
        self._schema = schema
        self._scratch = [file.path for file in files]
        self._shares: dict[int, Share] | None = None
        self._beaten: Counter[int] = Counter()
        self._attempt: Attempt | None = None

    def commit(self, store: Callable[[Merged], dict[str, str]]) -> Committed:
        """Commit, or find committed. ``store`` keeps the record of each attempt and gives what the commit says of it.

        Raises what ``commit_rewrite`` raises, and whatever stops a task.
        """

        def plan(handle: TableHandle) -> Rewrite:
            self._discard()
            try:
                merged = self._merged(handle)
            except ObjectNotFound as error:
                self._discard()
                raise CommitConflict(
                    f"what was staged of batch {self._manifest.batch} is gone: another importer has finished it",
                    uri=handle.uri,
                    hint="run again: it looks at the table anew",
                ) from error
            except BaseException:
                self._discard()
                raise
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
            concerns=lambda files: any(share_numbers(self._shares or {}, file) for file in files),
            columns=rules.key,
            schema=self._schema,
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
        if self._attempt is not None:
            self._attempt.discard()
        self._attempt = None

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
        share = SHARE_OF_MEMORY if self._rules.plain else SHARE_WITH_ROWS
        return boundaries(survey, rows, self._context.task_memory_bytes / share)

    def _merged(self, handle: TableHandle) -> Merged:
        attempt = self._attempt = Attempt(
            self._context, self._identity, self._manifest, self._rules, self._in_order(handle.schema), handle=handle
        )
        attempt.run()
        self._scratch += attempt.scratch()
        applied, removes = attempt.applied, attempt.removes()
        files = [file for found in attempt.met for file in found.files]
        files += [file for each in applied for file in each.files]
        feed = [file for each in applied for file in each.feed]
        metrics = {
            "numSourceRows": sum(file.rows for file in self._files),
            "numOutputRows": sum(file.rows for file in files),
            "numTargetRowsCopied": sum(each.kept for each in attempt.met),
            "numTargetFilesAdded": len(files),
            "numTargetFilesRemoved": len(removes),
            "numTargetChangeFilesAdded": len(feed),
        }
        return Merged(
            attempt=attempt.name,
            files=files,
            feed=feed,
            tombstones=[file for each in applied for file in each.tombstones],
            removes=removes,
            outcomes=self._accounted(applied),
            metrics=metrics,
        )

    def _accounted(self, applied: list[Applied]) -> list[ObjectOutcome]:
        """The objects' outcomes, with the changes that did not count among their rows."""
        beaten = Counter(self._beaten)
        for each in applied:
            beaten.update(each.beaten)
        places = {item: place for place, item in enumerate(self._manifest.objects)}
        found = []
        for outcome in self._outcomes:
            count = beaten[places[outcome.planned]]
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
            tombstones.forget(self._identity, before, batch=self._manifest.batch)
