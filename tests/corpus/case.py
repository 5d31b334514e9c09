"""What one object of the corpus is, with what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Expect = Literal["rows", "refused", "error", "any"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One object.

    ``options`` are keyword arguments of ``ReadOptions`` besides the format. ``expect`` is ``rows`` (all records are
    rows), ``refused`` (some records are refused with a reason), ``error`` (the object fails with a reason, perhaps
    after good rows) or ``any`` of these. ``rows`` and ``refused`` are the counts that must come out, None where they
    are open. ``crashes`` marks bytes on which Arrow's own code is known to end the process: read them in one of their
    own.
    """

    name: str
    format: str
    path: Path
    expect: Expect
    rows: int | None = None
    refused: int | None = None
    options: dict[str, object] = field(default_factory=dict)
    crashes: bool = False


def write(folder: Path, file: str, data: bytes) -> Path:
    """The path of a new object with these bytes."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
