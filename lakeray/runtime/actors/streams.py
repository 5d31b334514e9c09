"""What tasks and actors say, heard by one thread however many there are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

Heard = Callable[[bytes], None]
Over = Callable[[BaseException | None], None]


class Streams:
    """Follows streams of Ray (``num_returns="streaming"``) until their ends, and calls things later.

    Callbacks run in the thread of this object, briefly, and raise nothing.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lakeray-streams", daemon=True)
        self._thread.start()

    def follow(self, stream: Any, heard: Heard, over: Over) -> None:
        """Have ``heard`` called for every item, then ``over`` once, with the error that ended the stream or None."""
        asyncio.run_coroutine_threadsafe(_follow(stream, heard, over), self._loop)

    def answered(self, reference: Any, then: Callable[[Future[Any]], None]) -> None:
        """Call ``then`` once what ``reference`` stands for is there, or will never be."""
        asked: Future[Any] = reference.future()
        asked.add_done_callback(lambda done: self._loop.call_soon_threadsafe(then, done))

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Call ``work`` in so many seconds."""
        self._loop.call_soon_threadsafe(self._loop.call_later, seconds, work)

    def close(self) -> None:
        """Hear nothing more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


async def _follow(stream: Any, heard: Heard, over: Over) -> None:
    error: BaseException | None = None
    try:
        async for reference in stream:
            heard(await reference)
    except BaseException as raised:  # noqa: BLE001 - however it ends, somebody waits for the end
        error = raised
    over(error)
