"""Hostile and ordinary objects of every format, each with what must come of it."""

from __future__ import annotations

from pathlib import Path

from tests.corpus import broken_files, csv_texts, json_texts, odd_objects
from tests.corpus.case import Case

__all__ = ["Case", "build"]


def build(folder: Path) -> list[Case]:
    """Write every object of the corpus below ``folder``; the same bytes every time."""
    made: list[Case] = []
    for part in (json_texts, csv_texts, odd_objects, broken_files):
        made.extend(part.build(folder / part.__name__.rpartition(".")[2]))
    names = [case.name for case in made]
    assert len(set(names)) == len(names), "names of cases are unique"
    return made
