"""What an import sees of its source where parts of it are claimed: the stream all but these, a part only itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.claims.claim import Claim, active, part_of
from lakeray.importer.discovery.difference import Window, rested_difference
from lakeray.importer.discovery.source import Listing
from lakeray.importer.provenance.gone import LOADS
from lakeray.importer.recording.ledger import Ledger

_LATER = 2**40
"""Added to a part's batch numbers, so that they come behind those of the stream, which knows nothing newer of them."""


@dataclass(frozen=True, kw_only=True)
class _Both:
    """The ledgers of the stream and of a part, read as one."""

    stream: Ledger
    part: Ledger

    def scan(self, *, after: str | None, up_to: str | None, columns: tuple[str, ...]) -> pa.Table:
        """See ``Ledger.scan``."""
        rows = self.part.scan(after=after, up_to=up_to, columns=columns)
        place = rows.schema.get_field_index("batch")
        later = pc.add(rows["batch"], pa.scalar(_LATER, pa.int64()))
        rows = rows.set_column(place, rows.schema.field(place), later)
        before = self.stream.scan(after=after, up_to=up_to, columns=columns)
        return pa.concat_tables([before, rows.cast(before.schema)])


def seen_by_stream(
    listing: Listing, ledger: Ledger | None, note: Callable[[str], None] = lambda _: None
) -> Iterator[Window]:
    """What the ledger's import has to do with: everything, but for what is claimed."""
    claims = active(ledger.identity) if ledger is not None else []
    if not claims or ledger is None:
        yield from rested_difference(listing, ledger)
        return
    parts = [Ledger(part_of(ledger.identity, claim.number)) for claim in claims]
    left = 0
    after: str | None = None
    for window in rested_difference(listing, ledger):
        if not window.fresh.num_rows:
            yield window
            continue
        uris = window.fresh["uri"].combine_chunks()
        up_to = uris[-1].as_py()
        claimed = pc.is_in(uris, value_set=_uris(parts, after=after, up_to=up_to))
        after = up_to
        for claim in claims:
            claimed = pc.or_(claimed, claim.range.mask(window.fresh, listing.source))
        mine = _only(window, window.fresh.filter(pc.invert(claimed)))
        left += window.fresh.num_rows - mine.fresh.num_rows
        yield mine
    if left:
        owners = ", ".join(sorted({claim.owner for claim in claims})[:5])
        note(f"{left} objects are left to {owners}: see `lakeray ledger claims`")


def seen_by_part(claim: Claim, listing: Listing, stream: Ledger, part: Ledger) -> Iterator[Window]:
    """What of the claim's range neither the stream nor the part has imported. Objects of which an earlier version was
    imported are left to the stream, and so is what goes.
    """
    both = _Both(stream=stream, part=part)
    for window in rested_difference(listing, both):
        fresh = window.fresh.filter(pc.invert(window.fresh["changed"]))
        fresh = fresh.filter(claim.range.mask(fresh, listing.source))
        alone = replace(_only(window, fresh), deleted=0, held=0)
        yield replace(alone, replaced=LOADS.empty_table(), vanished=LOADS.empty_table())


def _only(window: Window, fresh: pa.Table) -> Window:
    return replace(window, fresh=fresh, changed=pc.sum(fresh["changed"]).as_py() or 0)


def _uris(parts: list[Ledger], *, after: str | None, up_to: str) -> pa.Array:
    """Of the uris in ``(after, up_to]`` those imported under claims so far: another version of such an object is no
    business of the stream yet.
    """
    found = [part.scan(after=after, up_to=up_to, columns=("uri",)) for part in parts]
    return pa.concat_tables(found)["uri"].combine_chunks()
