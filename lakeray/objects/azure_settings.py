"""The usual ``AZURE_*`` variables become one value that adlfs and delta-rs both obey."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from lakeray.errors import AccessDenied
from lakeray.objects.uris import bucket_and_key

_TRUE: Final = ("1", "true", "yes", "on")
EMULATOR_ACCOUNT: Final = "devstoreaccount1"
# Published by Microsoft for its emulator: https://learn.microsoft.com/azure/storage/common/storage-connect-azurite
_EMULATOR_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_EMULATOR_URL: Final = "http://127.0.0.1:10000"
_ACCOUNT: Final = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
_KEY: Final = ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCESS_KEY")


@dataclass(frozen=True, kw_only=True, slots=True)
class AzureSettings:
    """Where a storage account is and who asks. Hashable; its repr shows no secret.

    ``endpoint`` is the blob service's url without a last slash; an emulator's holds the account as its path.
    """

    account: str
    endpoint: str
    emulator: bool = False
    key: str | None = field(default=None, repr=False)
    sas: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    tenant_id: str | None = None
    anonymous: bool = False

    @classmethod
    def from_environment(cls, uri: str) -> AzureSettings:
        """Settings for the account in ``uri`` (``container@account.dfs.core.windows.net``), else the variables'.

        Reads ``AZURE_STORAGE_CONNECTION_STRING``, ``AZURE_STORAGE_ACCOUNT_NAME``, ``AZURE_STORAGE_ACCOUNT_KEY``,
        ``AZURE_STORAGE_SAS_TOKEN``, ``AZURE_STORAGE_ENDPOINT``, ``AZURE_STORAGE_USE_EMULATOR``,
        ``AZURITE_BLOB_STORAGE_URL`` and ``AZURE_CLIENT_ID``, ``AZURE_CLIENT_SECRET``, ``AZURE_TENANT_ID`` (also as
        ``AZURE_STORAGE_CLIENT_ID`` ...). Raises AccessDenied when no account is named.
        """
        told = _connection_string(os.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
        wanted, host = _account_in(uri)
        emulator = _read("AZURE_STORAGE_USE_EMULATOR", "").lower() in _TRUE or (
            told.get("usedevelopmentstorage", "").lower() == "true"
        )
        known = told.get("accountname") or _first(*_ACCOUNT) or (EMULATOR_ACCOUNT if emulator else "")
        account = wanted or known
        if not account:
            raise AccessDenied(
                f"no storage account is named for {uri}",
                hint="set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING",
                uri=uri,
            )
        mine = account == known or not known  # the variables' secrets belong to the variables' account
        endpoint, emulator = _endpoint(account, told if mine else {}, host, emulator=emulator)
        key = (told.get("accountkey") or _first(*_KEY)) if mine else None
        if emulator and account == EMULATOR_ACCOUNT:
            key = key or _EMULATOR_KEY
        return cls(
            account=account,
            endpoint=endpoint,
            emulator=emulator,
            key=key,
            sas=(told.get("sharedaccesssignature") or _first("AZURE_STORAGE_SAS_TOKEN")) if mine else None,
            client_id=_first("AZURE_STORAGE_CLIENT_ID", "AZURE_CLIENT_ID"),
            client_secret=_first("AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET"),
            tenant_id=_first("AZURE_STORAGE_TENANT_ID", "AZURE_TENANT_ID"),
            anonymous=_read("AZURE_STORAGE_ANON", "").lower() in _TRUE,
        )

    @property
    def keyless(self) -> bool:
        """Whether the machine's own identity has to be asked for."""
        return not (self.key or self.sas or (self.client_id and self.client_secret) or self.anonymous)

    def delta_options(self) -> dict[str, str]:
        """``storage_options`` for delta-rs, which learns an emulator's address from the process environment only."""
        options = {"AZURE_STORAGE_ACCOUNT_NAME": self.account}
        if self.emulator:
            options["AZURE_STORAGE_USE_EMULATOR"] = "true"
            parts = urlsplit(self.endpoint)
            os.environ["AZURITE_BLOB_STORAGE_URL"] = f"{parts.scheme}://{parts.netloc}"
        elif not self.endpoint.endswith(".core.windows.net"):
            options["AZURE_STORAGE_ENDPOINT"] = self.endpoint
        if self.endpoint.startswith("http://"):
            options["AZURE_ALLOW_HTTP"] = "true"
        if self.key:
            options["AZURE_STORAGE_ACCOUNT_KEY"] = self.key
        elif self.sas:
            options["AZURE_STORAGE_SAS_TOKEN"] = self.sas
        elif self.client_id and self.client_secret and self.tenant_id:
            options["AZURE_STORAGE_CLIENT_ID"] = self.client_id
            options["AZURE_STORAGE_CLIENT_SECRET"] = self.client_secret
            options["AZURE_STORAGE_TENANT_ID"] = self.tenant_id
        elif self.anonymous:
            options["AZURE_SKIP_SIGNATURE"] = "true"
        return options

    def delta_root(self, uri: str) -> str:
        """The table uri's part before the key: an emulator is known to delta-rs by ``az://container/`` only."""
        place, _ = bucket_and_key(uri)
        container = place.partition("@")[0]
        if self.emulator or "@" not in place:
            return f"az://{container}/"
        return f"abfss://{place}/"


def _read(name: str, default: str) -> str:
    return os.environ.get(name, default)


def _first(*names: str) -> str | None:
    return next((value for name in names if (value := os.environ.get(name))), None)


def _account_in(uri: str) -> tuple[str | None, str | None]:
    """Account and host of ``container@account.dfs.core.windows.net``."""
    place, _ = bucket_and_key(uri)
    _, at, host = place.partition("@")
    return (host.partition(".")[0], host) if at and host else (None, None)


def _connection_string(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";") if part)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _endpoint(account: str, told: dict[str, str], host: str | None, *, emulator: bool) -> tuple[str, bool]:
    """The blob endpoint, with whether an emulator stands behind it."""
    url = told.get("blobendpoint") or _first("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
    if emulator and not url:
        url = f"{_read('AZURITE_BLOB_STORAGE_URL', _EMULATOR_URL).rstrip('/')}/{account}"
    if url:
        url = url.rstrip("/")
        path_style = urlsplit(url).path == f"/{account}"
        return url, emulator or path_style
    if host:
        return f"https://{host.replace('.dfs.', '.blob.', 1)}", False
    protocol = told.get("defaultendpointsprotocol", "https")
    return f"{protocol}://{account}.blob.{told.get('endpointsuffix', 'core.windows.net')}", False
