"""The child tables of a batch are committed to before its own table, all with one result.

Every attempt commits to the tables that the manifest has in the manifest's order, so that the first of them decides:
whoever finds the batch there takes the result that its commit names for all the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from lakeray.delta.commit import Mode, commit_once
from lakeray.delta.log import find_transaction
from lakeray.delta.turn import Committed
from lakeray.errors import ExactlyOnceError
from lakeray.failpoints import failpoint
from lakeray.importer.identity import ImportId
from lakeray.importer.result import RESULT_KEY, Result, load_result
from lakeray.importer.unnest.record import PlannedChild
from lakeray.importer.unnest.tables import child_identity, is_there, require_child


def decided(identity: ImportId, planned: Sequence[PlannedChild], batch: int) -> Result | None:
    """The result that the batch has for good because its first child table has it; None when it has none yet."""
    if not planned:
        return None
    handle = require_child(planned[0])
    app_id = child_identity(identity, planned[0].table_id).app_id
    if handle.transaction_version(app_id) != batch:
        return None
    commit = find_transaction(handle.uri, app_id=app_id, number=batch, version=handle.version)
    return None if commit is None else load_result(identity, commit.metadata()[RESULT_KEY])


def described(result: Result) -> dict[str, str]:
    """What a commit says of its batch."""
    return {RESULT_KEY: result.name, "lakeray.batch": str(result.batch), "lakeray.run": result.run_id}


def commit_batch(
    identity: ImportId,
    planned: Sequence[PlannedChild],
    result: Result,
    *,
    mode: Mode,
    schema: pa.Schema | None,
    schemas: Mapping[str, pa.Schema],
) -> tuple[Committed, Result]:
    """Commit the batch to its child tables, then to its own, or find it committed; the commit to its own table, and the
    result that the batch has for good.

    ``schema`` and ``schemas`` (by child) are those of ``result``'s files. Raises what ``commit_once`` raises; then the
    same call may be made again.
    """
    winner = _commit_children(identity, planned, result, mode=mode, schemas=schemas)
    committed = commit_once(
        identity.table_uri,
        app_id=identity.app_id,
        number=result.batch,
        previous=result.batch - 1,
        files=winner.files,
        mode="append" if winner.abandoned else mode,
        schema=schema if winner is result else None,
        metadata=described(winner),
        failpoints=True,
    )
    name = committed.metadata[RESULT_KEY]
    return committed, winner if name == winner.name else load_result(identity, name)


def _commit_children(
    identity: ImportId,
    planned: Sequence[PlannedChild],
    result: Result,
    *,
    mode: Mode,
    schemas: Mapping[str, pa.Schema],
) -> Result:
    """Commit the batch to its child tables, or find it committed; the result that its own table gets too."""
    winner, first = result, None
    for child in planned:
        if result.abandoned and not is_there(child):
            continue  # nobody else can commit to it either
        require_child(child)
        found = [item for item in winner.children if item.table_id == child.table_id]
        failpoint("before_child_commit")
        committed = commit_once(
            child.uri,
            app_id=child_identity(identity, child.table_id).app_id,
            number=result.batch,
            previous=child.previous,
            files=[file for item in found for file in item.files],
            mode="append" if winner.abandoned else mode,
            schema=schemas.get(child.name) if winner is result else None,
            metadata=described(winner),
            dense=child.previous is not None,
        )
        failpoint("after_child_commit")
        name = committed.metadata[RESULT_KEY]
        if name == winner.name:
            first = first or child
            continue
        if first is not None:
            raise ExactlyOnceError(
                f"batch {result.batch} is in {first.uri} with the result {winner.name}, but in {child.uri} with {name}",
                uri=child.uri,
                hint="this is a defect; compare the tables with their source",
            )
        winner, first = load_result(identity, name), child
    return winner
