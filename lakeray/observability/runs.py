"""What runs do, as log records of one logger; what is logged meanwhile by others says for which run."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

RUNS = "lakeray.runs"
"""The logger. People who look at a display are told the same there, so that it is silent where logs are text."""
_log = logging.getLogger(RUNS)


def trace_id(run_id: str) -> str:
    """The trace that a run belongs to: 32 hexadecimal digits, as in W3C Trace Context, from the run's id.

    A child run is named after its parent, and shares its trace.
    """
    return hashlib.blake2b(run_id.partition(".")[0].encode(), digest_size=16).hexdigest()


def wanted(level: int) -> bool:
    """Whether anybody reads records of this level, so that nobody makes them in vain."""
    return _log.isEnabledFor(level)


def record(level: int, what: str, *, run: str, **fields: object) -> None:
    """Write that something happened to a run. Fields without a value are left out."""
    said = {name: value for name, value in fields.items() if value is not None}
    _log.log(level, what, extra={**said, "run": run, "trace_id": trace_id(run)})


@contextmanager
def about_run(run: str, **fields: object) -> Iterator[None]:
    """Everything that this thread logs meanwhile carries ``run``, its trace and these fields."""
    said = {name: value for name, value in fields.items() if value is not None}
    with structlog.contextvars.bound_contextvars(run=run, trace_id=trace_id(run), **said):
        yield
