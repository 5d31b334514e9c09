"""The few shapes that every format of a report can draw; texts in them are raw, each format escapes for itself."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A step of a graph: ``after`` are those before it, ``said`` its state in a word or two."""

    name: str
    said: str
    tone: Tone
    after: tuple[str, ...] = ()
    critical: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """Steps and their order, each behind those that it comes after; formats without drawing leave it out."""

    title: str
    nodes: list[Node]


Block = Heading | Note | Figures | Facts | Grid | Bars | Split | Items | Graph


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One of the seven."""

    name: str
    blocks: list[Block]


def remarked(headers: list[str], rows: list[list[str]], *, numeric: frozenset[int], tones: Sequence[Tone] = ()) -> Grid:
    """A grid whose last column, the remarks, is left out when there are none."""
    keep = len(headers) if any(row[-1] for row in rows) else len(headers) - 1
    return Grid(headers=headers[:keep], rows=[row[:keep] for row in rows], numeric=numeric, tones=list(tones))
