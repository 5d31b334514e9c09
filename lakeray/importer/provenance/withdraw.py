"""The rows of chosen batches go out of their table again, in one batch of their own, whatever was written since.

A withdrawal is planned, committed and recorded as every batch is, so that it happens once whatever dies: one that was
planned and not finished is finished by the next import, or by the next call.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.table import TableHandle, require_table
from lakeray.errors import ImportFailed
from lakeray.failpoints import failpoint
from lakeray.importer.batch import BatchProtocol, Done
from lakeray.importer.context import ImportContext
from lakeray.importer.identity import ImportId
from lakeray.importer.manifest import Fate, Manifest, load_manifest, new_manifest, store_manifest
from lakeray.importer.provenance.gone import going, live_loads
from lakeray.importer.recording.ledger import Ledger, batches_of_run
from lakeray.importer.recording.recovery import last_result, record_committed
from lakeray.importer.recording.summary import BatchSummary
from lakeray.importer.schema.source import schema_from_names


def withdraw(
    context: ImportContext,
    *,
    batches: Collection[int] | None = None,
    run_id: str | None = None,
    fate: Fate = "withdrawn",
) -> BatchSummary | None:
    """Take out the rows of these batches, or of all batches of that run; None when nothing of them is in the table.

    Their objects are ``withdrawn`` and not imported again until they are reset; with the fate ``compensated`` the next
    run imports them again. Raises ImportFailed for a batch that the ledger does not know, one whose rows do not say
    where they came from, and while an import is unfinished.
    """
    while True:
        handle = require_table(context.table.uri)
        for _ in record_committed(context, handle):
            pass
        identity = context.identity(handle)
        recorded = Ledger(identity).recorded()
        open_batch = load_manifest(identity, recorded + 1)
        if open_batch is not None:
            _finish(context, identity, open_batch)
            continue
        manifest = _plan(context, handle, recorded, batches=batches, run_id=run_id, fate=fate)
        if manifest is None:
            return None
        failpoint("before_manifest")
        if store_manifest(identity, manifest):
            failpoint("after_manifest")
            return _carry(context, identity, manifest).summary


def _plan(
    context: ImportContext,
    handle: TableHandle,
    recorded: int,
    *,
    batches: Collection[int] | None,
    run_id: str | None,
    fate: Fate,
) -> Manifest | None:
    identity = context.identity(handle)
    ledger = Ledger(identity)
    if context.step.unnest:
        raise ImportFailed(
            "rows of a step with `unnest` cannot be withdrawn yet: their rows in child tables would stay",
            uri=identity.table_uri,
            hint="restore the table and its children to before these batches",
        )
    chosen = sorted(set(batches or ()) | set(batches_of_run(ledger, run_id) if run_id is not None else ()))
    unknown = [number for number in chosen if not 1 <= number <= recorded]
    if unknown:
        raise ImportFailed(
            f"the ledger has no batch {unknown[0]} of this import",
            uri=identity.table_uri,
            hint=f"it has recorded 1 to {recorded}: see `lakeray ledger show`",
        )
    if not chosen:
        return None
    listed = ", ".join(map(str, chosen))
    loads = live_loads(ledger.rows(f"batch IN ({listed}) OR takes IN ({listed})"))
    loads = loads.filter(pc.is_in(loads["takes"], value_set=pa.array(chosen, pa.int64())))
    silent = sorted(set(loads["takes"].filter(pc.invert(loads["provenance"])).to_pylist()))
    if silent:
        raise ImportFailed(
            f"the rows of batch {', '.join(map(str, silent))} do not say where they came from, so they cannot be found",
            uri=identity.table_uri,
            hint="set `provenance: true` at the table, which holds for batches from then on; for these, use "
            "`lakeray tables restore`, or delete their rows yourself",
        )
    if not loads.num_rows:
        return None
    return new_manifest(
        identity,
        batch=recorded + 1,
        source_uri=context.source.uri,
        objects=list(going(loads.sort_by([("takes", "ascending"), ("uri", "ascending")]), fate)),
        mode=context.mode,
        now=context.now(),
    )


def _finish(context: ImportContext, identity: ImportId, manifest: Manifest) -> None:
    """Finish a withdrawal that was planned; anything else needs an import."""
    if len(manifest.going) < len(manifest.objects):
        raise ImportFailed(
            f"batch {manifest.batch} was planned and is not finished, so nothing can be withdrawn yet",
            uri=identity.table_uri,
            hint="run the workflow, which finishes it, or close it with `lakeray ledger abandon`",
        )
    _carry(context, identity, manifest)


def _carry(context: ImportContext, identity: ImportId, manifest: Manifest) -> Done:
    last = last_result(identity)
    schema = schema_from_names(last.source_schema if last else {})
    checked = last.restores_checked if last else 0
    return BatchProtocol(context, identity).run(manifest, schema, restores_checked=checked)
