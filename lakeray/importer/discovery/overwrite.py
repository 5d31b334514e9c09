"""The plan of ``mode: overwrite``: everything that is listed, in one batch, when anything differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import ImportFailed
from lakeray.importer.discovery.difference import compare
from lakeray.importer.discovery.planner import Planner
from lakeray.importer.discovery.source import Listing
from lakeray.importer.identity import ImportId
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.recording.ledger import SCHEMA, Ledger
from lakeray.objects import LISTING, ObjectInfo, join, open_store, relative

_PIPELINE = "lakeray.pipeline."


def overwrite_plan(
    listing: Listing, ledger: Ledger | None, planner: Planner, *, batch: int
) -> Iterator[list[PlannedObject]]:
    """At most one list of objects: none when the listing is what the last batch (number ``batch``) imported.

    The listing is held in memory. Raises ImportFailed when nothing is listed any more: an empty listing is more often
    a mistake than a wish.
    """
    listed = pa.Table.from_batches(listing.pages(), schema=LISTING)
    table = listing.rested(listed)
    rows = ledger.rows(f"batch = {batch}") if ledger and batch else SCHEMA.empty_table()
    young = listed["uri"].filter(pc.invert(pc.is_in(listed["uri"], value_set=pc.unique(table["uri"]))))
    if pc.any(pc.is_in(young, value_set=pc.unique(rows["uri"]))).as_py():
        return  # rewritten and still resting: neither its old rows nor its new ones may be missing, so the table waits
    window = compare(table, rows, listing.pattern.prefix)
    planner.count(window)
    if not window.fresh.num_rows and not window.deleted:
        return
    if not table.num_rows:
        raise ImportFailed(
            f"nothing is there any more under {listing.pattern.prefix}, and mode overwrite would empty the table",
            uri=listing.pattern.prefix,
            hint="check the source's uri; to empty the table, delete its rows yourself",
        )
    tries = dict(zip(window.fresh["uri"].to_pylist(), window.fresh["tries"].to_pylist(), strict=True))
    yield [PlannedObject(info=ObjectInfo(**row), tries=tries.get(row["uri"], 0)) for row in table.to_pylist()]


def other_imports(identity: ImportId, properties: Mapping[str, str]) -> list[str]:
    """The other imports that keep records in the table, as ``workflow/step``: an overwrite removes their rows.

    Of a workflow that did not create the table (``properties`` are the table's) only the uuid is known.
    """
    names = {uuid: name.removeprefix(_PIPELINE) for name, uuid in properties.items() if name.startswith(_PIPELINE)}
    root = join(identity.table_uri, "_lakeray", "")
    store = open_store(root)
    found: list[str] = []
    after: str | None = None
    while True:
        page = next(store.list(root, start_after=after), None)
        if page is None or not page.num_rows:
            return found
        pipeline, _, rest = relative(page["uri"][0].as_py(), root).partition("/")
        step = rest.partition("/")[0]
        if (pipeline, step) != (str(identity.pipeline), identity.step):
            found.append(f"{names.get(pipeline, pipeline)}/{step}")
        after = join(root, pipeline, step) + "/\U0010ffff"  # one listing for each import, whatever it keeps
