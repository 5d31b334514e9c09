"""Registered sources, every version of them, as JSON documents that any tool can read.

A version is ``<catalog>/sources/<tenant>/<workflow>.<source>/<number, six digits>.json``, written with
create-if-absent: versions are never changed.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from lakeray.errors import ObjectExists, ObjectNotFound
from lakeray.objects import join, open_store


class SourceEntry(BaseModel):
    """A source as it was seen. ``schema_`` maps columns to type names; sizes are in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str
    workflow: str
    source: str
    uri: str
    format: str
    columns: dict[str, str]
    objects: int
    size_bytes: int
    oldest: datetime | None
    newest: datetime | None
    registered_at: datetime


def _folder(catalog: str, tenant: str, workflow: str, source: str) -> str:
    return join(catalog, "sources", tenant, f"{workflow}.{source}")


def versions(catalog: str, *, tenant: str, workflow: str, source: str) -> list[str]:
    """Uris of a source's versions, oldest first; empty when it was never registered."""
    folder = _folder(catalog, tenant, workflow, source)
    try:
        return [uri for page in open_store(folder).list(join(folder, "")) for uri in page["uri"].to_pylist()]
    except ObjectNotFound:
        return []


def register_source(catalog: str, entry: SourceEntry) -> str:
    """Store ``entry`` as the source's next version; its uri."""
    folder = _folder(catalog, entry.tenant, entry.workflow, entry.source)
    store = open_store(folder)
    number = len(versions(catalog, tenant=entry.tenant, workflow=entry.workflow, source=entry.source))
    while True:
        number += 1
        uri = join(folder, f"{number:06d}.json")
        try:
            store.create(uri, entry.model_dump_json(indent=2).encode())
        except ObjectExists:
            continue
        return uri


def load_source(catalog: str, *, tenant: str, workflow: str, source: str) -> SourceEntry | None:
    """The newest version of a source, None when it was never registered."""
    known = versions(catalog, tenant=tenant, workflow=workflow, source=source)
    return SourceEntry.model_validate_json(open_store(known[-1]).read(known[-1])) if known else None
