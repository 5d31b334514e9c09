"""The store's failpoints, whose dropped replies look like those of a store that went away."""

from __future__ import annotations

from typing import Literal

from lakeray.errors import StateUnavailable, StoreUnavailable
from lakeray.failpoints import failpoint

Passage = Literal["lease", "append", "settle", "send", "answer", "snapshot", "put", "forget"]


def crash_point(when: Literal["before", "after"], passage: Passage | None) -> None:
    """Do what a test asks for ``before`` the write is sent, or ``after`` it is stored and before that is told."""
    if passage is None:
        return
    try:
        failpoint(f"{when}_{passage}")
    except StoreUnavailable as dropped:
        raise StateUnavailable(dropped.message, hint=dropped.hint) from dropped
