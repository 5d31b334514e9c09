"""A PostgreSQL server of our own, as it comes: fsync and synchronous commit on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.processes import free_ports

_USER = "postgres"


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, which Debian keeps out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "/none")]
    return found[-1].parent if found[-1].exists() else None


@contextmanager
def private_postgres(folder: Path) -> Iterator[str]:
    """The address of an empty database. PostgreSQL never runs as root: then the user ``postgres`` runs it."""
    folder.mkdir(parents=True)
    where = programs()
    if where is None:
        raise RuntimeError("PostgreSQL is not installed")
    if os.getuid() == 0:
        shutil.chown(folder, _USER, _USER)
        for above in folder.resolve().parents:  # the server's user has to get there
            if above.stat().st_uid == 0 and not above.stat().st_mode & 0o001:
                above.chmod(above.stat().st_mode | 0o011)
    data, (port,) = folder / "data", free_ports(1)
    _as_user([where / "initdb", "--pgdata", data, "--auth", "trust", "--username", _USER, "--no-instructions"])
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c max_connections=200"
    server = [where / "pg_ctl", "--pgdata", data, "--wait", "--log", folder / "log"]
    _as_user([*server, "--options", options, "start"])
    try:
        yield f"postgresql://{_USER}@127.0.0.1:{port}/postgres"
    finally:
        _as_user([*server, "--mode", "fast", "stop"])


def _as_user(command: list[str | Path]) -> None:
    said = [str(part) for part in command]
    if os.getuid() == 0:
        said = ["runuser", "-u", _USER, "--", *said]
    done = subprocess.run(said, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/", text=True)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name}: {done.stderr[-300:]}")
