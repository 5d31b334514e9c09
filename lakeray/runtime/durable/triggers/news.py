"""What object stores, or people, told of new objects, kept in the store until every trigger has heard it.

A notice is only news: what is imported is found by looking. One that comes twice is known by its id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

import msgspec

from lakeray.errors import RevisionConflict
from lakeray.objects import SourcePattern
from lakeray.runtime.durable.triggers.apart import apart
from lakeray.runtime.durable.triggers.registers import Registers
from lakeray.spec.model import Workflow
from lakeray.spec.triggers import Arrival
from lakeray.state import EventStore

POSTED = "posted"
"""Where a notice came from that nobody's queue brought."""
FORMAT = 1
"""Of what is kept here."""
_AT_ONCE = 100


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """The object at ``uri`` is new; ``origin`` is the queue's address, or ``posted``."""

    uri: str
    notice_id: str
    origin: str = POSTED

    def is_for(self, workflow: Workflow, said: Arrival) -> bool:
        """Whether a trigger listens there, and the object belongs to its source."""
        listens = said.posted if self.origin == POSTED else said.queue == self.origin
        return listens and SourcePattern.parse(workflow.sources[said.source].uri).match(self.uri)


class Notices(msgspec.Struct, frozen=True, kw_only=True):
    """Notices that came together."""

    notices: tuple[Notice, ...]
    at: datetime
    format: int = FORMAT


class News:
    """The notices of a store that triggers have not heard yet."""

    def __init__(self, store: EventStore) -> None:
        self._kept = Registers(store, "triggers/news/", Notices, format_=FORMAT)
        self._read: dict[str, int] = {}

    def add(self, notices: Sequence[Notice], at: datetime) -> None:
        """Keep notices; the same ones again are the same."""
        if notices:
            digest = hashlib.sha256("\n".join(each.notice_id for each in notices).encode()).hexdigest()[:32]
            together = Notices(notices=tuple(notices), at=at)
            self._kept.change(digest, lambda before: before or together)

    def waiting(self) -> list[Notice]:
        """The next ones to be heard."""
        found: list[Notice] = []
        for name in self._kept.names()[:_AT_ONCE]:
            with apart(f"the notices {name}"):
                document, self._read[name] = self._kept.read(name)
                found.extend(document.notices if document is not None else ())
        return found

    def heard(self, notices: Sequence[Notice]) -> None:
        """Let go of those that ``waiting`` gave."""
        for name, revision in self._read.items() if notices else ():
            try:
                self._kept.put(name, None, expected=revision)
            except RevisionConflict:  # another heard them too
                continue
        self._read.clear()
