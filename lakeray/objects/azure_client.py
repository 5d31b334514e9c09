"""One storage account is spoken to here through adlfs, without its caches and the client's hidden retries.

``AzureClient.request`` is the seam of every request: tests put a faulty network behind it.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import adlfs
from azure.core.credentials import AzureNamedKeyCredential
from azure.storage.blob.aio import BlobClient, BlobServiceClient, ContainerClient

from lakeray.objects.azure_errors import judge
from lakeray.objects.azure_settings import AzureSettings
from lakeray.objects.contact import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Contact

T = TypeVar("T")


class _FileSystem(adlfs.AzureBlobFileSystem):  # type: ignore[misc]
    """adlfs with our timeouts and one try per request.

    A hidden retry could not be told from another writer's success.
    """

    settings: AzureSettings

    def do_connect(self) -> None:
        settings = self.settings
        credential: Any = self.credential
        if settings.key:
            credential = AzureNamedKeyCredential(settings.account, settings.key)
        elif settings.sas:
            credential = settings.sas.lstrip("?")
        self.service_client = BlobServiceClient(
            settings.endpoint,
            credential=credential,
            retry_total=0,
            connection_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_single_get_size=64 * 2**20,
            max_chunk_get_size=16 * 2**20,
        )


class AzureClient:
    """Calls on containers and blobs. Safe to use from several threads; opens no connection before the first call."""

    def __init__(self, settings: AzureSettings) -> None:
        self.settings = settings
        # adlfs would ask the machine's identity for a credential wherever neither key nor token is given to it.
        kind = type("_FileSystem", (_FileSystem,), {"settings": settings})
        self._fs = kind(
            account_name=settings.account,
            account_key=settings.key,
            sas_token=settings.sas,
            client_id=settings.client_id if settings.client_secret else None,
            client_secret=settings.client_secret,
            tenant_id=settings.tenant_id,
            anon=settings.anonymous,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._contact = Contact(self._fs.loop, functools.partial(judge, settings))

    def container(self, name: str) -> ContainerClient:
        """The client of one container."""
        return self._fs.service_client.get_container_client(name)

    def blob(self, container: str, key: str) -> BlobClient:
        """The client of one blob."""
        return self._fs.service_client.get_blob_client(container, key)

    async def request(self, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """One request, tried once."""
        return await what()

    def call(self, uri: str, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of ``what()``. Raises the ObjectError of ``azure_errors`` about ``uri``."""
        return self._contact.call(uri, lambda: self.request(what))


_lock = threading.Lock()
_clients: dict[tuple[int, AzureSettings], AzureClient] = {}


def client(settings: AzureSettings) -> AzureClient:
    """This process's client for ``settings``; a forked child makes its own."""
    with _lock:
        key = (os.getpid(), settings)
        if key not in _clients:
            _clients[key] = AzureClient(settings)
        return _clients[key]
