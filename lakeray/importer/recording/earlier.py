"""What a run has imported in processes that are no more, from the results that its batches left in the lake."""

from __future__ import annotations

from dataclasses import replace

from lakeray.delta.table import TableHandle, open_table
from lakeray.importer.batch import Done, summary_of
from lakeray.importer.claims.claim import active, finished_parts, part_of
from lakeray.importer.context import ImportContext
from lakeray.importer.identity import ImportId
from lakeray.importer.manifest import load_manifest
from lakeray.importer.recording.ledger import Ledger, batches_of_run
from lakeray.importer.recording.recovery import committed_results, record_committed

_TAKEN_OUT = ("compensated", "withdrawn")


def earlier_batches(context: ImportContext, owner: str | None = None) -> list[Done]:
    """The batches that the run has committed so far, in order, also those under claims: under the one in force that
    ``owner`` has, and under such as are over. Those that it has taken out again do not count.

    Batches that the ledger lacks are recorded first. Raises RecordLost when a commit or a result is gone.
    """
    handle = open_table(context.table.uri)
    if handle is None:
        return []
    stream, run_id = context.identity(handle), context.run_id
    # Looked at before the ledger, which knows what was imported under a claim that is over by then.
    mine = [claim for claim in active(stream) if claim.owner == owner]
    for each in (context, *(replace(context, claim=claim) for claim in mine)):
        for _ in record_committed(each, handle):
            pass
    numbers, over = batches_of_run(Ledger(stream), run_id), finished_parts(stream)
    parts = {claim.number for claim in mine} | {each for each in numbers if part_of(stream, each).step in over}
    found = _committed(stream, handle, numbers, run_id)
    for part in (part_of(stream, number) for number in sorted(parts)):
        found += _committed(part, handle, batches_of_run(Ledger(part), run_id), run_id)
    return found


def _committed(identity: ImportId, handle: TableHandle, numbers: list[int], run_id: str) -> list[Done]:
    """Those that the run committed as ``identity``; rows of the ledger say that they have these ``numbers``."""
    found: list[Done] = []
    for result, version in committed_results(
        identity, handle, range(numbers[0], numbers[-1] + 1) if numbers else range(0)
    ):
        manifest = load_manifest(identity, result.batch)
        if result.run_id != run_id or manifest is None or manifest.claims:
            continue
        if any(item.fate in _TAKEN_OUT for item in result.gone):
            found.clear()
            continue
        summary = summary_of(manifest, result, version, won=True, duration_s=0.0)
        found.append(Done(summary=summary, result=result, phases_s={}))
    return found
