"""The machine and the versions that a number belongs to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path


def described() -> dict[str, str]:
    """Cores, memory, kernel and Python, as a table shows them; no name of the machine."""
    return {
        "processor": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": str(os.cpu_count() or 1),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Version by distribution; those that are not installed are left out."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def file_system(folder: Path) -> str:
    """The kind of file system that ``folder`` is on, such as ext4 or tmpfs."""
    best, kind = "", "unknown"
    place = str(folder.resolve())
    mounts = Path("/proc/mounts")
    for line in mounts.read_text().splitlines() if mounts.exists() else []:
        _, point, name, *_ = line.split()
        inside = point in {"/", place} or place.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind


def _memory() -> str:
    kilobytes = _field("/proc/meminfo", "MemTotal")
    return f"{int(kilobytes.split()[0]) / 2**20:.0f} GiB" if kilobytes else "unknown"


def _field(file: str, name: str) -> str | None:
    path = Path(file)
    for line in path.read_text().splitlines() if path.exists() else []:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
