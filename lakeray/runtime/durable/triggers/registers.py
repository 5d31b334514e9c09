"""Small documents in the store that any number of processes change at once, one compare-and-set a change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from lakeray.runtime.durable.exchange import exchange
from lakeray.state import EventStore
from lakeray.workflow.kept import decode, encode

T = TypeVar("T", bound=msgspec.Struct)


class Registers(Generic[T]):
    """Documents of one kind under ``prefix``, as JSON. One of a later format is refused with KeptUnreadable."""

    def __init__(self, store: EventStore, prefix: str, kind: type[T], *, format_: int = 1) -> None:
        self._store = store
        self._prefix = prefix
        self._format = format_
        self._kind = kind

    def names(self, prefix: str = "") -> list[str]:
        """Those that there are, in order."""
        return [key.removeprefix(self._prefix) for key in self._store.keys(self._prefix + prefix)]

    def get(self, name: str) -> T | None:
        """The document; None when there is none."""
        return self.read(name)[0]

    def read(self, name: str) -> tuple[T | None, int]:
        """The document and its revision; None and 0 when there is none."""
        found = self._store.get(self._prefix + name)
        if found is None:
            return None, 0
        document = decode(found.data, self._kind, newest=self._format)
        return document, found.revision

    def put(self, name: str, document: T | None, *, expected: int) -> None:
        """Store it, or remove it (None), where it is at that revision. Raises RevisionConflict where it is not."""
        data = None if document is None else encode(document)
        self._store.put(self._prefix + name, data, expected=expected)

    def change(self, name: str, change: Callable[[T | None], T | None]) -> T | None:
        """The document as ``change`` makes it, asked again when somebody else was faster; what is equal is not written.

        ``change`` may be asked several times and decides on what it is given alone.
        """

        def changed(data: bytes | None) -> tuple[bytes | None, T | None]:
            after = change(None if data is None else decode(data, self._kind, newest=self._format))
            return None if after is None else encode(after), after

        return exchange(self._store, self._prefix + name, changed)
