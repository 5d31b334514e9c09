"""What a person may do to a ledger: look, replay a subset, close a batch that cannot be finished, rebuild it."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.table import TableHandle, open_table
from lakeray.errors import ExactlyOnceError, ImportFailed, ObjectNotFound
from lakeray.importer.batch import BatchProtocol
from lakeray.importer.context import ImportContext
from lakeray.importer.ledger import SCHEMA, Ledger, latest
from lakeray.importer.manifest import load_manifest
from lakeray.importer.recovery import check_plans, committed_results, last_result, record_committed
from lakeray.objects import join, open_store


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
        ``lakeray.importer.ledger.SCHEMA``).
        """
        rows = self._matching(
            uri_glob=uri_glob,
            batches=None if batch is None else [batch],
            outcomes=None if outcome is None else [outcome],
        )
        rows = rows.sort_by([("batch", "descending"), ("uri", "ascending")])
        return rows if limit is None else rows.slice(0, limit)

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
        rows = self._matching(uri_glob=uri_glob, batches=batches, outcomes=outcomes)
        rows = rows.filter(pc.not_equal(rows["outcome"], "reset"))
        return Ledger(self._context.identity(self._handle())).reset(rows, now=self._context.now())

    def abandon(self) -> int:
        """Close the batch that was planned and not finished, with nothing in it; its number.

        Its objects are recorded as skipped; ``reset`` brings them back. Raises ImportFailed when no batch is open.
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
        again = f"`lakeray ledger reset --batch {manifest.batch}` has its objects imported"
        reason = f"batch {manifest.batch} was abandoned; {again}"
        BatchProtocol(self._context, identity).abandon(manifest, reason=reason, last=last_result(identity))
        return manifest.batch

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
                hint="there is nothing to rebuild from",
            )
        for _ in committed_results(identity, handle, range(1, committed + 1)):
            pass  # everything is there, or this raises
        check_plans(identity, committed)
        _clear(identity.ledger_uri)
        for _ in record_committed(self._context, handle):
            pass
        return int(Ledger(identity).rows().num_rows)

    def _matching(
        self, *, uri_glob: str | None, batches: Sequence[int] | None, outcomes: Sequence[str] | None
    ) -> pa.Table:
        rows = latest(Ledger(self._context.identity(self._handle())).rows())
        if batches is not None:
            rows = rows.filter(pc.is_in(rows["batch"], value_set=pa.array(batches, pa.int64())))
        if outcomes is not None:
            rows = rows.filter(pc.is_in(rows["outcome"], value_set=pa.array(outcomes, pa.string())))
        if uri_glob is not None:
            matches = [fnmatch.fnmatchcase(uri, uri_glob) for uri in rows["uri"].to_pylist()]
            rows = rows.filter(pa.array(matches, pa.bool_()))
        return rows if rows.num_rows else SCHEMA.empty_table()


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
