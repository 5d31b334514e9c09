"""Numbers that lie too far out, by bounds that are declared or found in the batch."""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.spec.cleansing import Outlier
from lakeray.transform.cleanse.port import Cleaned

Bounds = tuple[float | None, float | None]
"""The smallest and the largest number that may be; None is no limit."""


class OutlierRule:
    """Numbers outside of ``bounds`` become null, the nearest bound, or a mark, or their rows are refused."""

    alone = False

    def __init__(self, label: str, spec: Outlier, bounds: Bounds) -> None:
        self.label = label
        self.action = spec.action
        self._low, self._high = bounds
        shown = " to ".join("" if bound is None else f"{bound:g}" for bound in bounds)
        self.reason = f"the number lies outside of {shown.strip()}"

    def takes(self, kind: pa.DataType) -> bool:
        """Numbers alone."""
        return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind))

    def __call__(self, values: pa.Array) -> Cleaned:
        """``values`` with what is to be done to those that are out."""
        numbers = values.cast(pa.float64(), safe=False)
        below = self._out(pc.less(numbers, -math.inf if self._low is None else self._low))
        above = self._out(pc.greater(numbers, math.inf if self._high is None else self._high))
        out = pc.or_(below, above)
        if self.action == "flag":
            none = pa.repeat(pa.scalar(False), len(values))
            return Cleaned(
                values=values, changed=none, flags=pc.if_else(values.is_valid(), out, pa.scalar(None, pa.bool_()))
            )
        if not pc.any(out).as_py():
            return Cleaned(values=values)
        if self.action == "clip":
            values = pc.if_else(below, self._bound(self._low, values.type, up=True), values)
            return Cleaned(
                values=pc.if_else(above, self._bound(self._high, values.type, up=False), values), changed=out
            )
        rest = pc.if_else(out, pa.scalar(None, values.type), values)
        return Cleaned(values=rest, refused=out) if self.action == "quarantine" else Cleaned(values=rest, changed=out)

    @staticmethod
    def _out(flags: pa.BooleanArray) -> pa.BooleanArray:
        return pc.fill_null(flags, fill_value=False)

    @staticmethod
    def _bound(bound: float | None, kind: pa.DataType, *, up: bool) -> pa.Scalar:
        """The bound in the column's type, rounded inwards."""
        if bound is None:
            return pa.scalar(None, kind)
        if pt.is_integer(kind):
            return pa.scalar(math.ceil(bound) if up else math.floor(bound)).cast(kind)
        if pt.is_decimal(kind):
            unit = 10.0**kind.scale
            inside = (math.ceil(bound * unit) if up else math.floor(bound * unit)) / unit
            return pa.scalar(inside).cast(kind, safe=False)
        return pa.scalar(float(bound)).cast(kind)
