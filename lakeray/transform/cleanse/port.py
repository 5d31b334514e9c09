"""What one cleansing rule does to the values of a column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaned:
    """``values`` are as many as came. Where ``refused`` is true a value does not fit, is null, and its row must not go
    on. ``changed`` is true where a value is not what it was; None: compare. ``flags`` are a column of marks beside.
    """

    values: pa.Array
    refused: pa.BooleanArray | None = None
    changed: pa.BooleanArray | None = None
    flags: pa.BooleanArray | None = None


class Rule(Protocol):
    """One rule of a column.

    - ``label`` is what counts are kept under, ``reason`` says without values why it refuses.
    - ``takes`` says whether values of a type are any of its business; ``__call__`` gets no others.
    - Null stays null. The same value gets the same answer whatever stands beside it.
    - ``alone`` is true of a rule that makes a text of a text.
    - Returns the very array that came when nothing in it changes.
    """

    label: str
    reason: str
    alone: bool

    def takes(self, kind: pa.DataType) -> bool:
        """Whether values of ``kind`` are any of its business."""

    def __call__(self, values: pa.Array) -> Cleaned:
        """What it makes of ``values``."""
