"""Which listed objects a ledger does not know yet, found in memory that neither of the two can grow.

Both sides are walked in uri order, a window of the listing at a time: only the ledger rows between the window's first
and last uri are held. The comparison is exact: an object version is ``(uri, size, etag, version_id)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.discovery.source import Listing
from lakeray.importer.provenance.gone import COLUMNS as LOAD_COLUMNS
from lakeray.importer.provenance.gone import LOADS, live_loads
from lakeray.importer.recording.ledger import IDENTITY, LOADED, SCHEMA, identity_keys, latest, windows
from lakeray.objects import LISTING

WINDOW_ROWS = 250_000
_COLUMNS = (*IDENTITY, "batch", "outcome", "tries", "recorded_at")
_FINAL = pa.array(["loaded", "partly_loaded", "skipped", "poison", "withdrawn"])


class Known(Protocol):
    """A ledger, or several."""

    def scan(self, *, after: str | None, up_to: str | None, columns: tuple[str, ...]) -> pa.Table:
        """See ``Ledger.scan``."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """What one stretch of the listing holds.

    ``fresh`` has the listing's columns plus ``tries`` (int32, earlier failures) and ``changed`` (bool: another
    version of this uri was loaded before), one row an object to import. ``deleted`` counts loaded uris that are not
    listed any more. Where the source's policies take rows out, ``replaced`` and ``vanished`` are the loads (columns:
    ``gone.LOADS``) of objects that are fresh, or listed no more; ``held`` counts the uris of loads that are listed.
    """

    fresh: pa.Table
    listed: int
    known: int
    changed: int
    deleted: int
    replaced: pa.Table = field(default_factory=LOADS.empty_table)
    vanished: pa.Table = field(default_factory=LOADS.empty_table)
    held: int = 0


def rested_difference(listing: Listing, ledger: Known | None) -> Iterator[Window]:
    """What ``listing`` holds that the ledger does not settle, without objects that are too young: they are not fresh
    yet, and not deleted either.
    """
    takes_out = listing.source.changed_objects == "replace" or listing.source.deleted_objects == "delete"
    for window in difference(listing.pages(), ledger, prefix=listing.pattern.prefix, loads=takes_out):
        fresh = listing.rested(window.fresh)
        vanished = listing.pattern.filter(window.vanished)  # of a narrower uri than earlier imports had, say
        if listing.source.format == "delta":  # a log that is cleaned up takes no rows back
            window = replace(window, deleted=0)  # noqa: PLW2901
        if fresh is not window.fresh or vanished is not window.vanished:
            yield replace(window, fresh=fresh, changed=pc.sum(fresh["changed"]).as_py() or 0, vanished=vanished)
        else:
            yield window


def difference(
    pages: Iterator[pa.RecordBatch], ledger: Known | None, *, prefix: str, loads: bool = False
) -> Iterator[Window]:
    """Compare a listing (schema ``LISTING``, ascending by uri) of ``prefix`` with the ledger; without one everything
    is fresh. ``loads`` asks for what may have to be taken out of the table, too.
    """
    columns = (*_COLUMNS, *LOAD_COLUMNS) if loads else _COLUMNS
    if ledger is None:
        for table in windows(pages, rows=WINDOW_ROWS):
            yield compare(table, SCHEMA.empty_table(), prefix)
        return
    after: str | None = None
    pending: pa.Table | None = None
    for table in windows(pages, rows=WINDOW_ROWS):
        if pending is not None:
            last = pending["uri"][-1].as_py()
            yield compare(pending, ledger.scan(after=after, up_to=last, columns=columns), prefix, loads=loads)
            after = last
        pending = table
    rest = ledger.scan(after=after, up_to=None, columns=columns)
    if pending is not None:
        yield compare(pending, rest, prefix, loads=loads)
    elif rest.num_rows:
        deleted = _unlisted(latest(rest), pa.array([], pa.int32()), prefix)
        none = Window(fresh=_empty(), listed=0, known=0, changed=0, deleted=len(deleted))
        yield _with_loads(none, LISTING.empty_table(), rest, prefix) if loads else none


def compare(listing: pa.Table, rows: pa.Table, prefix: str, *, loads: bool = False) -> Window:
    """What ``listing`` holds that the ledger's ``rows`` do not settle."""
    if rows.num_rows == 0:
        count = listing.num_rows
        return Window(fresh=_fresh(listing, None, None), listed=count, known=0, changed=0, deleted=0)
    current = latest(rows)
    position = pc.index_in(identity_keys(listing), value_set=identity_keys(current))
    wanted = pc.invert(pc.fill_null(pc.is_in(_taken(current, "outcome", position), value_set=_FINAL), fill_value=False))
    elsewhere = _unlisted(current, position, prefix)
    fresh, position = listing.filter(wanted), position.filter(wanted)
    failed = pc.fill_null(pc.equal(_taken(current, "outcome", position), "failed"), fill_value=False)
    tries = pc.if_else(failed, _taken(current, "tries", position), pa.scalar(0, pa.int32()))
    changed = pc.and_(pc.is_null(position), pc.is_in(fresh["uri"].combine_chunks(), value_set=elsewhere))
    still = pc.sum(pc.is_in(listing["uri"], value_set=elsewhere)).as_py() or 0
    window = Window(
        fresh=_fresh(fresh, tries, changed),
        listed=listing.num_rows,
        known=listing.num_rows - fresh.num_rows,
        changed=pc.sum(changed).as_py() or 0,
        deleted=len(elsewhere) - still,
    )
    return _with_loads(window, listing, rows, prefix) if loads else window


def _with_loads(window: Window, listing: pa.Table, rows: pa.Table, prefix: str) -> Window:
    """The window with the loads whose objects are not what the listing says."""
    loads = live_loads(rows)
    loads = loads.filter(pc.starts_with(loads["uri"], prefix))
    listed = pc.is_in(loads["uri"], value_set=listing["uri"].combine_chunks())
    held = loads.filter(listed)
    return replace(
        window,
        replaced=held.filter(pc.is_in(held["uri"], value_set=window.fresh["uri"].combine_chunks())),
        vanished=loads.filter(pc.invert(listed)),
        held=pc.count_distinct(held["uri"]).as_py(),
    )


def _unlisted(current: pa.Table, position: pa.Array, prefix: str) -> pa.Array:
    """Distinct uris under ``prefix`` with a loaded version that is not the listed one: changed or deleted since."""
    seen = np.zeros(current.num_rows, dtype=bool)
    seen[position.drop_null().to_numpy()] = True
    loaded = pc.is_in(current["outcome"], value_set=pa.array(LOADED))
    rest = current["uri"].filter(pc.and_(loaded, pa.array(~seen)))
    return pc.unique(rest.filter(pc.starts_with(rest, prefix)))


def _taken(current: pa.Table, name: str, position: pa.Array) -> pa.Array:
    return current[name].combine_chunks().take(position)


def _fresh(listing: pa.Table, tries: pa.Array | None, changed: pa.Array | None) -> pa.Table:
    count = listing.num_rows
    none = pa.array([0] * count, pa.int32()) if tries is None else tries.cast(pa.int32())
    same = pa.array([False] * count) if changed is None else changed
    return listing.append_column("tries", none).append_column("changed", same)


def _empty() -> pa.Table:
    return _fresh(LISTING.empty_table(), None, None)
