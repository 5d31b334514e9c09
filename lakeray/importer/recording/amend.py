"""What a person may do to a ledger: look, replay a subset, close a batch that cannot be finished, rebuild it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from lakeray.delta.table import TableHandle, open_table
from lakeray.errors import ExactlyOnceError, ImportFailed, ObjectNotFound, SpecError
from lakeray.importer.batch import BatchProtocol
from lakeray.importer.claims.claim import active
from lakeray.importer.context import ImportContext
from lakeray.importer.manifest import load_manifest
from lakeray.importer.recording.accept import Acceptance, Records
from lakeray.importer.recording.ledger import Ledger, quoted
from lakeray.importer.recording.recovery import check_plans, committed_results, last_result, record_committed
from lakeray.importer.recording.summary import Summary
from lakeray.objects import join, open_store

_WILD = {"*": ".*", "?": "."}
_PIECES = re.compile(r"\[(?P<negated>!)?(?P<members>\]?[^]]*)\]|.", re.DOTALL)


class ClaimSummary(Summary):
    """A part of the source that its ``owner`` alone imports."""

    number: int
    owner: str
    range: str


class LedgerOf:
    """The ledger of one import step. Raises ImportFailed when the table is not there yet."""

    def __init__(self, context: ImportContext) -> None:
        self._context = context

    def _handle(self) -> TableHandle:
        handle = open_table(self._context.table.uri)
        if handle is None:
            raise ImportFailed(
                f"nothing was imported into {self._context.table.uri} yet",
                uri=self._context.table.uri,
                hint="run the workflow first",
            )
        return handle

    def show(
        self,
        *,
        outcome: str | None = None,
        uri_glob: str | None = None,
        batch: int | None = None,
        limit: int | None = 100,
    ) -> pa.Table:
        """The row that counts of each object version, newest batch first (columns:
        ``lakeray.importer.recording.ledger.SCHEMA``).
        """
        condition = _condition(
            uri_glob=uri_glob,
            batches=None if batch is None else [batch],
            outcomes=None if outcome is None else [outcome],
        )
        return self._ledger().current(condition, limit=limit)

    def reset(
        self,
        *,
        uri_glob: str | None = None,
        batches: Sequence[int] | None = None,
        outcomes: Sequence[str] | None = None,
    ) -> int:
        """Have the chosen objects imported again by the next run; how many. Rows of theirs that are in the table stay
        there.
        """
        condition = _condition(uri_glob=uri_glob, batches=batches, outcomes=outcomes)
        ledger = self._ledger()
        return ledger.reset(ledger.current(f"{condition} AND outcome <> 'reset'"), now=self._context.now())

    def abandon(self) -> int:
        """Close the batch that was planned and not finished, with nothing in it; its number.

        Its objects are recorded as skipped; ``reset`` brings them back. Raises ImportFailed when no batch is open, or
        the one that is has a claim to say something of.
        """
        handle = self._handle()
        for _ in record_committed(self._context, handle):
            pass
        identity = self._context.identity(handle)
        manifest = load_manifest(identity, Ledger(identity).recorded() + 1)
        if manifest is None:
            raise ImportFailed(
                "no batch is open: there is nothing to abandon",
                uri=self._context.table.uri,
                hint="see `lakeray ledger show`",
            )
        if manifest.claims:
            said = "begins" if "claim" in manifest.claims else "ends"
            raise ImportFailed(
                f"batch {manifest.batch} {said} a claim on a part of the source: it has no objects to abandon",
                uri=self._context.table.uri,
                hint="the next run finishes it; `lakeray ledger claims --end` gives up a claim that has begun",
            )
        again = f"`lakeray ledger reset --batch {manifest.batch}` has its objects imported"
        reason = f"batch {manifest.batch} was abandoned; {again}"
        protocol = BatchProtocol(self._context, identity)
        done = protocol.abandon(manifest, reason=reason, last=last_result(identity))
        if not done.result.abandoned:
            raise ExactlyOnceError(
                f"batch {manifest.batch} was committed by an import in the meantime, so it was not abandoned",
                uri=self._context.table.uri,
                hint="look at `lakeray ledger show`",
            )
        return manifest.batch

    def claims(self) -> list[ClaimSummary]:
        """The parts of the source that backfills have claimed: no other import takes their objects."""
        identity = self._context.identity(self._handle())
        return [
            ClaimSummary(number=claim.number, owner=claim.owner, range=str(claim.range)) for claim in active(identity)
        ]

    def end_claim(self, number: int) -> None:
        """Let a claim be over that nobody works for any more: what was imported under it stays, the next run imports
        the rest. Raises ImportFailed when there is no such claim.
        """
        from lakeray.importer.claims.take import give_up

        found = [claim for claim in active(self._context.identity(self._handle())) if claim.number == number]
        if not found:
            raise ImportFailed(
                f"there is no claim {number} in force",
                uri=self._context.table.uri,
                hint="see `lakeray ledger claims`",
            )
        give_up(self._context, found[0])

    def rebuild(self) -> int:
        """Write the ledger anew from manifests, results and the table's history; how many rows.

        Resets that a person had asked for and that no run has carried out are forgotten. Raises ExactlyOnceError, and
        leaves the old ledger in its place, when a result or a commit that it needs is gone.
        """
        handle = self._handle()
        identity = self._context.identity(handle)
        committed = handle.transaction_version(identity.app_id)
        if not committed:
            raise ExactlyOnceError(
                "the table has no batch of this import",
                uri=self._context.table.uri,
                hint="there is nothing to rebuild from: run the workflow; where the table forgot its transaction ids, "
                "`lakeray ledger rebuild --accept-table` takes it as it is",
            )
        for _ in committed_results(identity, handle, range(1, committed + 1)):
            pass  # everything is there, or this raises
        check_plans(identity, committed)
        _clear(identity.ledger_uri)
        for _ in record_committed(self._context, handle):
            pass
        return int(Ledger(identity).rows().num_rows)

    def accept_table(self, *, dry_run: bool = True) -> Acceptance:
        """Take the table as it is, where results, manifests or the ledger are lost for good; nothing is changed when
        ``dry_run``.

        See ``accept.Acceptance`` for what becomes of each batch. Objects of which nobody knows whether they were
        loaded count as loaded; their ledger rows have the error code ``accepted``. Other commits of the workflow must
        not run meanwhile. Raises ImportFailed when there is no batch.
        """
        return self._accept(assume=True, reset=False, dry_run=dry_run)

    def start_over(self, *, dry_run: bool = True) -> Acceptance:
        """Have every object imported again by the next run, whatever is lost; nothing is changed when ``dry_run``.

        Rows that are in the table stay there: empty it first to have every row once.
        """
        return self._accept(assume=False, reset=True, dry_run=dry_run)

    def _accept(self, *, assume: bool, reset: bool, dry_run: bool) -> Acceptance:
        handle = self._handle()
        lost = Records(self._context, handle, assume=assume)
        if dry_run:
            return lost.acceptance()
        lost.accept()
        if lost.ledger_damaged:
            _clear(self._context.identity(handle).ledger_uri)
        for _ in record_committed(self._context, self._handle()):
            pass
        again = 0
        if reset or lost.gone:
            again = self.reset(batches=None if reset else lost.gone)
        return lost.acceptance().model_copy(update={"reset": again})

    def _ledger(self) -> Ledger:
        return Ledger(self._context.identity(self._handle()))


def _condition(*, uri_glob: str | None, batches: Sequence[int] | None, outcomes: Sequence[str] | None) -> str:
    """The SQL condition for ledger rows of these batches and outcomes, of uris that the glob matches whole."""
    parts = ["true"]
    if batches is not None:
        parts.append(f"batch IN ({', '.join(str(int(number)) for number in batches)})" if batches else "false")
    if outcomes is not None:
        parts.append(f"outcome IN ({', '.join(map(quoted, outcomes))})" if outcomes else "false")
    if uri_glob is not None:
        parts.append(f"regexp_like(uri, {quoted(_pattern(uri_glob))})")
    return " AND ".join(parts)


def _pattern(glob: str) -> str:
    """The regular expression of a shell's glob, in the engine's dialect (Python's own is not)."""

    def piece(found: re.Match[str]) -> str:
        text = found[0]
        if text in _WILD:
            return _WILD[text]
        if found["members"]:
            inside = re.sub(r"[\\\[\]&~^]", r"\\\g<0>", found["members"])
            return f"[{'^' if found['negated'] else ''}{inside}]"
        return re.escape(text)

    pattern = _PIECES.sub(piece, glob)
    try:
        re.compile(pattern)
    except re.error as error:
        raise SpecError(f"{glob!r} is no pattern: {error.msg}", hint="such as '*/2024-0[1-3]/*'") from None
    return f"(?s)^{pattern}$"


def _clear(uri: str) -> None:
    """Delete the table at ``uri``, damaged or not: its log from the newest entry down, so that what a kill leaves is
    an earlier state of it, which the next import completes.
    """
    store = open_store(uri)
    try:
        found = [item for page in store.list(join(uri, "")) for item in page["uri"].to_pylist()]
    except ObjectNotFound:  # a local folder that is gone
        return
    log = join(uri, "_delta_log", "")
    for item in sorted((item for item in found if item.startswith(log)), reverse=True):
        store.delete(item)
    for item in found:
        if not item.startswith(log):
            store.delete(item)
