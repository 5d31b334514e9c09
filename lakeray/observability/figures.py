"""Numbers as people read them, the same in progress, reports and tables."""

from __future__ import annotations

import math

_SIZE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_THOUSAND = 1000
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400


def count(value: float) -> str:
    """A whole number with thousands set apart: ``1,234``."""
    return f"{round(value):,}"


def counted(value: float, noun: str, plural: str | None = None) -> str:
    """A number with its noun in the right form: ``1 object``, ``1,234 objects``."""
    return f"{count(value)} {noun if round(value) == 1 else plural or noun + 's'}"


def size(size_bytes: float) -> str:
    """Bytes in decimal units, three figures: ``0 B``, ``12.3 MB``."""
    value, index = float(size_bytes), 0
    while value >= _THOUSAND - 0.5 and index < len(_SIZE_UNITS) - 1:
        value, index = value / _THOUSAND, index + 1
    if index == 0:
        return f"{value:.0f} B"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0  # noqa: PLR2004 - three figures, whatever the magnitude
    return f"{value:.{digits}f} {_SIZE_UNITS[index]}"


def duration(duration_s: float) -> str:
    """Seconds in the two units that matter: ``40 ms``, ``4.1 s``, ``3 min 05 s``, ``2 h 03 min``, ``4 d 02 h``."""
    if not math.isfinite(duration_s) or duration_s < 0:
        return "unknown"
    if duration_s < 0.9995:  # noqa: PLR2004 - what would round up to a second is one
        return f"{duration_s * _THOUSAND:.0f} ms"
    if duration_s < _MINUTE_S - 0.05:
        return f"{duration_s:.1f} s"
    whole = round(duration_s)
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02d} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02d} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S:02d} h"


def coarse(duration_s: float) -> str:
    """Seconds that are only foretold: like ``duration``, without fractions."""
    whole = max(1, round(duration_s)) if math.isfinite(duration_s) else -1
    return f"{whole} s" if 0 < whole < _MINUTE_S else duration(whole)


def per_second(value: float, duration_s: float) -> float:
    """``value`` divided by seconds, 0.0 where no time passed."""
    return value / duration_s if duration_s > 0 else 0.0


def percent(share: float, digits: int = 2) -> str:
    """A share of one as ``99.1 %``, rounded down, so that only a whole is ever shown as ``100 %``."""
    if share >= 1:
        return "100 %"
    scale = 10**digits
    cut = min(math.floor(share * 100 * scale + 1e-9), 100 * scale - 1) / scale
    shown = f"{cut:.{digits}f}"
    return (shown.rstrip("0").rstrip(".") if digits else shown) + " %"
