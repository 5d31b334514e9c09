"""The store behind a uri is found here, made once per process for each configuration."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from lakeray.errors import UnsupportedTable
from lakeray.objects import uris
from lakeray.objects.port import ObjectStore

_ESCAPE: Final = re.compile("%[0-9A-Fa-f]{2}")


def open_store(uri: str) -> ObjectStore:
    """The store that holds ``uri``; no server is contacted yet.

    Its connection is shared within a process by all stores of one configuration; it is safe to pickle. Credentials and
    endpoints come from the ``AWS_*`` and ``AZURE_*`` variables of the process that uses the store: a pickled store
    carries none of them. Raises ObjectError for an unknown scheme.
    """
    scheme = uris.scheme(uri)
    if scheme == "file":
        from lakeray.objects.local import LocalStore

        return LocalStore()
    if scheme in uris.S3_SCHEMES:
        from lakeray.objects.s3 import s3_store

        return s3_store()
    from lakeray.objects.azure import azure_store

    return azure_store(uri)


def storage_options(uri: str) -> dict[str, str]:
    """What ``deltalake`` needs as ``storage_options`` for a table at ``uri``; never to be logged: secrets are among it.

    Empty for local tables. For the Azure emulator it also sets ``AZURITE_BLOB_STORAGE_URL`` in this process, the only
    place where delta-rs looks for the emulator's address.
    """
    scheme = uris.scheme(uri)
    if scheme == "file":
        return {}
    if scheme in uris.S3_SCHEMES:
        from lakeray.objects.s3_settings import S3Settings

        return S3Settings.from_environment().delta_options()
    from lakeray.objects.azure_settings import AzureSettings

    return AzureSettings.from_environment(uri).delta_options()


def delta_uri(uri: str) -> str:
    """``uri`` as ``deltalake`` spells it: local uris as plain paths, keys of object stores percent-encoded.

    Raises UnsupportedTable for a path with something like ``%20`` in it: delta-rs decodes it once too often and looks
    elsewhere.
    """
    if _ESCAPE.search(uri):
        raise UnsupportedTable(
            f"{uri} cannot hold a table: delta-rs takes the percent sign for an escape",
            hint="give the table a path without % and two hexadecimal digits behind it",
            uri=uri,
        )
    scheme = uris.scheme(uri)
    if scheme == "file":
        return uri[7:] if uri[:7].lower() == "file://" else uri
    bucket, key = uris.bucket_and_key(uri)
    if scheme in uris.S3_SCHEMES:
        return f"s3://{bucket}/{quote(key)}"
    from lakeray.objects.azure_settings import AzureSettings

    return AzureSettings.from_environment(uri).delta_root(uri) + quote(key)
