"""Appends of one process, sent to Redis as they come, many to a round trip.

Redis syncs its file once for all commands that it reads together, before it replies to any: while one round trip
is on its way, what else is asked for waits and goes with the next (group commit).
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, NamedTuple

from redis.exceptions import RedisError

from lakeray.state.crash_points import crash_point
from lakeray.state.port import Append, Appended
from lakeray.state.redis.failures import translated
from lakeray.state.redis.records import append_arguments
from lakeray.state.redis.replies import appended
from lakeray.state.redis.scripts import call_many
from lakeray.state.together import Together

_AT_ONCE = 256


class _Asked(NamedTuple):
    append: Append
    arguments: list[Any]
    shard: int
    future: Future[Appended]


class Writer:
    """A thread that sends appends in their order. ``floors`` holds the highest position that was acknowledged."""

    def __init__(self, client: Any, address: str, prefix: str) -> None:
        self._client, self._address, self._prefix = client, address, prefix
        self.floors: dict[int, int] = {}
        self._together = Together(f"the store at {address}", self._send, at_once=_AT_ONCE)

    def submit(self, append: Append, shard: int) -> Future[Appended]:
        """Where the append came to lie, once the server has said so."""
        crash_point("before", "append")
        asked = _Asked(append, append_arguments(append), shard, Future())
        self._together.ask(asked)
        return asked.future

    def close(self) -> None:
        """Finish what was submitted."""
        self._together.close()

    def _send(self, together: list[_Asked]) -> None:
        try:
            replies = call_many(self._client, "append", [self._sent(item) for item in together])
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

    def _sent(self, item: _Asked) -> tuple[str, list[Any]]:
        return f"{self._prefix}{{{item.shard}}}:", [self._floor(item.shard), *item.arguments]

    def _floor(self, shard: int) -> int:
        return self.floors.get(shard, 0)


def _failure(address: str, error: Exception) -> Exception:
    """An error of its own for every future: each raises it in a thread of its own."""
    if not isinstance(error, RedisError | OSError):
        return error
    failure = translated(address, error)
    failure.__cause__ = error
    return failure
