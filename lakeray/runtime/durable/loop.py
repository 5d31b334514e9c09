"""One thread that does what it is handed, in order, and some of it later."""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)
Post = Callable[[], None]


class Loop:
    """``tick`` is done at least every ``every_s`` seconds. What raises is logged, and the loop goes on."""

    def __init__(self, name: str, tick: Post, every_s: float) -> None:
        self._tick = tick
        self._every_s = every_s
        self._ticked = time.monotonic()
        self._posts: queue.SimpleQueue[Post | None] = queue.SimpleQueue()
        self._later: list[tuple[float, int, Post]] = []
        self._count = itertools.count()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Do what was handed in so far, then no more."""
        self._posts.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def post(self, work: Post) -> None:
        """Do something soon; from any thread."""
        self._posts.put(work)

    def post_in(self, seconds: float, work: Post) -> None:
        """Do something in so many seconds; from the loop's own thread."""
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._count), work))

    def _run(self) -> None:
        while True:
            try:
                post = self._posts.get(timeout=self._patience())
            except queue.Empty:
                post = None
                self._safely(self._due)
            else:
                if post is None:
                    return
                self._safely(post)
                self._safely(self._due)

    def _patience(self) -> float:
        due = self._ticked + self._every_s
        if self._later:
            due = min(due, self._later[0][0])
        return max(0.0, due - time.monotonic())

    def _due(self) -> None:
        now = time.monotonic()
        if now - self._ticked >= self._every_s:
            self._ticked = now
            self._safely(self._tick)
        while self._later and self._later[0][0] <= now:
            self._safely(heapq.heappop(self._later)[2])

    @staticmethod
    def _safely(work: Post) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - one run's defect may not end the loop of all
            _log.exception("a defect: the orchestrator goes on without it")
