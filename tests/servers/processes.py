"""Server processes that end with the test run, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SERVERS = REPOSITORY / ".servers"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class ServerMissing(Exception):
    """The server's program is not installed; the message says how to get it."""


def program(name: str, *, variable: str | None = None, places: Sequence[Path] = ()) -> str:
    """The path of a server's program: from ``variable``, one of ``places``, or PATH. Raises ServerMissing."""
    told = os.environ.get(variable, "") if variable else ""
    for candidate in [told, *(str(place) for place in places), shutil.which(name) or ""]:
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise ServerMissing(
        f"{name} is not installed: run tests/servers/install.sh" + (f" or set {variable}" if variable else "")
    )


def free_ports(count: int) -> list[int]:
    """Ports on which nobody listens now, below the range that the kernel hands out to clients."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        first = 20_000 + (os.getpid() * 37 + time.monotonic_ns() // 1000) % 11_000
        for port in range(first, 32_700):
            with contextlib.suppress(OSError):
                probe = stack.enter_context(socket.socket())
                probe.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise ServerMissing("no free ports")


def _with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, *, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The process of ``command`` while inside; output goes to ``log``. It is killed when this process dies first."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_with_parent,  # noqa: PLW1509 - one system call, safe beside threads
            env={**os.environ, **(env or {})},
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, within_s: float) -> None:
    """Return when ``ready()`` is true. Raises RuntimeError with the log's end when the process dies or time is up."""
    deadline = time.monotonic() + within_s
    while True:
        with contextlib.suppress(OSError):
            if ready():
                return
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"{process.args!r} did not come up within {within_s} s (exit {process.poll()}): {tail}")
        time.sleep(0.05)


def listening(port: int) -> bool:
    """Whether somebody accepts connections on the loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
