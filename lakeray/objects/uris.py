"""Uris are taken apart here without changing a byte of their keys.

A uri is ``scheme://bucket/`` followed by the raw key, never percent-encoded; a local path is its own uri. Schemes: none
or ``file`` (local), ``s3`` or ``s3a`` (S3), ``az``, ``abfs`` or ``abfss`` (Azure;
``container@account.dfs.core.windows.net`` names the account).
"""

from __future__ import annotations

# ruff: noqa: PTH109, PTH111, PTH117, PTH118
# Paths stay text: Path would fold "//" without a word, and costs a listing half its speed.
import os
import re

from lakeray.errors import ObjectError

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
S3_SCHEMES = ("s3", "s3a")
AZURE_SCHEMES = ("az", "abfs", "abfss")
SCHEMES = ("file", *S3_SCHEMES, *AZURE_SCHEMES)


def scheme(uri: str) -> str:
    """The uri's scheme in lower case; ``file`` for a plain path. Raises ObjectError for one that no store speaks."""
    found = _SCHEME.match(uri)
    name = found.group(1).lower() if found else "file"
    if name not in SCHEMES:
        raise ObjectError(
            f"{uri} begins with {name}://, which lakeray cannot read",
            hint="use a local path, file:///path, s3://bucket/key, az://container/key or "
            "abfss://container@account.dfs.core.windows.net/key",
            uri=uri,
        )
    return name


def bucket_and_key(uri: str) -> tuple[str, str]:
    """The bucket with the raw key, which may be empty, of an S3 or Azure uri.

    Azure's bucket is ``container`` or ``container@host``. Raises ObjectError when there is no bucket.
    """
    head = _SCHEME.match(uri)
    rest = uri[head.end() :] if head else uri
    bucket, _, key = rest.partition("/")
    if not head or not bucket:
        raise ObjectError(f"{uri} names no bucket", hint="write scheme://bucket/key", uri=uri)
    return bucket, key


def root_of(uri: str) -> str:
    """What stands before the key: ``s3://bucket/``, ``file:///`` or ``/``."""
    if scheme(uri) == "file":
        return "file:///" if _SCHEME.match(uri) else "/"
    bucket, _ = bucket_and_key(uri)
    return f"{uri[: uri.index('://')]}://{bucket}/"


def join(uri: str, *parts: str) -> str:
    """``uri`` followed by ``parts``, one slash between them; the parts' bytes are kept.

    A last part that ends in a slash keeps it.
    """
    joined = uri
    for part in parts:
        joined = joined + part if joined.endswith("/") else f"{joined}/{part}"
    return joined


def relative(uri: str, root: str) -> str:
    """What follows ``root`` (with or without its last slash) in ``uri``.

    Raises ObjectError when ``uri`` is not below ``root``.
    """
    base = root if root.endswith("/") else root + "/"
    if not uri.startswith(base):
        raise ObjectError(f"{uri} is not below {root}", hint="both must be spelled alike, scheme included", uri=uri)
    return uri[len(base) :]


def absolute(uri: str, *, folder: str | None = None) -> str:
    """``uri`` as it is, but a relative local path made absolute.

    It is taken from ``folder`` (default: the working directory). A last slash is kept, ``.`` and ``..`` are resolved by
    their text.
    """
    if _SCHEME.match(uri) or os.path.isabs(uri):
        return uri
    path = os.path.normpath(os.path.join(folder or os.getcwd(), os.path.expanduser(uri)))
    return path + "/" if uri.endswith("/") and path != "/" else path
