"""What Redis' refusals mean, without the address' password.

The codes are those of https://redis.io/docs/latest/develop/reference/protocol-spec/ and of ``src/server.c``; a script's
refusal carries the code of the command inside of it, before Redis 7 in the middle of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis import exceptions

from lakeray.errors import ConfigError, LakerayError, StateError, StateUnavailable

_HINTS: Final = {
    "OOM": "it has no memory left: raise maxmemory, or archive ended runs",
    "READONLY": "it is a replica: point LAKERAY_STATE at the primary, or wait for the failover to end",
    "LOADING": "it reads its data from disk: wait until it is up",
    "BUSY": "a script of somebody's runs for seconds: wait, or end it with SCRIPT KILL",
    "MISCONF": "it cannot write its append-only file: free disk space",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write: bring them back",
    "MASTERDOWN": "it is a replica without a primary: wait for the failover to end",
    "CLUSTERDOWN": "its cluster is down: wait",
    "TRYAGAIN": "its cluster moves keys: wait",
}
_CLASSES: Final = {
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
}
_CODE: Final = re.compile(rf"(?<![A-Z])({'|'.join(_HINTS)})(?![A-Z])")
_NO_ENTRY: Final = re.compile("NOAUTH|WRONGPASS|NOPERM")


def translated(address: str, error: BaseException) -> LakerayError:
    """The error of lakeray that ``error`` of the server at ``address`` is."""
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError) or _NO_ENTRY.search(str(error)):
        return ConfigError(
            f"{address} does not let lakeray in: {error}",
            hint="look at user and password in LAKERAY_STATE, and at its ACL",
        )
    code = next((code for kind, code in _CLASSES.items() if isinstance(error, kind)), None)
    if code is None and (found := _CODE.search(str(error))):
        code = found[1]
    if code is not None:
        return StateUnavailable(f"{address} refuses ({code}): {error}", hint=_HINTS[code])
    if isinstance(error, exceptions.ResponseError):
        return StateError(f"{address} does not understand lakeray: {error}", hint="this is a defect, please report it")
    return StateUnavailable(
        f"{address} cannot be reached: {error or type(error).__name__}",
        hint="what was asked may have happened; it can be asked again",
    )


@contextmanager
def told(address: str) -> Iterator[None]:
    """Errors of the client become errors of lakeray."""
    try:
        yield
    except (exceptions.RedisError, OSError) as error:
        raise translated(address, error) from error


def address_of(client: Any) -> str:
    """The server's address without user and password."""
    known = client.connection_pool.connection_kwargs
    return f"redis://{known.get('host', 'localhost')}:{known.get('port', 6379)}/{known.get('db') or 0}"
