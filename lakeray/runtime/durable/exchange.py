"""A register changed by a pure function, however many change it at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lakeray.errors import RevisionConflict
from lakeray.state import EventStore

T = TypeVar("T")


def exchange(store: EventStore, key: str, change: Callable[[bytes | None], tuple[bytes | None, T]]) -> T:
    """Put what ``change`` makes of the register (None: there is none) and return what it says beside it.

    ``change`` is asked again whenever somebody else was faster. Raises StateUnavailable, after which the change may
    have happened: whoever asks again must not mind.
    """
    while True:
        known = store.get(key)
        before = known.data if known is not None else None
        after, said = change(before)
        if after == before:
            return said
        try:
            store.put(key, after, expected=known.revision if known is not None else 0)
        except RevisionConflict:
            continue
        return said
