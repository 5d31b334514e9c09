"""Waiting for something to become true, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(check: Callable[[], T], within_s: float, *, every_s: float = 0.05) -> T:
    """The first truthy result of ``check()``.

    An exception counts as not yet; after ``within_s`` seconds the last one is raised, or AssertionError with the last
    result.
    """
    deadline = time.monotonic() + within_s
    while True:
        error: Exception | None = None
        result: T | None = None
        try:
            result = check()
        except Exception as raised:  # noqa: BLE001 - whatever it is, it may pass
            error = raised
        if error is None and result:
            return result
        if time.monotonic() > deadline:
            if error is not None:
                raise error
            raise AssertionError(f"not within {within_s} s: {check} gave {result!r}")
        time.sleep(every_s)
