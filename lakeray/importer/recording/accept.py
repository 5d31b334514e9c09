"""The ways out when manifests, results or the ledger are lost for good.

``accept_table`` takes the table as it is: for each batch whose result is gone a substitute is written, made of the
ledger's rows where it has them, else of the batch's manifest, else of what the source lists. The substitute stands
under the name that the table's commit names, so that everything afterwards works as if the result had been found
again. ``start_over`` does the same and then has every object imported again. Both may be killed anywhere and repeated:
a substitute that is there already is taken.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field

from lakeray.delta.commit import commit_once
from lakeray.delta.log import LogCommit, find_transactions
from lakeray.delta.table import TableHandle, require_table
from lakeray.errors import AccessDenied, ImportFailed, ObjectExists, ObjectNotFound, RecordLost
from lakeray.importer.context import ImportContext
from lakeray.importer.discovery.source import open_listing
from lakeray.importer.manifest import (
    Manifest,
    PlannedObject,
    load_manifest,
    manifest_uri,
    newest_planned,
)
from lakeray.importer.recording.ledger import Ledger
from lakeray.importer.recording.summary import Rows, Summary
from lakeray.importer.result import RESULT_KEY, ObjectOutcome, Result, accepted_name, load_result, result_uri
from lakeray.objects import ObjectInfo, open_store

CODE = "accepted"
"""The error code of ledger rows that say what is assumed, not what was seen."""
Known = Literal["ledger", "manifest", "nothing"]


class Acceptance(Summary):
    """What is made of an import's batches, or would be.

    ``batches`` are in the table. Of them ``whole`` have their results; of the others (numbers) the ledger, the
    manifest or ``nothing`` says which objects they hold. Where it is nothing, ``assumed`` listed objects that were
    last modified before ``until`` count as loaded. ``open_batch`` was planned behind them and its manifest cannot be
    read: it is planned anew. The ledger or a plan knows batches that are ``gone`` from the table, which was replaced by
    an older copy: their objects are imported again. ``ids_lost``: the table no longer knows any of its batches; it is
    taken to hold all that were planned. ``reset`` objects are imported again by the next run.
    """

    batches: int
    whole: int
    from_ledger: list[int] = Field(default_factory=list)
    from_manifest: list[int] = Field(default_factory=list)
    from_nothing: list[int] = Field(default_factory=list)
    assumed: int = 0
    until: datetime | None = None
    open_batch: int | None = None
    gone: list[int] = Field(default_factory=list)
    ids_lost: bool = False
    ledger_damaged: bool = False
    reset: int = 0


@dataclass(kw_only=True, slots=True)
class _Lost:
    """A batch whose result is gone: what the table's log and the manifest say of it."""

    number: int
    commit: LogCommit | None
    manifest: Manifest | None
    rows: list[dict[str, Any]] = field(default_factory=list)
    torn: bool = False

    @property
    def known_from(self) -> Known:
        return "ledger" if self.rows else "manifest" if self.manifest else "nothing"

    @property
    def name(self) -> str:
        return self.commit.metadata()[RESULT_KEY] if self.commit else accepted_name(self.number)

    @property
    def attempt(self) -> str:
        return self.name.removeprefix(f"{self.number:010d}-").removesuffix(".json")


class Records:
    """What is left of an import's records; ``accept`` writes what is missing.

    With ``assume`` the objects of a batch that nobody knows are taken from the source's listing; without, the batch
    is recorded with none.
    """

    def __init__(self, context: ImportContext, handle: TableHandle, *, assume: bool) -> None:
        self._context = context
        self._handle = handle
        self._identity = context.identity(handle)
        self._ledger = Ledger(self._identity)
        self._ledger_damaged = False
        self._lost: list[_Lost] = []
        self._whole = 0
        self._seen: set[tuple[object, ...]] = set()
        self._assumed: list[ObjectOutcome] = []
        self._until: datetime | None = None
        self._survey(assume=assume)

    def acceptance(self) -> Acceptance:
        """What ``accept`` makes of it."""
        return Acceptance(
            batches=self._newest,
            whole=self._whole,
            from_ledger=[lost.number for lost in self._lost if lost.known_from == "ledger"],
            from_manifest=[lost.number for lost in self._lost if lost.known_from == "manifest"],
            from_nothing=[lost.number for lost in self._lost if lost.known_from == "nothing"],
            assumed=len(self._assumed),
            until=self._until,
            open_batch=self._torn_plan,
            gone=self.gone,
            ids_lost=not self._in_table,
            ledger_damaged=self._ledger_damaged,
        )

    @property
    def ledger_damaged(self) -> bool:
        """Whether the ledger has to be removed before it can be written anew."""
        return self._ledger_damaged

    @property
    def gone(self) -> list[int]:
        """Batches that an older copy of the table does not hold."""
        return list(range(self._in_table + 1, self._newest + 1)) if self._in_table else []

    def accept(self) -> None:
        """Store a substitute for every result that is gone; put the table's batch number right; remove a torn plan."""
        unknown = [lost.number for lost in self._lost if lost.known_from == "nothing"]
        for lost in self._lost:
            outcomes = list(self._outcomes(lost))
            if unknown and lost.number == unknown[-1]:
                outcomes.extend(self._assumed)
            self._store(lost, outcomes)
        if self._in_table < self._newest:
            commit_once(
                self._identity.table_uri,
                app_id=self._identity.app_id,
                number=self._newest,
                previous=None,
                files=[],
                metadata={RESULT_KEY: accepted_name(self._newest)},
                dense=False,
            )
        if self._torn_plan is not None:
            uri = manifest_uri(self._identity, self._torn_plan)
            open_store(uri).delete(uri)

    def _survey(self, *, assume: bool) -> None:
        identity = self._identity
        self._in_table = self._handle.transaction_version(identity.app_id) or 0
        try:
            recorded = self._ledger.recorded()
        except RecordLost:
            self._ledger_damaged, recorded = True, 0
        planned = newest_planned(identity)
        self._newest = max(self._in_table, recorded, planned - 1)  # the one before a planned batch was recorded
        if self._in_table < self._newest:  # unless others went on meanwhile
            self._handle = require_table(identity.table_uri)
            self._in_table = self._handle.transaction_version(identity.app_id) or 0
        if not self._in_table and self._newest:  # a table without ids cannot say that the last plan is not in it
            self._newest = max(self._newest, planned)
        self._newest = max(self._newest, self._in_table)
        if self._newest < 1:
            raise ImportFailed(
                "neither table nor ledger nor a plan knows a batch of this import",
                uri=identity.table_uri,
                hint="there is nothing to accept: run the workflow",
            )
        numbers = range(1, self._newest + 1)
        commits = find_transactions(
            identity.table_uri, app_id=identity.app_id, numbers=numbers, version=self._handle.version
        )
        for number in numbers:
            self._look_at(number, commits.get(number), in_ledger=number <= recorded)
        self._torn_plan = None if self._readable(self._newest + 1) else self._newest + 1
        if assume and any(lost.known_from == "nothing" for lost in self._lost):
            self._assume()

    def _look_at(self, number: int, commit: LogCommit | None, *, in_ledger: bool) -> None:
        found = _Lost(number=number, commit=commit, manifest=None)
        try:
            result = load_result(self._identity, found.name)
        except RecordLost as error:
            found.torn = not isinstance(error.__cause__, ObjectNotFound)
        else:
            self._whole += 1
            self._seen.update(_key(outcome.planned.info) for outcome in result.outcomes)
            return
        if in_ledger:
            found.rows = self._ledger.rows(f"batch = {number} AND outcome <> 'reset'").to_pylist()
        if not found.rows:
            found.manifest = self._manifest(number)
        self._seen.update(_key(outcome.planned.info) for outcome in self._outcomes(found))
        self._lost.append(found)

    def _manifest(self, number: int) -> Manifest | None:
        try:
            return load_manifest(self._identity, number)
        except RecordLost:
            return None

    def _readable(self, number: int) -> bool:
        """Whether the plan of that batch is whole, or not there at all."""
        try:
            manifest = load_manifest(self._identity, number)
        except RecordLost:
            return False
        if manifest is not None:
            self._seen.update(_key(item.info) for item in manifest.objects)
        return True

    def _outcomes(self, lost: _Lost) -> Iterator[ObjectOutcome]:
        if lost.rows:
            yield from map(_outcome_of_row, lost.rows)
            return
        for planned in lost.manifest.objects if lost.manifest else ():
            if planned.fate is not None:
                error = "the batch's result is lost: its rows count as taken out, as the batch's manifest has it"
                yield ObjectOutcome(planned=planned, outcome=planned.fate, code=CODE, error=error)
            elif planned.skip is not None:
                yield ObjectOutcome(planned=planned, outcome="skipped", code="skipped", error=planned.skip)
            elif lost.commit is not None and not lost.commit.adds:
                error = "the batch's result is lost, and its commit added nothing to the table: it is tried again"
                yield ObjectOutcome(planned=replace(planned, tries=0), outcome="failed", code=CODE, error=error)
            else:
                error = "the batch's result is lost: taken as loaded, as the batch's manifest has it"
                yield ObjectOutcome(planned=planned, outcome="loaded", code=CODE, error=error)

    def _assume(self) -> None:
        """What the source lists of before the last batch that nobody knows was committed, and no other batch has."""
        times = [
            lost.commit.info.get("timestamp") for lost in self._lost if lost.known_from == "nothing" and lost.commit
        ]
        stamps = [int(stamp) for stamp in times if stamp]
        self._until = datetime.fromtimestamp(max(stamps) / 1000, UTC) if stamps else self._context.now()
        error = "the batch's result and manifest are lost: taken as loaded, because it was there before the batch"
        context = self._context
        for page in open_listing(context.source, now=context.now, list_pages=context.list_pages).pages():
            for row in page.to_pylist():
                info = ObjectInfo(**row)
                if info.modified_at <= self._until and _key(info) not in self._seen:
                    planned = PlannedObject(info=info)
                    self._assumed.append(ObjectOutcome(planned=planned, outcome="loaded", code=CODE, error=error))

    def _store(self, lost: _Lost, outcomes: list[ObjectOutcome]) -> None:
        result = Result(
            batch=lost.number,
            attempt=lost.attempt,
            run_id=str(lost.rows[0]["run_id"]) if lost.rows else "none",
            manifest_nonce=lost.manifest.nonce if lost.manifest else secrets.token_hex(8),
            created_at=self._context.now().isoformat(),
            outcomes=outcomes,
            files=[],
            quarantine_files=[],
            source_schema={},  # it is found again, from the table and a sample
            replays=_replays(lost),
            restores_checked=self._handle.version,
            accepted=True,
            provenance=any(row["provenance"] for row in lost.rows),
            claims=lost.manifest.claims if lost.manifest else {},
        )
        uri = result_uri(self._identity, lost.name)
        try:
            open_store(uri).create(uri, result.to_bytes())
        except ObjectExists:
            if lost.torn:
                open_store(uri).put(uri, result.to_bytes())


def _replays(lost: _Lost) -> int | None:
    if lost.manifest:
        return lost.manifest.replays
    found: int | None = lost.rows[0]["replays"] if lost.rows else None
    return found


def _key(info: ObjectInfo) -> tuple[object, ...]:
    return info.uri, info.size, info.etag, info.version_id


def _outcome_of_row(row: dict[str, Any]) -> ObjectOutcome:
    """The outcome that the ledger recorded as ``row``."""
    counted = row["outcome"] in ("failed", "poison") and row["error_code"] != AccessDenied.code
    info = ObjectInfo(**{name: row[name] for name in ("uri", "size", "etag", "version_id", "modified_at")})
    planned = PlannedObject(info=info, tries=int(row["tries"]) - counted)
    if row["takes"] is not None:
        planned = PlannedObject.going(info, fate=row["outcome"], takes=row["takes"])
    return ObjectOutcome(
        planned=planned,
        outcome=row["outcome"],
        rows=Rows(**{name: row[f"rows_{name}"] for name in Rows.model_fields}),
        bytes_read=row["bytes"],
        code=row["error_code"],
        error=row["error"],
        line=row["error_line"],
        column=row["error_column"],
        rows_removed=row["rows_removed"] or 0,
    )
