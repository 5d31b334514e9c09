"""The orchestrators of this process: one a state, opened by the first run that needs it and closed with the last.

An embedded state has one owning process. Another one that wants it waits for a moment, then says who has it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from lakeray.errors import LeaseHeld
from lakeray.runtime.durable.leases import LEASE_S
from lakeray.runtime.durable.orchestrator import Orchestrator
from lakeray.state import EventStore, open_event_store

WAIT_FOR_OWNER_S = 1.0
"""Seconds that a run waits for another process that owns the state, as one that is about to end lets it in; on a
server, where nobody knows at once that an owner has died, behind the end of its lease.
"""
_OWNED = (
    "a state file is for one process that runs workflows, and nothing was started: wait for its end (`lakeray runs` "
    "looks and steers meanwhile), give this run a state of its own (LAKERAY_STATE=sqlite:///.lakeray/other.db), or let "
    "several share one (LAKERAY_STATE=redis://host:6379/0)"
)
_SHARDS_OF_A_FILE = 1
"""One process writes a state file, so that more shards would only cost."""


@dataclass
class _Shared:
    orchestrator: Orchestrator
    store: EventStore
    users: int = 1


_OPEN: dict[str, _Shared] = {}
_LOCK = threading.Lock()


def open_state(uri: str) -> EventStore:
    """The store at ``uri``; a relative file is taken from the working directory. Owns nothing."""
    return open_event_store(absolute(uri), shards=_SHARDS_OF_A_FILE) if is_file(uri) else open_event_store(uri)


@contextmanager
def read_state(uri: str) -> Iterator[EventStore]:
    """The store to look at. Looking makes no file: where there is none, an empty store that leaves nothing behind."""
    if not is_file(uri) or Path(absolute(uri).removeprefix("sqlite:///")).exists():
        with open_state(uri) as store:
            yield store
        return
    with TemporaryDirectory(prefix="lakeray-") as folder, open_state(f"sqlite:///{folder}/none.db") as store:
        yield store


def is_file(uri: str) -> bool:
    """Whether the state is a file, which one process owns."""
    return uri.startswith("sqlite:///")


def absolute(uri: str) -> str:
    """The address, which means the same in every working directory of this machine."""
    return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).absolute()}" if is_file(uri) else uri


def patience_s(uri: str) -> float:
    """Seconds after which an owner that is still there is alive."""
    return WAIT_FOR_OWNER_S if is_file(uri) else WAIT_FOR_OWNER_S + LEASE_S


@contextmanager
def orchestrator_of(uri: str, clock: Callable[[], datetime], *, wait_s: float | None = None) -> Iterator[Orchestrator]:
    """The orchestrator of the state, which this process owns meanwhile. Raises LeaseHeld, naming who owns it."""
    key = absolute(uri)
    shared = _enter(key, uri, clock, time.monotonic() + (patience_s(uri) if wait_s is None else wait_s))
    try:
        yield shared.orchestrator
    finally:
        with _LOCK:
            shared.users -= 1
            if not shared.users:
                del _OPEN[key]
                shared.orchestrator.close()
                shared.store.close()


def _enter(key: str, uri: str, clock: Callable[[], datetime], give_up_at: float) -> _Shared:
    while True:
        with _LOCK:
            known = _OPEN.get(key)
            if known is not None:
                known.users += 1
                return known
            store = open_state(uri)
            orchestrator = Orchestrator(store, owner=owner_name(), clock=clock)
            try:
                orchestrator.open()
            except BaseException as error:
                store.close()
                if not isinstance(error, LeaseHeld):
                    raise
                if time.monotonic() >= give_up_at:
                    raise LeaseHeld(error.message, hint=_OWNED) from error
            else:
                shared = _OPEN[key] = _Shared(orchestrator, store)
                return shared
        time.sleep(0.1)


def owner_name() -> str:
    """Whoever owns a state now: unique over processes and restarts."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
