"""Batches that a RESTORE of the table took away again.

RESTORE keeps the transaction ids and drops the rows (so does restoring forward again bring them back), which is why the ids alone cannot say
what is in the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.delta.upkeep import Restore, restores_since
from lakeray.importer.ledger import LOADED, Ledger, latest


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


def lost_batches(ledger: Ledger, table_uri: str, *, current: int, checked: int) -> dict[int, pa.Table]:
    """Batches whose rows are no longer in the table, with the ledger rows of their loaded objects.

    ``checked`` is the version up to which RESTOREs were dealt with before. An object that was imported again since, or reset, is not
    among the rows.
    """
    restores = restores_since(table_uri, checked)
    if not restores:
        return {}
    ranges = effective_versions(current, restores)
    candidates = ledger.rows(f"table_version > {min(item.to_version for item in restores)}")
    if not candidates.num_rows:
        return {}
    rows = latest(ledger.rows(f"batch >= {pc.min(candidates['batch']).as_py()}"))
    rows = rows.filter(pc.is_in(rows["outcome"], value_set=pa.array(LOADED)))
    ranges = effective_versions(current, restores)
    versions = pc.unique(rows["table_version"]).to_pylist()
    gone = [version for version in versions if not any(first <= version <= last for first, last in ranges)]
    rows = rows.filter(pc.is_in(rows["table_version"], value_set=pa.array(gone, pa.int64())))
    return {batch: rows.filter(pc.equal(rows["batch"], batch)) for batch in sorted(pc.unique(rows["batch"]).to_pylist())}
