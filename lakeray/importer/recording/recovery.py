"""What a start does before it plans anything: bring ledger and table together, see what a RESTORE took away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lakeray.delta.log import find_transaction, find_transactions
from lakeray.delta.table import TableHandle, require_table
from lakeray.errors import WITHOUT_A_BACKUP, ExactlyOnceError, ImportFailed, RecordLost
from lakeray.importer.batch import BatchProtocol
from lakeray.importer.context import ImportContext
from lakeray.importer.identity import ImportId
from lakeray.importer.manifest import PlannedObject, is_planned, load_manifest
from lakeray.importer.recording.ledger import Ledger
from lakeray.importer.recording.restores import lost_batches
from lakeray.importer.result import RESULT_KEY, Result, accepted_name, load_result
from lakeray.objects import ObjectInfo


def record_committed(context: ImportContext, handle: TableHandle) -> Iterator[int]:
    """Record every batch that the table has and the ledger has not, from the result that its commit names.

    Yields their numbers. Raises ExactlyOnceError when the table knows less than the ledger, or a commit or result is
    gone.
    """
    identity = context.identity(handle)
    recorded = Ledger(identity).recorded()
    version = handle.transaction_version(identity.app_id)
    if (version or 0) < recorded:
        # Another importer may have gone on since the table was opened: only a look after the one at the ledger counts.
        handle = require_table(handle.uri)
        version = handle.transaction_version(identity.app_id)
    if (version or 0) < recorded:
        found = "no transaction id of this import" if version is None else f"batch {version} as the last"
        raise ExactlyOnceError(
            f"the ledger has recorded batch {recorded}, but the table knows {found}",
            uri=handle.uri,
            hint="the table was replaced by an older copy, or let its ids expire (unset its property "
            f"delta.setTransactionRetentionDuration); {WITHOUT_A_BACKUP}",
        )
    check_plans(identity, max(recorded, version or 0))
    protocol = BatchProtocol(context, identity)
    for result, table_version in committed_results(identity, handle, range(recorded + 1, (version or 0) + 1)):
        protocol.record(result, table_version=table_version)
        yield result.batch


def check_plans(identity: ImportId, newest: int) -> None:
    """Refuse to go on behind batch ``newest`` when a batch was planned that is only planned once the one behind it is
    recorded: table and ledger both forgot batches (expired ids and a lost ledger, say).
    """
    if not is_planned(identity, newest + 2):
        return
    handle = require_table(identity.table_uri)  # another importer may have got so far just now
    if (handle.transaction_version(identity.app_id) or 0) > newest:
        return
    raise ExactlyOnceError(
        f"batch {newest + 2} was planned, so batch {newest + 1} had been recorded, but neither table nor ledger "
        "know it",
        uri=identity.table_uri,
        hint=f"restore table and ledger from one backup; {WITHOUT_A_BACKUP}",
    )


def committed_results(identity: ImportId, handle: TableHandle, numbers: range) -> Iterator[tuple[Result, int]]:
    """The results that the table's commits of these batches name, with the table versions that they became.

    Raises RecordLost when a commit or a result is gone and nobody accepted that.
    """
    commits = find_transactions(handle.uri, app_id=identity.app_id, numbers=numbers, version=handle.version)
    for number in numbers:
        commit = commits.get(number)
        if commit is not None:
            yield load_result(identity, commit.metadata()[RESULT_KEY]), commit.version
            continue
        try:
            accepted = load_result(identity, accepted_name(number))
        except RecordLost as error:
            raise RecordLost(
                f"batch {number} is in the table and not in the ledger, and its commit is no longer in the table's log",
                uri=handle.uri,
                hint=f"restore the ledger folder from a backup or a bucket version; {WITHOUT_A_BACKUP}",
            ) from error
        yield accepted, 0


def last_result(identity: ImportId) -> Result | None:
    """The result of the last recorded batch, None when there is none."""
    handle = Ledger(identity).open()
    recorded = handle.transaction_version(identity.ledger_app_id) if handle else None
    if handle is None or not recorded:
        return None
    commit = find_transaction(handle.uri, app_id=identity.ledger_app_id, number=recorded, version=handle.version)
    if commit is None:
        raise ExactlyOnceError(
            f"the ledger's log no longer says how batch {recorded} was recorded",
            uri=identity.ledger_uri,
            hint="run `lakeray ledger rebuild`",
        )
    return load_result(identity, commit.metadata()[RESULT_KEY])


def reprocessed(identity: ImportId, batch: int) -> dict[str, Any] | None:
    """What the manifest of ``batch`` says beside its objects when it took rows out of quarantine; None for others."""
    manifest = load_manifest(identity, batch)
    return manifest.extra if manifest is not None and manifest.kind == "reprocess" else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Lost:
    """What RESTOREs up to table ``version`` took away: batch numbers with the objects to import again."""

    version: int
    batches: list[tuple[int, list[PlannedObject]]] = field(default_factory=list)


def lost_to_restore(context: ImportContext, handle: TableHandle, checked: int, note: Callable[[str], None]) -> Lost:
    """What to import again, when ``on_restore`` says so. Raises ImportFailed when it says ``ask``.

    Looks no further than ``handle``, whose batches are all recorded: a RESTORE behind it may have taken away a batch
    that the ledger does not know yet.
    """
    identity = context.identity(handle)
    if handle.version <= checked:
        return Lost(version=checked)
    ledger, overwrite = Ledger(identity), context.mode == "overwrite"
    lost = lost_batches(
        ledger,
        identity.table_uri,
        current=handle.version,
        checked=checked,
        overwrite=overwrite,
        partial=lambda batch: reprocessed(identity, batch) is not None,
    )
    if not lost:
        return Lost(version=handle.version)
    names = ", ".join(str(number) for number in lost)
    policy = context.plan.on_restore
    if policy == "ask":
        raise ImportFailed(
            f"a RESTORE took the rows of batch {names} out of the table",
            uri=identity.table_uri,
            hint="say what shall become of them: `on_restore: reimport` or `on_restore: keep` under "
            f"steps.{context.step_name}.import",
        )
    if policy == "keep":
        note(f"a RESTORE took the rows of batch {names} out of the table; on_restore: keep leaves it so")
        return Lost(version=handle.version)
    planned = [(number, [_again(row) for row in rows.sort_by("uri").to_pylist()]) for number, rows in lost.items()]
    return Lost(version=handle.version, batches=planned)


def _again(row: dict[str, Any]) -> PlannedObject:
    """What a ledger row says was done, to be done once more."""
    info = ObjectInfo(**{name: row[name] for name in ("uri", "size", "etag", "version_id", "modified_at")})
    if row["takes"] is not None:
        return PlannedObject.going(info, fate=row["outcome"], takes=row["takes"])
    return PlannedObject(info=info)
