"""Commands and programs in processes of their own, forked from one that has imported lakeray already.

A process that starts from nothing spends a second or two of CPU on imports, which is most of what a test costs that
kills an import and runs it again. ``Started`` looks like ``subprocess.Popen``. Real processes (with Ray, or killed at
random times, starting up included) are the business of ``subprocess``.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

PRELOADED = (
    *("lakeray.cli.app", "lakeray.lake", "lakeray.objects.local", "lakeray.observability.logs"),
    *("lakeray.observability.plain", "s3fs", "redis", "tests.commands", "tests.unit.importer.small_lake"),
    "tests.unit.runtime.durable_world",
)
_FORKS = multiprocessing.get_context("forkserver")


class Started:
    """A running process: its group is its own, what it prints is in files until somebody asks."""

    def __init__(self, args: list[str], work: Any, env: Mapping[str, str], cwd: Path) -> None:
        self.args = args
        self._printed = tempfile.TemporaryDirectory(prefix="printed-")
        here = Path(self._printed.name)
        ready, says_ready = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=_become, args=(work, dict(env), cwd, here, says_ready))
        self._process.start()
        says_ready.close()
        ready.poll(60)  # until then the process is in the group of the one that it was forked from
        ready.close()

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    @property
    def returncode(self) -> int | None:
        """As of ``Popen``: negative for a signal."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it printed to stdout and stderr. Raises TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        here = Path(self._printed.name)
        return (here / "1").read_text(), (here / "2").read_text()


def lakeray(*arguments: str, env: Mapping[str, str], cwd: Path) -> Started:
    """Start `lakeray` with ``arguments``."""
    return Started(["lakeray", *arguments], partial(_command, arguments), env, cwd)


def python(code: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end, ``arguments`` in its ``sys.argv``, ``env`` added to this process's."""
    started = Started(["python", *arguments], partial(_program, code, arguments), {**os.environ, **env}, Path.cwd())
    out, err = started.communicate(120)
    return subprocess.CompletedProcess(started.args, started.returncode or 0, out, err)


def _become(work: Any, env: dict[str, str], cwd: Path, printed: Path, says_ready: Any) -> None:
    os.setsid()
    os.chdir(cwd)
    for stream in (1, 2):
        os.dup2(os.open(printed / str(stream), os.O_WRONLY | os.O_CREAT), stream)
    os.environ.clear()
    os.environ.update(env)
    from lakeray import failpoints

    failpoints._ARMED = failpoints._armed()
    says_ready.send_bytes(b"ready")
    says_ready.close()
    work()


def _command(arguments: tuple[str, ...]) -> None:
    from lakeray.cli import main

    sys.argv = ["lakeray", *arguments]
    main()


def _program(code: str, arguments: tuple[str, ...]) -> None:
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<program>", "exec"), {"__name__": "__main__"})


_FORKS.set_forkserver_preload(list(PRELOADED))
