"""A container is listed here in the UTF-8 order of its names, whatever order the service has."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobPrefix

from lakeray.errors import ObjectError
from lakeray.objects.azure_client import AzureClient

_PAGE_ROWS: Final = 5000
_FIRST_AMBIGUOUS: Final = "\ue000"


class Listing:
    """Blobs of one container in the order of their names.

    ``hierarchical`` accounts are listed one folder at a time and sorted; flat ones in the service's order, which is
    checked.
    """

    def __init__(self, line: AzureClient, container: str, root: str, *, hierarchical: bool) -> None:
        self._client = line
        self._container = line.container(container)
        self._root = root
        self._hierarchical = hierarchical

    def pages(self, prefix: str, after: str) -> Iterator[list[BlobProperties]]:
        """All blobs below ``prefix`` with a name above ``after``, without folder markers, ascending."""
        if after > prefix and not after.startswith(prefix):
            return
        if self._hierarchical or (after.startswith(prefix) and "/" in after[len(prefix) :]):
            yield from self._walk(prefix, after)
        else:
            yield from self._flat(prefix, after)

    def _walk(self, prefix: str, after: str) -> Iterator[list[BlobProperties]]:
        """``pages`` by one listing a folder, each sorted here."""
        blobs: list[BlobProperties] = []
        for each in self.folder(prefix):
            if not isinstance(each, BlobPrefix):
                if each.name > after and not _is_marker(each):
                    blobs.append(each)
                continue
            if each.name < after and not after.startswith(each.name):
                continue
            if blobs:
                yield blobs
                blobs = []
            yield from self.pages(each.name, after)
        for start in range(0, len(blobs), _PAGE_ROWS):
            yield blobs[start : start + _PAGE_ROWS]

    def _flat(self, prefix: str, after: str) -> Iterator[list[BlobProperties]]:
        token, last = None, ""
        while True:
            blobs, token = self.page(prefix, token, delimiter=None)
            good = _unambiguous(blobs, len(prefix))
            names = [last, *(blob.name for blob in blobs[:good])]
            if any(first >= second for first, second in itertools.pairwise(names) if first):
                raise self._disorder(prefix)
            kept = [blob for blob in blobs[:good] if blob.name > after and not _is_marker(blob)]
            if kept:
                yield kept
            last = names[-1]
            if good < len(blobs):
                yield from self._walk(prefix, max(after, last))
                return
            if not token:
                return

    def _disorder(self, prefix: str) -> ObjectError:
        return ObjectError(
            f"{self._root}{prefix} is listed out of order",
            hint="if the account has a hierarchical namespace, address it as "
            "abfss://container@account.dfs.core.windows.net/... with an identity that may "
            "read the account's information",
            uri=self._root + prefix,
        )

    def folder(self, prefix: str) -> list[Any]:
        """Blobs with BlobPrefix entries directly under ``prefix``, ascending."""
        found: list[Any] = []
        token = None
        while True:
            page, token = self.page(prefix, token, delimiter="/")
            found += page
            if not token:
                return sorted(found, key=lambda each: each.name)

    def page(self, prefix: str, token: str | None, *, delimiter: str | None) -> tuple[list[Any], str | None]:
        """One page of blobs (and BlobPrefix entries with a ``delimiter``) with the token of the next.

        None at the end.
        """
        options: dict[str, Any] = {"name_starts_with": prefix, "results_per_page": _PAGE_ROWS}
        if self._hierarchical:
            options["include"] = ["metadata"]

        async def get() -> tuple[list[Any], str | None]:
            if delimiter:
                items = self._container.walk_blobs(delimiter=delimiter, **options)
            else:
                items = self._container.list_blobs(**options)
            pages = items.by_page(continuation_token=token)
            async for page in pages:
                return [each async for each in page], pages.continuation_token
            return [], None

        return self._client.call(self._root + prefix, get)


def _unambiguous(blobs: list[BlobProperties], start: int) -> int:
    """How many names, from the first on, sort alike by UTF-8 and by UTF-16, which the emulator goes by.

    Those are names without a character above U+DFFF: whatever is listed later is greater than all of them in both
    orders.
    """
    for count, blob in enumerate(blobs):
        name = blob.name
        if not name.isascii() and max(name[start:], default="") >= _FIRST_AMBIGUOUS:
            return count
    return len(blobs)


def _is_marker(blob: BlobProperties) -> bool:
    return not blob.size and (blob.name.endswith("/") or (blob.metadata or {}).get("hdi_isfolder") == "true")
