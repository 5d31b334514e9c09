"""The lake behind a command, opened late, closed always."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakeray.lake import Lake
    from lakeray.observability.progress import Observer


@contextmanager
def opened(observer: Observer | None = None) -> Iterator[Lake]:
    """A connected lake; what it needs is imported here, so that help stays instant."""
    from lakeray.lake import connect

    lake = connect(observer=observer)
    try:
        yield lake
    finally:
        lake.close()
