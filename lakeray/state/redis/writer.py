"""Appends of one process, sent to Redis as they come, many to a round trip.

Redis syncs its file once for all commands that it reads together, before it replies to any: while one round trip
is on its way, what else is asked for waits and goes with the next (group commit).
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from lakeray.errors import StateUnavailable
from lakeray.state.crash_points import crash_point
from lakeray.state.port import Append, Appended
from lakeray.state.redis.failures import translated
from lakeray.state.redis.records import append_arguments
from lakeray.state.redis.replies import appended
from lakeray.state.redis.scripts import call_many

_AT_ONCE = 256


class _Asked(NamedTuple):
    append: Append
    shard: int
    future: Future[Appended]


class Writer:
    """A thread that sends appends in their order. ``floors`` holds the highest position that was acknowledged."""

    def __init__(self, client: Any, address: str, prefix: str) -> None:
        self._client, self._address, self._prefix = client, address, prefix
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self.floors: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, name="state-writer redis", daemon=True)
        self._thread.start()

    def submit(self, append: Append, shard: int) -> Future[Appended]:
        """Where the append came to lie, once the server has said so."""
        crash_point("before", "append")
        asked = _Asked(append, shard, Future())
        with self._lock:
            if self._closed:
                raise StateUnavailable(f"the store at {self._address} was closed", hint="open the store again")
            self._asked.put(asked)
        return asked.future

    def close(self) -> None:
        """Finish what was submitted."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            together = [self._asked.get()]
            while len(together) < _AT_ONCE:
                try:
                    together.append(self._asked.get_nowait())
                except queue.Empty:
                    break
            going_on = None not in together
            asked = [item for item in together if item is not None and item.future.set_running_or_notify_cancel()]
            if asked:
                self._send(asked)

    def _send(self, together: list[_Asked]) -> None:
        try:
            sent = [
                (f"{self._prefix}{{{item.shard}}}:", append_arguments(item.append, self._floor(item.shard)))
                for item in together
            ]
            replies = call_many(self._client, "append", sent)
        except Exception as error:  # noqa: BLE001 - whatever it is, who waits is told
            for item in together:
                item.future.set_exception(_failure(self._address, error))
            return
        for item, reply in zip(together, replies, strict=True):
            try:
                crash_point("after", "append")
                done = appended(item.append, item.shard, self._floor(item.shard), reply, self._address)
            except Exception as refusal:  # noqa: BLE001 - likewise
                item.future.set_exception(refusal)
            else:
                self.floors[item.shard] = max(self._floor(item.shard), done.position)
                item.future.set_result(done)

    def _floor(self, shard: int) -> int:
        return self.floors.get(shard, 0)


def _failure(address: str, error: Exception) -> Exception:
    """An error of its own for every future: each raises it in a thread of its own."""
    if not isinstance(error, RedisError | OSError):
        return error
    failure = translated(address, error)
    failure.__cause__ = error
    return failure
