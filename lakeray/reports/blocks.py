"""The few shapes that every format of a report can draw; texts in them are raw, each format escapes for itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Tone = Literal["plain", "good", "warn", "bad"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Heading:
    """A heading below the section's own."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """One calm sentence."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """A few numbers that matter most, as (value, what it is, tone)."""

    figures: list[tuple[str, str, Tone]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Names with values, as (name, value, tone)."""

    facts: list[tuple[str, str, Tone]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """A table; ``numeric`` holds the indexes of columns that are aligned to the right."""

    headers: list[str]
    rows: list[list[str]]
    numeric: frozenset[int] = frozenset()
    tones: list[Tone] = field(default_factory=list)

    def tone(self, row: int) -> Tone:
        """How the row feels."""
        return self.tones[row] if row < len(self.tones) else "plain"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bars:
    """Lengths side by side, as (name, value, value as shown)."""

    title: str
    bars: list[tuple[str, float, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """A whole and its parts, as (name, count, tone); formats without drawing may leave it out, Facts say the same."""

    title: str
    parts: list[tuple[str, int, Tone]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """A list of things to act on, as (what it is about, what happened line by line, what to do, tone)."""

    items: list[tuple[str, list[str], str, Tone]]


Block = Heading | Note | Figures | Facts | Grid | Bars | Split | Items


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One of the seven."""

    name: str
    blocks: list[Block]
