"""Which listed objects a ledger does not know yet, found in memory that neither of the two can grow.

Both sides are walked in uri order, a window of the listing at a time: only the ledger rows between the window's first
and last uri are held. The comparison is exact: an object version is ``(uri, size, etag, version_id)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.ledger import IDENTITY, LOADED, SCHEMA, Ledger, identity_keys, latest, windows
from lakeray.importer.source import Listing
from lakeray.objects import LISTING

WINDOW_ROWS = 500_000
_COLUMNS = (*IDENTITY, "batch", "outcome", "tries", "recorded_at")
_FINAL = pa.array(["loaded", "partly_loaded", "skipped", "poison"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What one stretch of the listing holds.

    ``fresh`` has the listing's columns plus ``tries`` (int32, earlier failures) and ``changed`` (bool: another
    version of this uri was loaded before), one row an object to import. ``deleted`` counts loaded uris that are not
    listed any more.
    """

    fresh: pa.Table
    listed: int
    known: int
    changed: int
    deleted: int


def rested_difference(listing: Listing, ledger: Ledger | None) -> Iterator[Window]:
    """What ``listing`` holds that the ledger does not settle, without objects that are too young: they are not fresh
    yet, and not deleted either.
    """
    for window in difference(listing.pages(), ledger, prefix=listing.pattern.prefix):
        fresh = listing.rested(window.fresh)
        yield (
            window
            if fresh is window.fresh
            else replace(window, fresh=fresh, changed=pc.sum(fresh["changed"]).as_py() or 0)
        )


def difference(pages: Iterator[pa.RecordBatch], ledger: Ledger | None, *, prefix: str) -> Iterator[Window]:
    """Compare a listing (schema ``LISTING``, ascending by uri) of ``prefix`` with the ledger; without one everything
    is fresh.
    """
    if ledger is None:
        for table in windows(pages, rows=WINDOW_ROWS):
            yield compare(table, SCHEMA.empty_table(), prefix)
        return
    after: str | None = None
    pending: pa.Table | None = None
    for table in windows(pages, rows=WINDOW_ROWS):
        if pending is not None:
            last = pending["uri"][-1].as_py()
            yield compare(pending, ledger.scan(after=after, up_to=last, columns=_COLUMNS), prefix)
            after = last
        pending = table
    rest = ledger.scan(after=after, up_to=None, columns=_COLUMNS)
    if pending is not None:
        yield compare(pending, rest, prefix)
    elif rest.num_rows:
        deleted = _loaded_uris(latest(rest), prefix)
        yield Window(fresh=_empty(), listed=0, known=0, changed=0, deleted=len(deleted))


def compare(listing: pa.Table, rows: pa.Table, prefix: str) -> Window:
    """What ``listing`` holds that the ledger's ``rows`` do not settle."""
    if rows.num_rows == 0:
        count = listing.num_rows
        return Window(fresh=_fresh(listing, None, None), listed=count, known=0, changed=0, deleted=0)
    current = latest(rows)
    position = pc.index_in(identity_keys(listing), value_set=identity_keys(current))
    outcome = current["outcome"].combine_chunks().take(position)
    wanted = pc.invert(pc.fill_null(pc.is_in(outcome, value_set=_FINAL), False))
    loaded = _loaded_uris(current, prefix)
    fresh = listing.filter(wanted)
    failed = pc.fill_null(pc.equal(outcome, "failed"), False)
    tries = pc.if_else(failed, current["tries"].combine_chunks().take(position), pa.scalar(0, pa.int32()))
    unseen = pc.is_null(outcome)
    changed = pc.and_(unseen, pc.is_in(listing["uri"].combine_chunks(), value_set=loaded)).filter(wanted)
    gone = pc.sum(pc.invert(pc.is_in(loaded, value_set=listing["uri"].combine_chunks()))).as_py() or 0
    return Window(
        fresh=_fresh(fresh, tries.filter(wanted), changed),
        listed=listing.num_rows,
        known=listing.num_rows - fresh.num_rows,
        changed=pc.sum(changed).as_py() or 0,
        deleted=gone,
    )


def _loaded_uris(current: pa.Table, prefix: str) -> pa.Array:
    """Distinct uris under ``prefix`` of which some version is in the table."""
    loaded = pc.is_in(current["outcome"], value_set=pa.array(LOADED))
    uris = current["uri"].filter(pc.and_(loaded, pc.starts_with(current["uri"], prefix)))
    return pc.unique(uris)


def _fresh(listing: pa.Table, tries: pa.Array | None, changed: pa.Array | None) -> pa.Table:
    count = listing.num_rows
    none = pa.array([0] * count, pa.int32()) if tries is None else tries.cast(pa.int32())
    same = pa.array([False] * count) if changed is None else changed
    return listing.append_column("tries", none).append_column("changed", same)


def _empty() -> pa.Table:
    return _fresh(LISTING.empty_table(), None, None)
