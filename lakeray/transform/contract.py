"""What a source may change about the columns and types that are known of it, part by part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Evolution = Literal["add_columns", "rescue", "fail", "ignore"]
Part = Literal["evolve", "freeze", "discard_row", "discard_value"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contract:
    """The rules for one source.

    =============  ====================================  ===========================================================
    rule           ``columns``: an unknown column or     ``types``: a value that does not fit its column
                   nested field that holds a value
    =============  ====================================  ===========================================================
    evolve         it is added; until it has a type (it  the column takes the next wider type that holds it, where
                   is null, or holds only empty lists),  ``Widening`` allows it; otherwise null, and the original is
                   what it holds is rescued              rescued
    freeze         SchemaDrift                           SchemaDrift
    discard_row    the row is refused                    the row is refused
    discard_value  left out; the values are rescued      null; the original is rescued
    =============  ====================================  ===========================================================

    With ``lost="drop"`` discarded values are not rescued but given up, and counted.
    """

    columns: Part
    types: Part
    lost: Literal["rescue", "drop"] = "rescue"

    @classmethod
    def of(cls, evolution: Evolution) -> Contract:
        """What the short form stands for."""
        return _SHORT[evolution]


_SHORT: dict[Evolution, Contract] = {
    "add_columns": Contract(columns="evolve", types="discard_value"),
    "rescue": Contract(columns="discard_value", types="discard_value"),
    "fail": Contract(columns="freeze", types="freeze"),
    "ignore": Contract(columns="discard_value", types="discard_row", lost="drop"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Widening:
    """Which columns may take a wider type under ``types: evolve``.

    ``fixed`` may not: files that are there already hold them, and nobody asked to have these rewritten. ``inexact``
    hold integers that a float would not hold exactly, so that they may not become floats. ``texts``
    are asked for as text. ``closed``: none may.
    """

    closed: bool = False
    fixed: frozenset[str] = frozenset()
    inexact: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()

    def allows(self, column: str) -> bool:
        """Whether ``column`` may take a wider type."""
        return not self.closed and column not in self.fixed
