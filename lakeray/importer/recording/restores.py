"""Batches that a RESTORE of the table took away again.

RESTORE keeps the transaction ids and drops the rows (so does restoring forward again bring them back), which is why
the ids alone cannot say what is in the table. What can is the history: the commits that the newest version rests on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.upkeep import Restore, restores_since
from lakeray.importer.provenance.gone import load_keys
from lakeray.importer.recording.ledger import GONE, LOADED, Ledger, identity_keys, latest


def effective_versions(current: int, restores: Sequence[Restore]) -> list[tuple[int, int]]:
    """Ranges (first, last) of table versions whose commits are in the table at version ``current``."""
    ranges: list[tuple[int, int]] = []
    at = current
    for restore in sorted(restores, key=lambda item: item.at_version, reverse=True):
        if restore.at_version <= at:
            ranges.append((restore.at_version, at))
            at = restore.to_version
    ranges.append((0, at))
    return ranges


def lost_batches(
    ledger: Ledger,
    table_uri: str,
    *,
    current: int,
    checked: int,
    overwrite: bool = False,
    partial: Callable[[int], bool] = lambda _: False,
) -> dict[int, pa.Table]:
    """Batches whose rows are no longer in the table, with the ledger rows of their loaded objects,
    and of those that they had taken out.

    ``checked`` is the version up to which RESTOREs were dealt with before: what those took away stays away. Not among
    the rows are objects that are in the table through another batch, or were reset since. With ``overwrite`` only the
    last batch counts, as only that one's rows were in the table. A ``partial`` batch took some rows of its objects
    only: it is lost by itself, but for objects that are imported again as a whole.
    """
    found = restores_since(table_uri, checked, upto=current)
    if not found:
        return {}
    restores = restores_since(table_uri, 0, lost_log="ignore", upto=checked) + found
    rows = _rows_since(ledger, min(item.to_version for item in restores))
    gone = _gone(pc.unique(rows["table_version"]).to_pylist(), restores, current=current, first=found[0].at_version)
    every = rows = _since_reset(rows)
    away = every.filter(pc.is_in(every["table_version"], value_set=pa.array(gone.lately, pa.int64())))
    parts = pa.array([batch for batch in pc.unique(away["batch"]).to_pylist() if partial(batch)], pa.int64())
    rows = every.filter(pc.invert(pc.is_in(every["batch"], value_set=parts)))
    loaded = rows.filter(pc.is_in(rows["outcome"], value_set=pa.array(LOADED)))
    there = loaded.filter(pc.invert(pc.is_in(loaded["table_version"], value_set=pa.array(gone.everything, pa.int64()))))
    lost = latest(rows)
    lost = lost.filter(pc.is_in(lost["outcome"], value_set=pa.array(LOADED)))
    if overwrite and lost.num_rows:
        lost = lost.filter(pc.equal(lost["batch"], pc.max(lost["batch"])))
    lost = lost.filter(pc.is_in(lost["table_version"], value_set=pa.array(gone.lately, pa.int64())))
    lost = lost.filter(pc.invert(pc.is_in(identity_keys(lost), value_set=identity_keys(there))))
    away = away.filter(pc.is_in(away["batch"], value_set=parts))
    away = away.filter(pc.invert(pc.is_in(identity_keys(away), value_set=identity_keys(lost))))
    lost = pa.concat_tables([lost, _brought_back(rows, gone), _not_again(away, every, gone.everything)])
    return {
        batch: lost.filter(pc.equal(lost["batch"], batch)) for batch in sorted(pc.unique(lost["batch"]).to_pylist())
    }


def _brought_back(rows: pa.Table, gone: _Gone) -> pa.Table:
    """Ledger rows of loads that a batch had taken out and that a RESTORE put into the table again."""
    removals = rows.filter(pc.is_in(rows["outcome"], value_set=pa.array(GONE)))
    back = pc.is_in(removals["table_version"], value_set=pa.array(gone.lately, pa.int64()))
    out = removals.filter(
        pc.invert(pc.is_in(removals["table_version"], value_set=pa.array(gone.everything, pa.int64())))
    )
    lost = removals.filter(back)
    return lost.filter(pc.invert(pc.is_in(load_keys(lost, "takes"), value_set=load_keys(out, "takes"))))


def _not_again(away: pa.Table, every: pa.Table, gone: list[int]) -> pa.Table:
    """Rows of ``away``, of partial batches, for whose object no later batch is in the table: one would be their replay,
    as that is the first thing to happen after a RESTORE, or a replay of the whole object.
    """
    there = latest(every.filter(pc.invert(pc.is_in(every["table_version"], value_set=pa.array(gone, pa.int64())))))
    newest = there["batch"].combine_chunks().take(pc.index_in(identity_keys(away), value_set=identity_keys(there)))
    return away.filter(pc.fill_null(pc.less(newest, away["batch"].combine_chunks()), True))


class _Gone:
    """Table versions whose commits the table does not rest on; ``lately``: because of RESTOREs that nobody has dealt
    with.
    """

    def __init__(self) -> None:
        self.everything: list[int] = []
        self.lately: list[int] = []


def _gone(versions: Sequence[int | None], restores: Sequence[Restore], *, current: int, first: int) -> _Gone:
    now = effective_versions(current, restores)
    before = effective_versions(first - 1, [item for item in restores if item.at_version < first])
    gone = _Gone()
    for version in versions:
        # A batch that was committed after the table was opened is none that a RESTORE took.
        if version is None or version > current or _within(version, now):
            continue
        gone.everything.append(version)
        if version >= first or _within(version, before):
            gone.lately.append(version)
    return gone


def _within(version: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= version <= last for first, last in ranges)


def _rows_since(ledger: Ledger, version: int) -> pa.Table:
    """All ledger rows from the first batch on that was committed after ``version``."""
    candidates = ledger.rows(f"table_version > {version}")
    return ledger.rows(f"batch >= {pc.min(candidates['batch']).as_py()}") if candidates.num_rows else candidates


def _since_reset(rows: pa.Table) -> pa.Table:
    """Without what was recorded of an object before a person reset it; a reset itself stays."""
    rows = rows.sort_by([("batch", "descending"), ("recorded_at", "descending")])
    keys = identity_keys(rows)
    place = pa.array(range(rows.num_rows), pa.int64())
    reset = pc.equal(rows["outcome"], "reset").combine_chunks()
    newest_reset = place.filter(reset).take(pc.index_in(keys, value_set=keys.filter(reset)))
    return rows.filter(pc.fill_null(pc.less_equal(place, newest_reset), True))
