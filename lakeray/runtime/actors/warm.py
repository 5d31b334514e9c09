"""Warm processes for short steps: a call to one costs a millisecond where a fresh task costs eight.

A process does one order at a time, so that its death, or its being ended by force, is the matter of one step alone.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from lakeray.runtime.actors.order import Doing, Order
from lakeray.runtime.actors.streams import Heard, Over, Streams

_LISTEN_EVERY_S = 1.0
Make = Callable[[], Any]
"""Starts one more process."""


class StepWorker:
    """The actor: does orders one after the other. ``heartbeats`` and ``stop`` are heard beside them.

    What is said comes back in one answer, and what is said on the way when it is asked for: a stream costs twice as
    much as the call. The answers may be heard in any order, so the report is in that of the order alone.
    """

    def __init__(self) -> None:
        self._doing: tuple[str, Doing] | None = None
        self._said: deque[bytes] = deque()
        self._stops: set[str] = set()

    def do(self, order: Order) -> list[bytes]:
        """What is said of the order and was not asked for on the way, see ``Doing``."""
        doing = Doing(order)
        self._doing = order.work.key, doing
        if order.work.key in self._stops:
            doing.stop()
        for command in doing.said():
            if command is not doing.report:
                self._said.append(command)
        self._doing = None
        self._stops.clear()
        return [*self._unsaid(), *([doing.report] if doing.report is not None else [])]

    def heartbeats(self) -> list[bytes]:
        """What was said since it was asked for last."""
        return self._unsaid()

    def _unsaid(self) -> list[bytes]:
        said = []
        with suppress(IndexError):
            while True:
                said.append(self._said.popleft())
        return said

    def stop(self, key: str) -> None:
        """Ask the work with this key to end soon, if it is being done here, or comes next."""
        self._stops.add(key)  # first: ``do`` looks here once it is doing it
        doing = self._doing
        if doing is not None and doing[0] == key:
            doing[1].stop()


def start_step_worker() -> Any:
    """A new process for steps. It reserves nothing: what reserves something is a task of its own."""
    import ray

    made: Any = ray.remote(concurrency_groups={"do": 1, "steer": 1}, num_cpus=0, max_restarts=0)
    return made(StepWorker).remote()


@dataclass(eq=False)
class Call:
    """An order with those who wait for what is said of it. ``worker`` is the one that does it now."""

    order: Order
    title: str
    heard: Heard
    over: Over
    worker: Any = None


class Warm:
    """At most ``size`` processes, begun when they are first needed; what finds all at work waits in line."""

    def __init__(self, streams: Streams, size: int, make: Make = start_step_worker) -> None:
        self._streams = streams
        self._size = size
        self._make = make
        self._count = 0
        self._idle: list[Any] = []
        self._waiting: deque[Call] = deque()
        self._lock = threading.Lock()

    def begin(self, call: Call) -> None:
        """Have the order done; from any thread."""
        with self._lock:
            self._waiting.append(call)
        self._serve()

    def stop(self, call: Call, *, force: bool = False) -> None:
        """Ask for its end; by force its process ends with it. What waits in line still is over at once."""
        with self._lock:
            waits = call in self._waiting
            if waits:
                self._waiting.remove(call)
            elif call.worker is not None:
                self._ask(call, force=force)
        if waits:
            call.over(None)

    @staticmethod
    def _ask(call: Call, *, force: bool) -> None:
        if force:
            import ray

            ray.kill(call.worker)
        else:
            call.worker.stop.options(concurrency_group="steer").remote(call.order.work.key)

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or not (self._idle or self._count < self._size):
                    return
                call = self._waiting.popleft()
                if not self._idle:
                    self._idle.append(self._make())
                    self._count += 1
                call.worker = self._idle.pop()
            worker = call.worker
            answer = worker.do.options(concurrency_group="do", name=call.title).remote(call.order)
            self._streams.answered(answer, partial(self._over, call))
            self._streams.later(_LISTEN_EVERY_S, partial(self._listen, call, worker))

    def _listen(self, call: Call, worker: Any) -> None:
        """Ask for signs of life of what takes longer."""
        if call.worker is not worker:
            return

        def heard(said: Future[list[bytes]]) -> None:
            if said.exception() is None:
                for command in said.result():
                    call.heard(command)

        self._streams.answered(worker.heartbeats.options(concurrency_group="steer").remote(), heard)
        self._streams.later(_LISTEN_EVERY_S, partial(self._listen, call, worker))

    def _over(self, call: Call, answer: Future[list[bytes]]) -> None:
        error = answer.exception()
        with self._lock:
            worker, call.worker = call.worker, None
            if error is None:
                self._idle.append(worker)
            else:
                self._count -= 1
        if error is None:
            for command in answer.result():
                call.heard(command)
        else:  # nobody knows how it stands
            import ray

            ray.kill(worker)
        call.over(error)
        self._serve()
