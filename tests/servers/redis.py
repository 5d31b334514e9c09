"""A Redis server that loses nothing (append-only file, synced at every write), and one that has trouble on demand."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.polling import eventually
from tests.servers.processes import SERVERS, free_ports, listening, program, running, until

if TYPE_CHECKING:
    import redis


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


class OwnRedis:
    """A server of one test's own, that can be killed and started again with its data. Raises ServerMissing."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_ports(1)[0]
        self.running = contextlib.ExitStack()
        self.start()

    def start(self, *more: str) -> None:
        self.now: RedisServer = self.running.enter_context(start_redis(self.folder, port=self.port, more=more))
        self.url = self.now.url

    def kill(self) -> None:
        os.kill(self.now.pid, signal.SIGKILL)
        self.running.close()

    def client(self) -> redis.Redis:
        import redis

        return redis.Redis(port=self.port)

    def start_slowly(self) -> None:
        """Kill it; while it reads its data again it answers LOADING, for a minute or so."""
        with self.client().pipeline(transaction=False) as others:
            for number in range(12_000):
                others.set(f"other:{number}", b"")
            others.execute()
        self.kill()
        self.start("--key-load-delay", "100")  # it looks up every 1,024 commands only

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Somebody's script runs and runs: BUSY."""
        self.client().config_set("lua-time-limit", "20")
        spinning = threading.Thread(target=_spin, args=(self.client(),))
        spinning.start()
        eventually(lambda: _refused_as_busy(self.client()), 10)
        try:
            yield
        finally:
            self.client().script_kill()
            spinning.join()

    def size_bytes(self) -> int:
        """Of its append-only file."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.aof"))

    def lose(self, size_bytes: int) -> None:
        """Kill it and start it without the end of its file, as after a crash of a machine that had not synced it."""
        self.kill()
        newest = max(self.folder.rglob("*.aof"), key=lambda path: path.stat().st_mtime_ns)
        os.truncate(newest, newest.stat().st_size - size_bytes)
        self.start()


def _spin(client: redis.Redis) -> None:
    from redis.exceptions import ResponseError

    with contextlib.suppress(ResponseError):  # killed
        client.eval("while true do end", 0)


def _refused_as_busy(client: redis.Redis) -> bool:
    from redis.exceptions import ResponseError

    try:
        client.get("k")
    except ResponseError as error:
        return "BUSY" in str(error)
    return False
