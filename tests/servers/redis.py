"""A Redis server that loses nothing: append-only file, synced at every write."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.processes import SERVERS, free_ports, listening, program, running, until


@dataclass(frozen=True, kw_only=True)
class RedisServer:
    """``env`` holds ``LAKERAY_STATE``; ``pid`` lets a test stop or kill it."""

    url: str
    pid: int
    env: dict[str, str] = field(repr=False)


@contextlib.contextmanager
def start_redis(folder: Path, *, port: int | None = None, more: Sequence[str] = ()) -> Iterator[RedisServer]:
    """Up in a tenth of a second; give the same folder and port again to restart it with its data. ``more`` are
    settings as on the command line, over those that lose nothing.

    Raises ServerMissing.
    """
    command = program("redis-server", variable="LAKERAY_REDIS", places=[SERVERS / "redis/redis-server"])
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_ports(1)[0]
    log = folder / "redis.log"
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    safe = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", ""]
    with running([command, *where, *safe, *more], log) as process:
        until(lambda: listening(port), process, log, 20)
        url = f"redis://127.0.0.1:{port}/0"
        yield RedisServer(url=url, pid=process.pid, env={"LAKERAY_STATE": url})
