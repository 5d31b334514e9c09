"""Fresh objects cut into batches, in listing order, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from lakeray.errors import ImportFailed
from lakeray.importer.difference import Window
from lakeray.importer.manifest import PlannedObject
from lakeray.objects import ObjectInfo
from lakeray.spec.sources import Source
from lakeray.spec.steps import Batch

CHANGED = "this uri was loaded before in another version; changed_objects: ignore leaves the new version out"


@dataclass(kw_only=True, slots=True)
class Planner:
    """Cuts what windows hold into batches of at most ``limits`` objects and bytes, one object at least."""

    source: Source
    limits: Batch
    retry_failed: bool = True
    listed: int = 0
    known: int = 0
    changed: int = 0
    deleted: int = 0
    _held: list[PlannedObject] = field(default_factory=list)
    _held_bytes: int = 0

    def feed(self, window: Window) -> Iterator[list[PlannedObject]]:
        """Full batches that the window completes. Raises ImportFailed for a changed object when the policy says so."""
        self.count(window)
        for part in window.fresh.to_batches(max_chunksize=10_000):
            for planned in self._planned(part):
                if self._held and self._is_full(planned):
                    yield self._take()
                self._held.append(planned)
                self._held_bytes += 0 if planned.skip else planned.info.size

    def count(self, window: Window) -> None:
        """Add the window's numbers to this planner's."""
        self.listed += window.listed
        self.known += window.known
        self.changed += window.changed
        self.deleted += window.deleted

    def rest(self) -> list[PlannedObject]:
        """What no batch has taken yet."""
        return self._take()

    def _is_full(self, planned: PlannedObject) -> bool:
        too_many = len(self._held) >= self.limits.max_objects
        return too_many or self._held_bytes + planned.info.size > self.limits.max_bytes

    def _take(self) -> list[PlannedObject]:
        taken, self._held, self._held_bytes = self._held, [], 0
        return taken

    def _planned(self, part: pa.RecordBatch) -> Iterator[PlannedObject]:
        for row in part.to_pylist():
            tries, changed = row.pop("tries"), row.pop("changed")
            if tries and not self.retry_failed:
                continue
            if changed and self.source.changed_objects == "fail":
                raise ImportFailed(
                    f"the object {row['uri']} was changed after it had been imported",
                    uri=row["uri"],
                    hint="set changed_objects to `ignore` or `append`, or restore the object's earlier version",
                )
            skip = CHANGED if changed and self.source.changed_objects == "ignore" else None
            yield PlannedObject(info=ObjectInfo(**row), tries=tries, skip=skip)
