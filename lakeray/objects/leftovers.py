"""What killed writers left behind that no listing shows."""

from __future__ import annotations

# ruff: noqa: PTH116, PTH118 - paths stay text, as in the local store
import os
from datetime import UTC, datetime

from lakeray.objects.local_listing import TEMPORARY
from lakeray.objects.uris import root_of, scheme


def leftovers(folder_uri: str, *, older_than: datetime) -> dict[str, int]:
    """Temporary files of the local store below a folder, by uri, with their sizes in bytes.

    Only those that nobody has written to since ``older_than``. Object stores have none: what a multipart upload left is
    taken by the bucket's lifecycle rule (``AbortIncompleteMultipartUpload``).
    """
    if scheme(folder_uri) != "file":
        return {}
    root = "file://" if root_of(folder_uri) == "file:///" else ""
    found: dict[str, int] = {}
    for folder, _, names in os.walk(folder_uri.removeprefix("file://")):
        for name in names:
            if not name.startswith(TEMPORARY):
                continue
            path = os.path.join(folder, name)
            try:
                about = os.stat(path)
            except FileNotFoundError:  # its writer has ended just now
                continue
            if datetime.fromtimestamp(about.st_mtime, tz=UTC) < older_than:
                found[root + path] = about.st_size
    return found
