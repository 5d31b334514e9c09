"""What the Azure client raises becomes the ObjectError that says which variable to look at."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from azure.core import exceptions as az

from lakeray.errors import AccessDenied, ObjectChanged, ObjectError, ObjectExists, ObjectNotFound, StoreUnavailable
from lakeray.objects.azure_settings import AzureSettings
from lakeray.objects.contact import BucketNotFound, OutOfRange, Verdict, unreachable
from lakeray.objects.uris import bucket_and_key

_CREDENTIALS: Final = (
    "check AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_CONNECTION_STRING"
)
_NONE: Final = (
    "set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_CONNECTION_STRING, or AZURE_CLIENT_ID with "
    "AZURE_CLIENT_SECRET and AZURE_TENANT_ID"
)
_EXISTS: Final = ("BlobAlreadyExists", "UnauthorizedBlobOverwrite")
_CHANGED: Final = ("ConditionNotMet", "TargetConditionNotMet", "SourceConditionNotMet")


def judge(settings: AzureSettings, uri: str, error: BaseException) -> Verdict:
    """The verdict on what a call about ``uri`` raised."""
    if isinstance(error, ObjectError):
        return Verdict(error=error)
    if isinstance(error, az.ClientAuthenticationError) and error.status_code is None:
        # azure-identity found no identity, or none that the account's tenant accepts.
        return Verdict(error=AccessDenied(f"there are no credentials for {uri}", hint=_NONE, uri=uri), answered=False)
    if isinstance(error, az.HttpResponseError) and error.status_code is not None:
        return _answer(settings, uri, error)
    if isinstance(error, (az.AzureError, OSError, TimeoutError)):
        return _silence(settings, uri, error)
    if isinstance(error, ValueError) and settings.keyless:  # a token goes over https only
        return Verdict(error=AccessDenied(f"there are no credentials for {uri}", hint=_NONE, uri=uri), answered=False)
    if isinstance(error, ValueError):
        hint = "a container has 3 to 63 letters, digits and hyphens; the key is base64"
        return Verdict(
            error=ObjectError(f"{uri} or its credentials are misspelt", hint=f"{hint}; {_CREDENTIALS}", uri=uri)
        )
    raise error  # a defect of ours or of a library: not to be dressed up


def _answer(settings: AzureSettings, uri: str, error: az.HttpResponseError) -> Verdict:
    """The endpoint spoke."""
    status = int(error.status_code or 0)
    code = str(getattr(error, "error_code", "") or "").rpartition(".")[2]
    if status == HTTPStatus.TOO_MANY_REQUESTS or code == "ServerBusy":
        slow = StoreUnavailable(
            f"{settings.endpoint} keeps asking to slow down, {uri}", hint="lower the parallelism", uri=uri
        )
        return Verdict(error=slow, retry=True, throttled=True)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        broken = StoreUnavailable(
            f"{settings.endpoint} answers {status} for {uri}",
            hint="is the endpoint right, and the service well?",
            uri=uri,
        )
        return Verdict(error=broken, answered=False, retry=True)
    return Verdict(error=_final(settings, uri, code, status))


def _final(settings: AzureSettings, uri: str, code: str, status: int) -> ObjectError:  # noqa: PLR0911 - a table
    container = bucket_and_key(uri)[0].partition("@")[0]
    where = settings.endpoint
    if code in ("ContainerNotFound", "ContainerBeingDeleted", "FilesystemNotFound"):
        hint = f"create it, or check its name and the account (AZURE_STORAGE_ACCOUNT_NAME is {settings.account})"
        return BucketNotFound(f"{uri}: there is no container {container} at {where}", hint=hint, uri=uri)
    if code in _EXISTS:
        return ObjectExists(f"{uri} exists already", hint="another writer was first", uri=uri)
    if code in _CHANGED or status == HTTPStatus.PRECONDITION_FAILED:
        return ObjectChanged(
            f"{uri} is no longer the version that was listed", hint="the next discovery finds it anew", uri=uri
        )
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return OutOfRange(f"{uri} ends before that offset", hint="ask for bytes that it has", uri=uri)
    if status == HTTPStatus.NOT_FOUND:
        return ObjectNotFound(
            f"{uri} does not exist at {where}", hint="check container and key; both are case-sensitive", uri=uri
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) or code in (
        "InvalidAuthenticationInfo",
        "AuthenticationFailed",
    ):
        role = f"the identity needs the role Storage Blob Data Contributor on {container}"
        return AccessDenied(f"{where} refused the credentials for {uri}", hint=f"{_CREDENTIALS}; {role}", uri=uri)
    return ObjectError(f"{where} refuses {uri}: {code or status}", hint="use a name that Azure allows", uri=uri)


def _silence(settings: AzureSettings, uri: str, error: BaseException) -> Verdict:
    """No answer that Azure would give."""
    if settings.keyless and isinstance(error, TimeoutError):
        denied = AccessDenied(f"no identity was found in time for {uri}", hint=_NONE, uri=uri)
        return Verdict(error=denied, answered=False)
    reason = unreachable(error)
    hint = (
        "check the account's name (AZURE_STORAGE_ACCOUNT_NAME), AZURE_STORAGE_CONNECTION_STRING and the network "
        "(proxy, firewall, DNS)"
    )
    gone = StoreUnavailable(f"{settings.endpoint} cannot be reached for {uri}: {reason}", hint=hint, uri=uri)
    return Verdict(error=gone, answered=False, retry=True)
