"""The contract of an object store, in terms that local folders, S3 and Azure can all keep.

An *object* is one immutable version: ``(uri, size, etag, version_id)`` is its identity. A uri is ``scheme://bucket/``
followed by the raw key, never percent-encoded; a local path is its own uri (``/data/x`` or ``file:///data/x``, reported
as it was asked for).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol

import pyarrow as pa

LISTING = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("etag", pa.string()),
        pa.field("version_id", pa.string()),
        pa.field("modified_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
"""Columns of one page of a listing. ``size`` is in bytes. ``etag`` is without quotes; for a local file it is
``<mtime_ns>-<inode>`` in hexadecimal, so that two writes in one clock tick differ."""


Ranges = list[tuple[str, str | None]]
"""Ranges ``(start_after, up_to)`` of uris, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """One object version."""

    uri: str
    size: int
    etag: str | None
    version_id: str | None
    modified_at: datetime


class ObjectStore(Protocol):
    """Objects by uri.

    Every method raises the errors of ``lakeray.errors.ObjectError`` with the uri and what to do, within about 10 s when
    the endpoint, the bucket or the credentials are wrong. Implementations hold no open connection across a pickle and
    are safe to use from several threads.
    """

    def list(self, prefix: str, *, start_after: str | None = None) -> Iterator[pa.RecordBatch]:
        """Pages (schema ``LISTING``, at most 10,000 rows each) of all objects whose uri begins with ``prefix``.

        - Strictly ascending by the UTF-8 bytes of the uri over all pages, recursive, "directories" are not objects.
        - Only uris greater than ``start_after``.
        - An absent bucket or local folder raises ObjectNotFound; an empty one yields nothing.
        - Memory is bounded by a page (locally by the largest single folder).
        """
        ...

    def split(self, prefix: str, parts: int) -> Ranges:
        """At most ``parts`` disjoint ranges ``(start_after, up_to)`` that cover ``prefix``, for parallel listing.

        ``list(prefix, start_after=a)`` cut after ``up_to`` (inclusive, None for the end) over all ranges in order
        equals ``list(prefix)``.
        """
        ...

    def head(self, uri: str) -> ObjectInfo:
        """What is stored under ``uri`` now. Raises ObjectNotFound."""
        ...

    def read(self, uri: str, *, offset: int = 0, length: int | None = None, match: ObjectInfo | None = None) -> bytes:
        """``length`` bytes from ``offset`` (to the end when None; short at the end).

        With ``match``, raises ObjectChanged unless the object is still that version: the condition travels with the
        request where the store can check it, so that no byte of another version is ever returned.
        """
        ...

    def open(self, uri: str, *, match: ObjectInfo | None = None) -> BinaryIO:
        """A seekable buffered reader; every read behind it carries the precondition ``match`` as in ``read``."""
        ...

    def create(self, uri: str, data: bytes) -> None:
        """Create-if-absent, atomically: of any number of racing callers one returns, the others get ObjectExists.

        A lost reply is not mistaken for another's write: if the stored bytes turn out to be this call's own, it
        returns. Callers make ``data`` unique (a nonce) where this matters. A crash leaves all of ``data`` or nothing
        under ``uri``. Missing local parent folders are made.
        """
        ...

    def put(self, uri: str, data: bytes) -> None:
        """Write or replace, atomically."""
        ...

    def open_write(self, uri: str) -> BinaryIO:
        """A writer that streams (multipart where it matters); the object appears whole at ``close()``, or not at all.

        On error call ``discard()`` on it, where it has one, instead of ``close()``. Replaces what is there.
        """
        ...

    def delete(self, uri: str) -> None:
        """Remove the object; one that is absent is no error."""
        ...

    def copy(self, source: str, target: str) -> None:
        """Copy within the store. Raises ObjectNotFound."""
        ...
