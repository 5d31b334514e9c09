"""A part of a source, imported beside the running stream: claimed, imported, handed over.

1. The part is claimed by a batch of the stream without objects. What the stream has planned before is its own, and is
   waited for; what it plans afterwards leaves the part alone.
2. Objects of the part that the stream has not imported are imported, in batches under transaction ids of the part.
3. A last manifest of the part says that there are no more. Whoever still works for it, frozen say, can plan none.
4. A batch of the stream says that the claim is over: what was imported comes into the stream's ledger with it.

Each of them may be repeated by anybody who has the same ``owner``, from wherever the last one died. Whatever fails,
the claim stays, so that nothing is imported twice; ``give_up`` ends it with what is imported until then.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from lakeray.delta.table import TableHandle, open_table, require_table
from lakeray.errors import ImportFailed
from lakeray.failpoints import failpoint
from lakeray.importer.batch import BatchProtocol
from lakeray.importer.claims.claim import Claim, active
from lakeray.importer.claims.ranges import Range
from lakeray.importer.context import ImportContext
from lakeray.importer.discovery.difference import rested_difference
from lakeray.importer.discovery.source import open_listing
from lakeray.importer.loop import ClaimOver, ImportLoop, Overtaken
from lakeray.importer.manifest import Fate, PlannedObject, load_manifest
from lakeray.importer.provenance.withdraw import withdraw
from lakeray.importer.recording.ledger import Ledger
from lakeray.importer.recording.recovery import last_result, record_committed
from lakeray.importer.recording.summary import BatchSummary
from lakeray.objects import ObjectInfo

_PATIENCE_S = 30.0
_LOOK_S = 0.5
_SAMPLED = 8


class ClaimHeld(ImportFailed):
    """Another owner has claimed objects of the same part."""

    code = "claim_held"
    retryable = True


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is to be claimed, by whom. An owner has one claim at a time on a stream."""

    owner: str
    range: Range


def why_not(context: ImportContext) -> str | None:
    """Why parts of the import's source cannot be claimed; None when they can."""
    if context.mode != "append":
        return f"mode {context.mode}: which change of a row counts is decided in the order of the stream's batches"
    if context.step.unnest:
        return "unnest: child tables take batches in the order of the stream"
    if context.source.format == "delta":
        return "the versions of a Delta table follow one another"
    return None


def import_part(loop: ImportLoop, wish: Wish, *, retry_failed: bool = True) -> None:
    """Import the part, as far as nobody has yet. ``loop`` is the stream's: its tally says what was done.

    Raises ImportFailed where the import cannot be divided, ClaimHeld while another owner has claimed objects of the
    part, and what ``ImportLoop.drain`` raises.
    """
    reason = why_not(loop.context)
    if reason is not None:
        raise ImportFailed(
            f"step {loop.context.step_name} cannot be imported in parts: {reason}",
            uri=loop.context.table.uri,
            hint="run the workflow, which imports all that is there",
        )
    handle = open_table(loop.context.table.uri) or _made_table(loop, wish.range)
    if handle is None:
        return
    claim = _claimed(loop, handle, wish)
    part = loop.part(claim)
    with suppress(ClaimOver):
        part.drain(retry_failed=retry_failed)
    hand_over(loop, claim)


def hand_over(loop: ImportLoop, claim: Claim) -> None:
    """Let the claim be over, with what is imported under it. Batches that were planned are finished first."""
    batches = loop.part(claim).close()
    failpoint("after_part_closed")
    _until(loop, lambda claims: claim.number in claims, {"release": {"claim": claim.number, "batches": batches}})


def give_up(context: ImportContext, claim: Claim) -> None:
    """Let the claim be over whatever became of it: a batch that was planned is closed with nothing in it, its objects
    are the stream's.
    """
    mine = replace(context, claim=claim)
    handle = require_table(context.table.uri)
    identity = mine.identity(handle)
    for _ in record_committed(mine, handle):
        pass
    manifest = load_manifest(identity, Ledger(identity).recorded() + 1)
    if manifest is not None and not manifest.claims:
        empty = replace(manifest, objects=[])
        BatchProtocol(mine, identity).abandon(empty, reason="given up", last=last_result(identity))
    hand_over(ImportLoop(context), claim)


def free_claims(context: ImportContext, prefix: str) -> None:
    """Give up every claim whose owner's name begins so."""
    for claim in active(context.identity(require_table(context.table.uri))):
        if claim.owner.startswith(prefix):
            give_up(context, claim)


def withdraw_part(context: ImportContext, wish: Wish, *, run_id: str, fate: Fate) -> BatchSummary | None:
    """Take out again what a run has imported of a part so far (see ``withdraw``): for as long as the claim is in force.
    Behind its end the rows do not say any more which batch of the stream they belong to, and ImportFailed says so.
    """
    claims = active(context.identity(require_table(context.table.uri))) if open_table(context.table.uri) else []
    mine = next((replace(context, claim=claim) for claim in claims if claim.owner == wish.owner), context)
    return withdraw(mine, run_id=run_id, fate=fate) if open_table(context.table.uri) else None


def _claimed(loop: ImportLoop, handle: TableHandle, wish: Wish) -> Claim:
    """The owner's claim on the part, in force."""
    identity = loop.context.identity(handle)
    _wait_for_stream(loop.context, handle)
    said = {"claim": {"owner": wish.owner, "range": wish.range.to_json()}}

    def missing(claims: dict[int, Claim]) -> bool:
        for claim in claims.values():
            if claim.owner == wish.owner:
                return False
            if claim.range.may_meet(wish.range):
                raise ClaimHeld(
                    f"{claim.owner} has claimed {claim.range}, which objects of {wish.range} may belong to",
                    uri=loop.context.source.uri,
                    hint="wait for its end; `lakeray ledger claims` shows claims, and ends one that nobody works for",
                )
        return True

    _until(loop, missing, said)
    return next(claim for claim in active(identity) if claim.owner == wish.owner)


def _until(loop: ImportLoop, wanted: Callable[[dict[int, Claim]], bool], said: dict[str, Any]) -> None:
    """Plan a batch of the stream that says so for as long as the claims in force ask for it."""
    while True:
        loop.context.check_cancelled()
        handle = require_table(loop.context.table.uri)
        loop.recover(handle)
        if not wanted({claim.number: claim for claim in active(loop.context.identity(handle))}):
            return
        with suppress(Overtaken):
            loop.say(handle, said)


def _wait_for_stream(context: ImportContext, handle: TableHandle) -> None:
    """Leave objects that the stream has planned to the stream for a while, before this one finishes their batch."""
    identity = context.identity(handle)
    waited = 0.0
    while waited < _PATIENCE_S:
        planned = load_manifest(identity, Ledger(identity).recorded() + 1)
        if planned is None or planned.claims:
            return
        context.cancelled.wait(_LOOK_S)
        context.check_cancelled()
        waited += _LOOK_S


def _made_table(loop: ImportLoop, wanted: Range) -> TableHandle | None:
    """The table, made from a sample of the part; None where there is nothing to import."""
    context = loop.context
    listing = open_listing(context.source, now=context.now, list_pages=context.list_pages)
    for window in rested_difference(listing, None):
        rows = window.fresh.filter(wanted.mask(window.fresh, context.source)).slice(0, _SAMPLED)
        if rows.num_rows:
            infos = [ObjectInfo(**row) for row in rows.drop_columns(["tries", "changed"]).to_pylist()]
            return loop.create_table([PlannedObject(info=info) for info in infos])
    return None
