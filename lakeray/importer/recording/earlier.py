"""What a run has imported in processes that are no more, from the results that its batches left in the lake."""

from __future__ import annotations

from lakeray.delta.table import open_table
from lakeray.importer.batch import Done, summary_of
from lakeray.importer.context import ImportContext
from lakeray.importer.manifest import load_manifest
from lakeray.importer.recording.ledger import Ledger, batches_of_run
from lakeray.importer.recording.recovery import committed_results, record_committed

_TAKEN_OUT = ("compensated", "withdrawn")


def earlier_batches(context: ImportContext) -> list[Done]:
    """The batches that the run has committed so far, in order; those that it has taken out again do not count.

    Batches that the ledger lacks are recorded first. Raises RecordLost when a commit or a result is gone.
    """
    handle = open_table(context.table.uri)
    if handle is None:
        return []
    for _ in record_committed(context, handle):
        pass
    identity = context.identity(handle)
    numbers = batches_of_run(Ledger(identity), context.run_id)
    found: list[Done] = []
    for result, version in committed_results(
        identity, handle, range(numbers[0], numbers[-1] + 1) if numbers else range(0)
    ):
        manifest = load_manifest(identity, result.batch)
        if result.run_id != context.run_id or manifest is None:
            continue
        if any(item.fate in _TAKEN_OUT for item in result.gone):
            found.clear()
            continue
        summary = summary_of(manifest, result, version, won=True, duration_s=0.0)
        found.append(Done(summary=summary, result=result, phases_s={}))
    return found
