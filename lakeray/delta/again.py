"""Work on the newest version of a table is done again on a newer one while others are faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lakeray.delta.failures import is_conflict, is_foreign, translated
from lakeray.delta.table import TableHandle, require_table

_TRIES = 20
_Answer = TypeVar("_Answer")


def again_on_conflict(uri: str, doing: str, work: Callable[[TableHandle], _Answer]) -> _Answer:
    """Do ``work`` on a fresh handle, and again on another while others are faster. Raises CommitConflict when they
    always are, and delta-rs's errors as lakeray's; ``doing`` is part of their text.
    """
    tries = 0
    while True:
        try:
            return work(require_table(uri))
        except Exception as error:
            tries += 1
            if is_conflict(error) and tries < _TRIES:
                continue
            if is_foreign(error):
                raise translated(error, uri, doing) from error
            raise
