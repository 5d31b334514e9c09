"""Whether a Redis server keeps what it acknowledged, and for how long it may lose it."""

from __future__ import annotations

import re
from typing import Any, Final

from redis.exceptions import ResponseError

from lakeray.errors import ConfigError
from lakeray.state.port import Durability

_OLDEST: Final = (6, 2)
_FSYNC: Final = {
    "always": Durability(mode="disk", sentence="every event is on disk before it counts (Redis, appendfsync always)"),
    "everysec": Durability(
        mode="second",
        sentence="about one second of events may go when the machine or the server dies (Redis, appendfsync everysec); "
        "lakeray sees it and parks the runs",
    ),
    "unknown": Durability(
        mode="unknown",
        sentence="the server does not say when it writes to disk (Redis, CONFIG is forbidden): about one second of "
        "events may go; lakeray sees it and parks the runs",
    ),
}


def durability(client: Any, address: str) -> Durability:
    """What the server's settings promise. Raises ConfigError for settings that would lose runs, and RedisError."""
    info = client.info("everything")
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _OLDEST:
        raise _refused(address, f"is Redis {version}", "use Redis 6.2 or later")
    if int(info.get("cluster_enabled", 0)):
        raise _refused(address, "is a Redis Cluster", "use a single primary, with replicas if you like")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise _refused(address, f"may throw runs away (maxmemory-policy {policy})", "set maxmemory-policy noeviction")
    if not int(info.get("aof_enabled", 0)):
        raise _refused(
            address, "forgets everything when it restarts (appendonly no)", "set appendonly yes and appendfsync always"
        )
    fsync = _fsync(client)
    if fsync not in _FSYNC:
        raise _refused(
            address, f"leaves it to chance when it writes to disk (appendfsync {fsync})", "set appendfsync always"
        )
    return _FSYNC[fsync]


def _fsync(client: Any) -> str:
    try:
        found = client.config_get("appendfsync")
    except ResponseError:  # managed servers forbid CONFIG
        return "unknown"
    return str(found.get("appendfsync") or found.get(b"appendfsync", b"unknown").decode())


def _refused(address: str, what: str, hint: str) -> ConfigError:
    return ConfigError(f"{address} {what}", hint=f"{hint}; runs must outlive the server")
