"""Fresh objects cut into batches, in listing order, in bounded memory; behind them what goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import ImportFailed
from lakeray.importer.discovery.difference import Window
from lakeray.importer.manifest import PlannedObject
from lakeray.importer.provenance.gone import UNKNOWN_ROWS, Vanished, going
from lakeray.objects import ObjectInfo
from lakeray.spec.sources import Source
from lakeray.spec.steps import Batch

CHANGED = "this uri was loaded before in another version; changed_objects: ignore leaves the new version out"


@dataclass(kw_only=True, slots=True)
class Planner:
    """Cuts what windows hold into batches of at most ``limits`` objects and bytes, one object at least.

    An object and the earlier versions that it replaces are in one batch; objects that are gone share one with others
    unless ``apart``.
    """

    source: Source
    limits: Batch
    apart: bool = False
    retry_failed: bool = True
    listed: int = 0
    known: int = 0
    changed: int = 0
    deleted: int = 0
    vanished: Vanished = field(default_factory=Vanished)
    _held: list[PlannedObject] = field(default_factory=list)
    _held_bytes: int = 0

    def feed(self, window: Window) -> Iterator[list[PlannedObject]]:
        """Full batches that the window completes. Raises ImportFailed for a changed object when the policy says so."""
        self.count(window)
        if self.source.deleted_objects == "delete":
            self.vanished.add(window.vanished, held=window.held)
        for part in window.fresh.to_batches(max_chunksize=10_000):
            earlier = self._earlier(window, part)
            for planned in self._planned(part):
                replaced = earlier.get(planned.info.uri, [])
                if replaced is None:
                    planned = replace(planned, skip=UNKNOWN_ROWS)  # noqa: PLW2901
                yield from self._hold([*(replaced or []), planned])

    def count(self, window: Window) -> None:
        """Add the window's numbers to this planner's."""
        self.listed += window.listed
        self.known += window.known
        self.changed += window.changed
        self.deleted += window.deleted

    def finish(self) -> Iterator[list[PlannedObject]]:
        """What no batch has taken yet, and objects that are gone: call it only once the listing has come to its end.

        Raises ImportFailed when more are gone than the source's ``deletion_guard`` lets pass.
        """
        if self.source.deleted_objects == "delete":
            self.vanished.guard(self.source)
            if self.apart and self._held:
                yield self._take()
            for planned in self.vanished.objects():
                yield from self._hold([planned])
        rest = self._take()
        if rest:
            yield rest

    def _hold(self, group: list[PlannedObject]) -> Iterator[list[PlannedObject]]:
        """The batch that is full before the group joins it."""
        size_bytes = sum(0 if planned.skip else planned.info.size for planned in group)
        too_many = len(self._held) + len(group) > self.limits.max_objects
        if self._held and (too_many or self._held_bytes + size_bytes > self.limits.max_bytes):
            yield self._take()
        self._held.extend(group)
        self._held_bytes += size_bytes

    def _take(self) -> list[PlannedObject]:
        taken, self._held, self._held_bytes = self._held, [], 0
        return taken

    def _earlier(self, window: Window, part: pa.RecordBatch) -> dict[str, list[PlannedObject] | None]:
        """By uri the loads that a fresh object replaces; None when the rows of one do not say where they came from."""
        found: dict[str, list[PlannedObject] | None] = defaultdict(list)
        if self.source.changed_objects != "replace" or not window.replaced.num_rows:
            return {}
        loads = window.replaced.filter(pc.is_in(window.replaced["uri"], value_set=part["uri"]))
        for planned, says in zip(going(loads, "replaced"), loads["provenance"].to_pylist(), strict=True):
            known = found[planned.info.uri]
            found[planned.info.uri] = [*known, planned] if known is not None and says else None
        return found

    def _planned(self, part: pa.RecordBatch) -> Iterator[PlannedObject]:
        for row in part.to_pylist():
            tries, changed = row.pop("tries"), row.pop("changed")
            if tries and not self.retry_failed:
                continue
            if changed and self.source.changed_objects == "fail":
                raise ImportFailed(
                    f"the object {row['uri']} was changed after it had been imported",
                    uri=row["uri"],
                    hint="set changed_objects to `ignore`, `append` or `replace`, or restore the object's earlier "
                    "version",
                )
            skip = CHANGED if changed and self.source.changed_objects == "ignore" else None
            yield PlannedObject(info=ObjectInfo(**row), tries=tries, skip=skip)
