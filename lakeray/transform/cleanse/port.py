"""What one cleansing rule does to the values of a column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


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


def different(before: pa.Array, after: pa.Array) -> pa.BooleanArray | None:
    """Where a value is another one, or null now; None where none is."""
    if after is before:
        return None
    other = pc.fill_null(pc.not_equal(before, after), fill_value=False)
    if after.null_count != before.null_count:
        other = pc.or_(other, pc.and_(before.is_valid(), after.is_null()))
    return other if pc.any(other).as_py() else None


def scattered(flags: pa.BooleanArray, places: pa.Array, length: int) -> pa.BooleanArray:
    """``flags`` at their ``places`` of ``length`` ones, the others false."""
    made = np.zeros(length, dtype=bool)
    made[np.asarray(places)] = np.asarray(flags)
    return pa.array(made)
