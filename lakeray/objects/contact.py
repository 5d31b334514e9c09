"""Calls to a store's endpoint end in an answer or in an ObjectError that says what to do.

The first contact is impatient: until an endpoint has answered once, a call gives up after ``FIRST_CONTACT_S``, so that
a wrong address or variable is told within ten seconds. Later, and whenever the store asks to slow down, calls are
repeated with growing, jittered pauses.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from lakeray.errors import ObjectError, ObjectNotFound

FIRST_CONTACT_S: Final = 7.0
PATIENCE_S: Final = 90.0
_FIRST_RETRIES_S: Final = 1.0
CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 60.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 8.0

T = TypeVar("T")


class BucketNotFound(ObjectNotFound):
    """The bucket or container itself is not there."""


class OutOfRange(ObjectError):
    """The range begins behind the object's end; rooms above never see it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a failed call means.

    ``answered``: the endpoint itself spoke, so address and network are right. ``retry``: the same call may succeed
    later. ``throttled``: the store asked for patience.
    """

    error: ObjectError
    answered: bool = True
    retry: bool = False
    throttled: bool = False


Judge = Callable[[str, BaseException], Verdict]
"""Turns what a client library raised about a uri into a verdict; a ``TimeoutError`` is the first contact's own."""


class Contact:
    """One endpoint's line: runs coroutines on a loop that lives in another thread. Safe to use from several threads."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        judge: Judge,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._loop = loop
        self._judge = judge
        self._clock = clock
        self._pause = pause
        self._answered = False

    def call(self, uri: str, request: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of ``request()``, repeated while that can help. Raises the ObjectError of the last verdict."""
        started = self._clock()
        tries = 0
        while True:
            try:
                result = self._once(request, started)
            except Exception as error:
                verdict = self._judge(uri, error)
                self._answered |= verdict.answered
                tries += 1
                jitter = random.uniform(0.5, 1)  # noqa: S311 - no secret
                pause = jitter * min(_FIRST_PAUSE_S * 2**tries, _LONGEST_PAUSE_S)
                patience = PATIENCE_S if self._answered or verdict.throttled else _FIRST_RETRIES_S
                if not verdict.retry or self._clock() - started + pause > patience:
                    raise verdict.error from error
                self._pause(pause)
            else:
                self._answered = True
                return result

    def _once(self, request: Callable[[], Coroutine[Any, Any, T]], started: float) -> T:
        future = asyncio.run_coroutine_threadsafe(request(), self._loop)
        timeout = None if self._answered else max(0.1, FIRST_CONTACT_S - (self._clock() - started))
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise


def unreachable(error: BaseException) -> str:
    """Why no answer came, read from the types along the error's chain.

    The words of client libraries differ and mislead.
    """
    kinds: list[type[BaseException]] = []
    waiting: list[object] = [error]
    while waiting and len(kinds) < _DEEPEST_CHAIN:
        each = waiting.pop()
        if isinstance(each, BaseException):
            kinds.append(type(each))
            # botocore keeps its cause in kwargs, azure-core in inner_exception, aiohttp in os_error.
            told = getattr(each, "kwargs", None)
            waiting += [
                each.__context__,
                each.__cause__,
                getattr(each, "inner_exception", None),
                getattr(each, "os_error", None),
            ]
            waiting.append(told.get("error") if isinstance(told, dict) else None)
    names = " ".join(kind.__name__ for kind in kinds)
    if any(issubclass(kind, socket.gaierror) for kind in kinds) or "DNSError" in names:
        return "its name cannot be resolved"
    if any(issubclass(kind, ssl.SSLError) for kind in kinds) or "Certificate" in names:
        return "TLS failed"
    if any(issubclass(kind, ConnectionRefusedError) for kind in kinds):
        return "the connection was refused"
    if any(issubclass(kind, TimeoutError) for kind in kinds) or "Timeout" in names:
        return "no answer in time"
    return "the connection broke"


_DEEPEST_CHAIN: Final = 30

_lock = threading.Lock()
_pools: dict[int, concurrent.futures.ThreadPoolExecutor] = {}


def background() -> concurrent.futures.ThreadPoolExecutor:
    """This process's threads for reading ahead and uploading parts; a forked child gets its own."""
    with _lock:
        pid = os.getpid()
        if pid not in _pools:
            _pools.clear()
            _pools[pid] = concurrent.futures.ThreadPoolExecutor(max_workers=8, thread_name_prefix="lakeray-objects")
        return _pools[pid]
