"""What delta-rs reports is turned into lakeray's errors here, each with the table's uri and what to do."""

from __future__ import annotations

from lakeray.errors import AccessDenied, CommitConflict, LakerayError, ObjectNotFound, StoreUnavailable, TableError

_DENIED = (
    "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "AuthorizationFailure",
    "403 Forbidden", "401 Unauthorized", "InvalidAuthenticationInfo", "PermissionDenied", "Permission denied",
    "MissingCredentials", "ExpiredToken", "NoCredentials", "Server failed to authenticate",
)  # fmt: skip
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "specified container does not exist")
_UNREACHABLE = (
    "error sending request", "connection error", "Connection refused", "timed out", "operation timed out", "dns error",
    "SlowDown", "503 Service Unavailable", "500 Internal Server Error", "ServerBusy",
    "TooManyRequests", "retry_timeout",
)  # fmt: skip


def is_conflict(error: BaseException) -> bool:
    """Whether another writer was faster, so that looking again can help."""
    from deltalake.exceptions import CommitFailedError

    return isinstance(error, CommitFailedError | CommitConflict)


def is_foreign(error: BaseException) -> bool:
    """Whether the error came out of delta-rs or the system, rather than from lakeray."""
    from deltalake.exceptions import DeltaError

    return isinstance(error, DeltaError | OSError) or type(error) in (Exception, ValueError)


def translated(error: BaseException, uri: str, doing: str) -> LakerayError:
    """The lakeray error for one of delta-rs; ``doing`` completes "while ...". Its messages hold no secrets."""
    if isinstance(error, LakerayError):
        return error
    text = str(error).strip()
    first = text.splitlines()[0][:500] if text else type(error).__name__
    if any(mark in text for mark in _DENIED):
        return AccessDenied(
            f"access to {uri} was denied while {doing}: {first}",
            uri=uri,
            hint="check the credentials in the AWS_* or AZURE_* variables: they must allow to list, read and write",
        )
    if any(mark in text for mark in _NO_BUCKET):
        return ObjectNotFound(
            f"the bucket or container of {uri} does not exist: {first}", uri=uri, hint="create it, or correct the uri"
        )
    if any(mark in text for mark in _UNREACHABLE):
        return StoreUnavailable(
            f"the store of {uri} did not answer while {doing}: {first}",
            uri=uri,
            hint="check the endpoint, the region and the network, then run again",
        )
    if is_conflict(error):
        return CommitConflict(
            f"another writer changed {uri} while {doing}: {first}",
            uri=uri,
            hint="run again: it looks at the table anew",
        )
    return TableError(f"{uri} failed while {doing}: {first}", uri=uri, hint="see the message of delta-rs above")
