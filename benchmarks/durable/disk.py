"""What the disk itself needs to keep something."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path


def sync_ms(folder: Path, *, count: int = 200) -> float:
    """Median milliseconds of writing 4 KiB behind a file's end and syncing it (fdatasync)."""
    place = folder / "sync"
    took = []
    file = os.open(place, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        for _ in range(count):
            begin = time.perf_counter()
            os.write(file, bytes(4096))
            os.fdatasync(file)
            took.append(time.perf_counter() - begin)
    finally:
        os.close(file)
        place.unlink()
    return statistics.median(took) * 1e3
