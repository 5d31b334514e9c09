"""A run's graph as a small drawing: steps in columns by how many come before them, lines between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lakeray.reports.blocks import Graph, Node
from lakeray.reports.markup import Markup, element

MOST_STEPS = 60
"""Steps beyond which a drawing helps nobody."""
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _EDGE = 150, 44, 44, 14, 6
_LONGEST = 20
_WIDEST = 1400
"""Beyond this a drawing is scrolled rather than made smaller."""


def columns(after: dict[str, Sequence[str]]) -> dict[str, tuple[int, int]]:
    """Column and row of each step: the column is one behind the last of those that it comes ``after``.

    ``after`` names each step behind those that it comes after; others that it names are taken for absent.
    """
    found: dict[str, tuple[int, int]] = {}
    filled: dict[int, int] = {}
    for name, before in after.items():
        column = 1 + max((found[other][0] for other in before if other in found), default=-1)
        row = filled.get(column, 0)
        filled[column] = row + 1
        found[name] = (column, row)
    return found


def draw(graph: Graph) -> Markup:
    """The drawing as SVG that scales down and takes its colours from the page."""
    places = columns({node.name: node.after for node in graph.nodes})
    width = (max(column for column, _ in places.values()) + 1) * (_WIDTH + _GAP_X) - _GAP_X + 2 * _EDGE
    height = (max(row for _, row in places.values()) + 1) * (_HEIGHT + _GAP_Y) - _GAP_Y + 2 * _EDGE
    nodes = (_node(node, *places[node.name]) for node in graph.nodes)
    drawing = element(
        "svg",
        *_lines(graph.nodes, places),
        *nodes,
        class_="graph" if width <= _WIDEST else "graph wide",
        viewBox=f"0 0 {width} {height}",
        width=str(width),
        role="img",
        aria_label=graph.title,
    )
    return element("figure", element("figcaption", graph.title), element("div", drawing, class_="scroll"))


def _corner(column: int, row: int) -> tuple[int, int]:
    return _EDGE + column * (_WIDTH + _GAP_X), _EDGE + row * (_HEIGHT + _GAP_Y)


def _node(node: Node, column: int, row: int) -> Markup:
    x, y = _corner(column, row)
    kind = f"node {node.tone}" + (" critical" if node.critical else "")
    return element(
        "g",
        element("title", f"{node.name}: {node.said}"),
        element("rect", x=str(x), y=str(y), width=str(_WIDTH), height=str(_HEIGHT), rx="6"),
        element("text", _short(node.name), x=str(x + 10), y=str(y + 18), class_="name"),
        element("text", _short(node.said), x=str(x + 10), y=str(y + 35), class_="said"),
        class_=kind,
    )


def _lines(nodes: Iterable[Node], places: dict[str, tuple[int, int]]) -> Iterable[Markup]:
    critical = {node.name for node in nodes if node.critical}
    for node in nodes:
        for before in node.after:
            if before in places:
                x1, y1 = _corner(*places[before])
                x2, y2 = _corner(*places[node.name])
                x1, y1, y2 = x1 + _WIDTH, y1 + _HEIGHT // 2, y2 + _HEIGHT // 2
                middle = (x1 + x2) // 2
                kind = "line critical" if {before, node.name} <= critical else "line"
                yield element("path", d=f"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}", class_=kind)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
