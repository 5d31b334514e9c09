"""One process owns a state file's runs, and the operating system knows which."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path

from lakeray.errors import LeaseHeld, StateUnavailable


class OwnerLock:
    """An advisory lock on ``<file>.owner``, gone with its process however that ends; the file says who holds it."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._path = state.with_name(f"{state.name}.owner")
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file is not None

    def acquire(self, owner: str) -> None:
        """Raises LeaseHeld, naming who holds it, and StateUnavailable when there can be no such file."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StateUnavailable(
                f"{self._path} cannot be opened: {error}", hint="make its folder writable"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(file, 1000).decode(errors="replace")
            os.close(file)
            raise self._refusal(holder) from error
        said = json.dumps({"owner": owner, "process": os.getpid(), "host": socket.gethostname()})
        os.ftruncate(file, 0)
        os.pwrite(file, said.encode(), 0)
        self._file = file

    def release(self) -> None:
        """Let the next one in."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _refusal(self, holder: str) -> LeaseHeld:
        try:
            said = json.loads(holder)
            who = f"{said['owner']}, process {said['process']} on {said['host']}"
        except (ValueError, KeyError, TypeError):
            who = "another process"
        return LeaseHeld(
            f"{self._state} is owned by {who}",
            hint="an embedded state has one orchestrator: end that one, or set LAKERAY_STATE to a redis:// address",
        )
