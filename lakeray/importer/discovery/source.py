"""The objects that a source declares, as filtered pages of a listing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.importer.discovery.versions import VersionPages, versions_pattern
from lakeray.importer.readers import ReadOptions
from lakeray.importer.recording.ledger import Ledger
from lakeray.objects import ObjectStore, SourcePattern, hive_columns, open_store, without_temporary
from lakeray.spec.sources import Source


@dataclass(kw_only=True, slots=True)
class Counts:
    """What a listing left out, and how much it saw."""

    seen: int = 0
    temporary: int = 0
    young: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """Lists one source.

    Left out are temporary and half-written names and names that the pattern does not match; ``counts`` says how many.
    Objects younger than ``min_age`` are ``young``.
    """

    source: Source
    pattern: SourcePattern
    store: ObjectStore
    now: Callable[[], datetime]
    list_pages: Callable[[str], Iterator[pa.RecordBatch]]
    counts: Counts = field(default_factory=Counts)

    def pages(self) -> Iterator[pa.RecordBatch]:
        """Pages with schema ``LISTING``, ascending by uri."""
        for page in self.list_pages(self.pattern.prefix):
            self.counts.seen += page.num_rows
            kept = self.pattern.filter(page)
            plain = without_temporary(kept, self.pattern.root)
            self.counts.temporary += kept.num_rows - plain.num_rows
            kept = plain
            if kept.num_rows:
                yield kept

    def rested(self, fresh: pa.Table) -> pa.Table:
        """The rows of ``fresh`` (at least the columns of ``LISTING``) whose objects have rested for ``min_age``; the
        others are counted.
        """
        if not self.source.min_age:
            return fresh
        limit = self.now() - timedelta(seconds=self.source.min_age)
        old = fresh.filter(pc.less_equal(fresh["modified_at"], pa.scalar(limit, pa.timestamp("us", tz="UTC"))))
        self.counts.young += fresh.num_rows - old.num_rows
        return old


def open_listing(
    source: Source,
    *,
    now: Callable[[], datetime],
    list_pages: Callable[[str], Iterator[pa.RecordBatch]] | None = None,
    ledger: Ledger | None = None,
) -> Listing:
    """Prepare the listing of a source; ``list_pages`` replaces the store's own listing (a parallel one, say). Of a
    Delta table the ``ledger`` tells what was imported before its log was cleaned up.
    """
    pattern = versions_pattern(source) if source.format == "delta" else SourcePattern.parse(source.uri)
    store = open_store(pattern.prefix)
    pages = list_pages or store.list
    if source.format == "delta":
        pages = VersionPages(source=source, pattern=pattern, list_pages=pages, ledger=ledger)
    return Listing(source=source, pattern=pattern, store=store, now=now, list_pages=pages)


def path_columns(source: Source, pattern: SourcePattern, uri: str) -> dict[str, str | None]:
    """Columns that an object's path gives: template captures, then hive segments."""
    columns: dict[str, str | None] = {}
    if source.partitions == "hive":
        columns |= hive_columns(uri, pattern.root)
    columns |= pattern.columns(uri)
    return columns


def read_options(source: Source, *, wire_schema: pa.Schema | None, chunk_bytes: int) -> ReadOptions:
    """How the readers shall read this source."""
    options: dict[str, object] = {}
    if source.format in ("csv", "tsv"):
        options = source.csv.model_dump(exclude={"columns"}) | {
            "delimiter": source.delimiter,
            "names": source.csv.columns,
        }
    elif source.format == "delta":
        options = source.delta.model_dump()
    elif source.format == "json":
        options = source.json_.model_dump()
    return ReadOptions(
        format=source.format,
        compression=None if source.compression == "auto" else source.compression,
        encoding=source.encoding or "utf-8",
        wire_schema=wire_schema,
        max_record_bytes=source.max_record_bytes,
        chunk_bytes=chunk_bytes,
        options=options,
    )
