"""The versions of a Delta table as objects of a source: each log entry is one.

A log entry is a real object of the store, never written twice, so discovery, ledger, batches and preconditions hold
for versions as they do for files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import ImportFailed
from lakeray.importer.recording.ledger import Ledger
from lakeray.objects import SourcePattern, join
from lakeray.spec.sources import Source

_DIGITS = 20


def entry_uri(table_uri: str, version: int) -> str:
    """Where the log entry of a version is."""
    return join(table_uri.rstrip("/"), "_delta_log", f"{version:0{_DIGITS}d}.json")


def versions_pattern(source: Source) -> SourcePattern:
    """The log entries of the source's table, apart from checkpoints and whatever else a log holds."""
    folder = join(source.uri.rstrip("/"), "_delta_log", "")
    return SourcePattern.parse(folder + "[0-9]" * _DIGITS + ".json")


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionPages:
    """Lists the versions that a source asks for; called as a store's listing is."""

    source: Source
    pattern: SourcePattern
    list_pages: Callable[[str], Iterator[pa.RecordBatch]]
    ledger: Ledger | None

    def __call__(self, prefix: str) -> Iterator[pa.RecordBatch]:
        """Pages with schema ``LISTING``. Raises ImportFailed when versions that nobody imported are in the log no
        more.
        """
        pages = (self.pattern.filter(page) for page in self.list_pages(prefix))
        if self.source.delta.read == "snapshot":
            yield from _last(pages)
            return
        start = self.source.delta.starting_version
        first = True
        for page in pages:
            wanted = page.filter(pc.greater_equal(page["uri"], entry_uri(self.source.uri, start)))
            if first and wanted.num_rows:
                self._check_gap(wanted["uri"][0].as_py(), start)
                first = False
            yield wanted

    def _check_gap(self, uri: str, start: int) -> None:
        oldest = int(uri.rpartition("/")[2].removesuffix(".json"))
        if oldest == start:
            return
        before = entry_uri(self.source.uri, oldest - 1)
        earlier = entry_uri(self.source.uri, oldest - 2) if oldest > 1 else None
        if self.ledger is not None and self.ledger.scan(after=earlier, up_to=before, columns=("uri",)).num_rows:
            return
        raise ImportFailed(
            f"the log of {self.source.uri} begins at version {oldest}: what came before can be read no more",
            uri=self.source.uri,
            hint=f"set `delta: {{starting_version: {oldest}}}` to begin there; with `read: snapshot` and mode overwrite"
            " the table is imported as it is",
        )


def _last(pages: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    newest: pa.RecordBatch | None = None
    for page in pages:
        newest = page.slice(page.num_rows - 1) if page.num_rows else newest
    if newest is not None:
        yield newest
