"""Threads that are kept warm: work begins in one that is idle, or in a new one, and never waits for another's end.

Starting a thread makes its starter wait until the new one has run for the first time: for the one thread that drives
all runs that was most of what a short step cost.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

IDLE_S = 5.0
"""Seconds after which a thread with nothing to do ends."""
Work = Callable[[], object]


class WarmThreads:
    """As many daemon threads as there is work at once. Work raises nothing; any thread may start some."""

    def __init__(self, *, idle_s: float = IDLE_S) -> None:
        self._idle_s = idle_s
        self._handed: queue.SimpleQueue[tuple[str, Work]] = queue.SimpleQueue()
        self._free = 0
        self._lock = threading.Lock()

    def start(self, name: str, work: Work) -> None:
        """Do the work in a thread that is called ``name`` meanwhile."""
        with self._lock:
            waiting = self._free > 0
            self._free -= waiting
        if waiting:
            self._handed.put((name, work))
        else:
            threading.Thread(target=self._serve, args=(name, work), daemon=True).start()

    def _serve(self, name: str, work: Work) -> None:
        me = threading.current_thread()
        while True:
            me.name = name
            work()
            del work  # or what it holds would stay until there is other work
            me.name = "idle"
            with self._lock:
                self._free += 1
            try:
                name, work = self._handed.get(timeout=self._idle_s)
            except queue.Empty:
                with self._lock:
                    if self._free > 0:
                        self._free -= 1
                        return
                name, work = self._handed.get()  # somebody has counted on this thread at the last moment
