"""What delta-rs reports is turned into lakeray's errors here, each with the table's uri and what to do."""

from __future__ import annotations

import re
from pathlib import Path

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

_NO_FOLDER = ("Invalid table location", "Could not create local directory", "Not a directory")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_QUERY = re.compile(r"\?\S+=[^\s)]*")
_FULL = ("No space left on device", "Disk quota exceeded")


def _file_in_the_way(uri: str) -> str | None:
    """The local file that stands where the table or a folder above it should be."""
    path = None if "://" in uri and not uri.startswith("file://") else Path(uri.removeprefix("file://"))
    return next((str(part) for part in (path, *path.parents) if part.is_file()), None) if path else None


def is_conflict(error: BaseException) -> bool:
    """Whether another writer was faster, so that looking again can help."""
    from deltalake.exceptions import CommitFailedError

    return isinstance(error, CommitFailedError | CommitConflict)


def is_foreign(error: BaseException) -> bool:
    """Whether the error came out of delta-rs or the system, rather than from lakeray."""
    from deltalake.exceptions import DeltaError

    return isinstance(error, DeltaError | OSError) or type(error) in (Exception, ValueError)


def _said(text: str) -> str:
    """What happened and, behind a colon, why: the first and the last line of a chain of causes, without its colours.

    What follows a ``?`` in an address may be a signature, so it is left out.
    """
    plain = _ANSI.sub("", text)
    lines = [line.strip().removeprefix("\u21b3").strip() for line in plain.splitlines()]
    told = [_QUERY.sub("", line)[:500] for line in lines if line]
    return f"{told[0]}: {told[-1]}" if len(told) > 1 else "".join(told)


def translated(error: BaseException, uri: str, doing: str) -> LakerayError:
    """The lakeray error for one of delta-rs; ``doing`` completes "while ...". Its messages hold no secrets."""
    if isinstance(error, LakerayError):
        return error
    text = str(error).strip()
    first = _said(text) or type(error).__name__
    known = _of_the_store(text, first, uri, doing) or _of_the_disk(text, first, uri)
    if known is not None:
        return known
    if is_conflict(error):
        return CommitConflict(
            f"another writer changed {uri} while {doing}: {first}",
            uri=uri,
            hint="run again: it looks at the table anew",
        )
    return TableError(f"{uri} failed while {doing}: {first}", uri=uri, hint="see the message of delta-rs above")


def _of_the_store(text: str, first: str, uri: str, doing: str) -> LakerayError | None:
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
    return None


def _of_the_disk(text: str, first: str, uri: str) -> LakerayError | None:
    if any(mark in text for mark in _NO_FOLDER) and (file := _file_in_the_way(uri)) is not None:
        return TableError(
            f"there can be no table at {uri}: {file} is a file", uri=uri, hint="move the file, or correct the uri"
        )
    if "Read-only file system" in text:
        hint = "make the file system writable, or correct the uri"
        return AccessDenied(f"{uri} lies on a read-only file system: {first}", uri=uri, hint=hint)
    if any(mark in text for mark in _FULL):
        hint = "free some space, then run again: it goes on where this one stopped"
        return TableError(f"the disk of {uri} is full: {first}", uri=uri, hint=hint)
    return None
