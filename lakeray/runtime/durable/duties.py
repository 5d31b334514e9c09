"""Things that ought to be looked at now and then while `lakeray up` stands: schedules, arrivals, the outbox.

A duty knows the store alone. It begins runs, and tells runs something, through the store's inbox (``EventStore.send``
of an AcceptRun, whose run id is derived from what caused it): whoever owns the shard then drives the run.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from lakeray.errors import LakerayError
from lakeray.state import EventStore

_log = logging.getLogger(__name__)


class Duty(Protocol):
    """One thing to look at.

    - ``tick`` may be called by several processes at once, by any of them at any time, and be killed in the middle: what
      it does is decided by the store (compare-and-set of a register, ids derived from the cause), never by who ticks.
    - It returns soon (a few seconds), as a process that ends waits for it. It asks for the time through a clock of its
      own.
    - Others are ticked at the same time, in threads of theirs: none knows of another.
    - What it raises is logged, and it is asked again ``every_s`` later.
    """

    @property
    def name(self) -> str:
        """How a person knows it: `schedules`."""
        ...

    @property
    def every_s(self) -> float:
        """Seconds between the beginnings of two looks."""
        ...

    def tick(self) -> None:
        """Look, and do what is due."""
        ...


@runtime_checkable
class Closing(Protocol):
    """A duty that has work done in threads of its own."""

    def close(self) -> None:
        """Begin no more, and wait for what uses the store, which is closed next."""
        ...


DutiesOf = Callable[[EventStore, Callable[[], datetime]], Sequence[Duty]]
"""Makes duties over a store with a clock: `lakeray up` has a list of these (``runtime/up.py``)."""


class Duties:
    """Ticks duties, each in a thread of its own, until it is closed. A duty is first looked at at once."""

    def __init__(self, duties: Sequence[Duty], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._due = dict.fromkeys(range(len(duties)), monotonic())
        self._duties = list(duties)
        self._monotonic = monotonic
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        """Begin."""
        for index, duty in enumerate(self._duties):
            thread = threading.Thread(target=self._run, args=(index,), name=f"lakeray-{duty.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Finish the looks that are under way and what they have begun, then no more."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        for duty in self._duties:
            if isinstance(duty, Closing):
                duty.close()

    def look(self) -> None:
        """Tick every duty that is due, one after the other."""
        for index in range(len(self._duties)):
            self._look(index)

    def _look(self, index: int) -> float:
        """Tick a duty if it is due; seconds until it is."""
        duty, now = self._duties[index], self._monotonic()
        if now >= self._due[index]:
            self._due[index] = now + duty.every_s
            _tick(duty)
        return max(0.0, self._due[index] - self._monotonic())

    def _run(self, index: int) -> None:
        while not self._over.is_set():
            self._over.wait(self._look(index))


def _tick(duty: Duty) -> None:
    try:
        duty.tick()
    except LakerayError as error:
        _log.warning("%s: %s", duty.name, error.message)
    except Exception:  # noqa: BLE001 - the defect of one may not end the others
        _log.exception("a defect in %s: it is asked again in %g s", duty.name, duty.every_s)
