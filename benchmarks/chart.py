"""Horizontal bars as SVG, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _TOP = 760, 120, 190, 20, 10, 56
_OWN, _OTHER, _BAD = "#c2410c", "#64748b", "#94a3b8"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, or only its ``note`` when ``value`` is None.

    ``low`` and ``high`` are drawn as a whisker; ``own`` marks the bar in colour.
    """

    label: str
    value: float | None
    note: str
    low: float | None = None
    high: float | None = None
    own: bool = False


def bars(title: str, subtitle: str, items: Sequence[Bar]) -> str:
    """The chart's text; the longest bar takes the whole width."""
    most = max((item.high or item.value or 0.0 for item in items), default=0.0) or 1.0
    height = _TOP + len(items) * (_BAR + _GAP) + 12
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    style = 'font-family="ui-sans-serif, system-ui, sans-serif" font-size="13"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(title)}" {style}>',
        f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        f'<text x="16" y="24" font-size="15" font-weight="600" fill="#0f172a">{escape(title)}</text>',
        f'<text x="16" y="42" font-size="12" fill="#475569">{escape(subtitle)}</text>',
    ]
    for number, item in enumerate(items):
        parts.extend(_row(item, _TOP + number * (_BAR + _GAP), most))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(item: Bar, top: int, most: float) -> list[str]:
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    middle = top + _BAR // 2
    weight = ' font-weight="600"' if item.own else ""
    parts = [
        f'<text x="{_LEFT - 10}" y="{middle + 4}" text-anchor="end" fill="#0f172a"{weight}>{escape(item.label)}</text>'
    ]
    end = float(_LEFT)
    if item.value is not None:
        width = max(1.0, item.value * scale)
        end = _LEFT + width
        colour = _OWN if item.own else _OTHER
        parts.append(f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{colour}"/>')
        if item.low is not None and item.high is not None and item.high > item.low:
            left, right = _LEFT + item.low * scale, _LEFT + item.high * scale
            end = max(end, right)
            parts.append(
                f'<path d="M{left:.1f} {middle}H{right:.1f}M{right:.1f} {middle - 4}v8" stroke="#0f172a" fill="none"/>'
            )
    colour = "#0f172a" if item.value is not None else _BAD
    parts.append(f'<text x="{end + 8:.1f}" y="{middle + 4}" fill="{colour}">{escape(item.note)}</text>')
    return parts
