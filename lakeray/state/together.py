"""What several threads ask for while a write is on its way is written together next."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar

from lakeray.errors import StateUnavailable


class Asked(Protocol):
    """Whoever asked waits for ``future``."""

    @property
    def future(self) -> Future[Any]: ...  # noqa: D102 - said above


A = TypeVar("A", bound=Asked)


class Together(Generic[A]):
    """A thread that hands everything that was asked for to ``write``, in order, at most ``at_once`` at a time.

    ``write`` settles every future and raises nothing. ``store`` is how a person knows the store.
    """

    def __init__(self, store: str, write: Callable[[list[A]], None], *, at_once: int) -> None:
        self._store, self._write, self._at_once = store, write, at_once
        self._asked: queue.SimpleQueue[A | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"writes {store}", daemon=True)
        self._thread.start()

    def ask(self, asked: A) -> None:
        """Have it written. Raises StateUnavailable when the store was closed."""
        with self._lock:
            if self._closed:
                raise StateUnavailable(f"{self._store} was closed", hint="open the store again")
            self._asked.put(asked)

    def close(self) -> None:
        """Finish what was asked for."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            found = [self._asked.get()]
            while len(found) < self._at_once:
                try:
                    found.append(self._asked.get_nowait())
                except queue.Empty:
                    break
            going_on = None not in found
            wanted = [item for item in found if item is not None and item.future.set_running_or_notify_cancel()]
            if wanted:
                self._write(wanted)
