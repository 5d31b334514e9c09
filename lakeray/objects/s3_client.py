"""One S3 endpoint is spoken to here through s3fs, without its caches and its retries.

``S3Client.request`` is the seam of every request: tests put a faulty network behind it.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

import s3fs

from lakeray.objects.contact import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Contact
from lakeray.objects.s3_errors import judge
from lakeray.objects.s3_settings import S3Settings


class S3Client:
    """Calls by the names of the S3 API. Safe to use from several threads; opens no connection before the first call."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        options = settings.client_options()
        options["config_kwargs"] |= {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"mode": "standard", "total_max_attempts": 1},
            "max_pool_connections": 64,
        }
        if settings.profile:
            options["profile"] = settings.profile
        self._fs = s3fs.S3FileSystem(**options, use_listings_cache=False, skip_instance_cache=True)
        # One try each: a retry that is hidden here could not be told from another writer's success.
        self._fs.retries = 1
        self._contact = Contact(self._fs.loop, functools.partial(judge, settings))

    async def request(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One request, tried once."""
        call = self._fs._call_s3  # noqa: SLF001 - call_s3 is its blocking form
        answer: dict[str, Any] = await call(method, **arguments)
        return answer

    def call(self, uri: str, method: str, **arguments: Any) -> dict[str, Any]:
        """The parsed answer. Raises the ObjectError of ``s3_errors`` about ``uri``."""
        return self._contact.call(uri, functools.partial(self.request, method, **arguments))

    def body(self, uri: str, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        """The answer of ``get_object`` with its whole body; a body that breaks off is fetched again."""

        async def get() -> tuple[dict[str, Any], bytes]:
            answer = await self.request("get_object", **arguments)
            async with answer["Body"] as stream:
                data: bytes = await stream.read()
            if len(data) != answer["ContentLength"]:
                raise ConnectionError(f"{len(data)} of {answer['ContentLength']} bytes came")
            return answer, data

        return self._contact.call(uri, get)


_lock = threading.Lock()
_clients: dict[tuple[int, S3Settings], S3Client] = {}


def client(settings: S3Settings) -> S3Client:
    """This process's client for ``settings``; a forked child makes its own."""
    with _lock:
        key = (os.getpid(), settings)
        if key not in _clients:
            _clients[key] = S3Client(settings)
        return _clients[key]
