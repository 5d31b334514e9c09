"""The step that does nothing, counted, and what a measurement of many of them tells."""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks.job import MARK

_CALLS: dict[int, list[float]] = defaultdict(list)
"""Moments by thread: appending to a list of one's own needs no lock."""


def nothing() -> None:
    """A step."""
    _CALLS[threading.get_ident()].append(time.perf_counter())


def taken() -> list[float]:
    """Moments of all calls since it was asked last, in order."""
    moments = sorted(moment for calls in list(_CALLS.values()) for moment in calls)
    _CALLS.clear()
    return moments


def told(
    *, seconds: float, runs: int, steps: int, in_history: int, at_once: int, calls: list[float], durability: str
) -> dict[str, Any]:
    """The result, when every step was called once and the engine's history holds every one.

    ``gap_ms``: from one step to the next of a run. With several at once it is what their number and rate say.
    """
    wanted = runs * steps
    if len(calls) != wanted or in_history != wanted:
        detail = f"{wanted} steps: {len(calls)} were called, {in_history} are in the history"
        return {"outcome": "wrong", "detail": detail}
    gap_s = seconds * at_once / wanted
    if at_once == 1:
        gap_s = statistics.median(
            calls[number + 1] - calls[number] for number in range(wanted - 1) if (number + 1) % steps
        )
    return {
        "outcome": "right",
        "seconds": seconds,
        "steps": wanted,
        "gap_ms": gap_s * 1e3,
        "durability": durability,
    }


def main(measure: Callable[..., dict[str, Any]]) -> None:
    """Do what the first argument of the command line says and print what came of it."""
    try:
        result = measure(**json.loads(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 - how an engine fails is a result too
        result = {"outcome": "fails", "detail": f"{type(error).__name__}: {error}"[:160]}
    print("\n" + MARK + json.dumps(result), flush=True)
