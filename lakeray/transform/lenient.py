"""An expression taken apart: its value where it has one, and whether a row has none.

An engine stops a whole chunk at the first row on which an expression errs. Here an expression becomes a *value* that
is null in such a row, and a *flag* that is true in it. The flag follows the order of evaluation: ``AND``, ``OR``,
``CASE`` and ``coalesce`` do not look at what they need not look at, so that ``x <> '' AND CAST(x AS INT) > 0`` does
not err where x is empty, whichever rows share its chunk.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from lakeray.transform import arithmetic
from lakeray.transform.dialect import sql_of

_WORDS = {
    "cast": "a value does not convert",
    "range": "a result is out of its type's range",
    "zero": "division by zero",
}
_FIRST_KNOWN = frozenset({"coalesce", "nvl", "ifnull"})


class Lenient:
    """The parts of one bound tree; arithmetic nodes carry their types in ``meta`` (see ``expression.bind``)."""

    def __init__(self, tree: exp.Expr) -> None:
        self._tree = tree
        self._kinds: list[str] = []

    def strict(self) -> exp.Expr:
        """The expression with integer arithmetic checked."""
        return rewritten(self._tree.copy(), _strict_node)

    def value(self) -> exp.Expr:
        """The expression, null in place of every operation that errs."""
        return _lenient(self._tree)

    def failed(self) -> str | None:
        """SQL that is true in rows on which the expression errs; None when nothing in it can, as far as is known."""
        self._kinds = []
        return self._failed(self._tree)

    def reason(self) -> str:
        """In words, what can go wrong; call after ``failed``."""
        words = [_WORDS[kind] for kind in _WORDS if kind in self._kinds]
        return " or ".join(words) or "the expression fails on this row"

    def _failed(self, node: exp.Expr) -> str | None:
        if isinstance(node, exp.And | exp.Or):
            stop = "FALSE" if isinstance(node, exp.And) else "TRUE"
            return self._then(node.this, f"IS NOT {stop}", self._failed(node.expression))
        if isinstance(node, exp.Case):
            return self._case(node)
        if isinstance(node, exp.Anonymous) and str(node.this).lower() in _FIRST_KNOWN:
            found: str | None = None
            for argument in reversed(node.expressions):
                found = self._then(argument, "IS NULL", found)
            return found
        if isinstance(node, exp.DataType | exp.Interval | exp.Literal | exp.Column):
            return None
        parts = [self._failed(child) for child in node.iter_expressions()]
        return _any([*parts, self._own(node)])

    def _then(self, first: exp.Expr, goes_on: str, rest: str | None) -> str | None:
        """The flag of what is looked at only where ``first`` ``goes_on``."""
        return _any([self._failed(first), None if rest is None else f"({_sql(first)} {goes_on} AND {rest})"])

    def _own(self, node: exp.Expr) -> str | None:
        """The flag of the operation of ``node`` itself."""
        if isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast):
            if isinstance(node.this, exp.Literal):
                return None
            self._kinds.append("cast")
            return f"({_sql(node.this)} IS NOT NULL AND {_sql(node)} IS NULL)"
        if _is_arrow_cast(node):
            self._kinds.append("cast")
            return f"({_sql(node.expressions[0])} IS NOT NULL AND {_sql(node)} IS NULL)"
        if "operation" in node.meta:
            self._kinds.append("range")
            sides = [_sql(side) for side in _operands(node)]
            known = " AND ".join(f"{side} IS NOT NULL" for side in sides)
            return f"({known} AND {_sql(node)} IS NULL)"
        if node.meta.get("divides"):
            self._kinds.append("zero")
            left, right = _sql(node.this), _sql(node.expression)
            return f"({left} IS NOT NULL AND {right} IS NOT NULL AND {right} = 0)"
        return None

    def _case(self, node: exp.Case) -> str | None:
        branches: list[str] = []
        matters = False
        for branch in node.args["ifs"]:
            first, then = self._failed(branch.this), self._failed(branch.args["true"])
            matters = matters or first is not None or then is not None
            branches += [f"WHEN {first} THEN TRUE"] if first else []
            branches.append(f"WHEN {_sql(branch.this)} THEN {then or 'FALSE'}")
        default = node.args.get("default")
        last = None if default is None else self._failed(default)
        if not matters and last is None:
            return None
        return f"(CASE {' '.join(branches)} ELSE {last or 'FALSE'} END)"


def _any(parts: list[str | None]) -> str | None:
    found = [part for part in parts if part is not None]
    return f"({' OR '.join(found)})" if found else None


def _sql(node: exp.Expr) -> str:
    return f"({sql_of(_lenient(node))})"


def _lenient(node: exp.Expr) -> exp.Expr:
    return rewritten(node.copy(), _lenient_node)


def rewritten(node: exp.Expr, change: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """``node`` with ``change`` made to every node in it, the innermost first; in place where it can be."""
    for child in list(node.iter_expressions()):
        new = rewritten(child, change)
        if new is not child:
            child.replace(new)
    return change(node)


def _strict_node(node: exp.Expr) -> exp.Expr:
    return _call(node, lenient=False) if "operation" in node.meta else node


def _lenient_node(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Cast) and not isinstance(node, exp.TryCast):
        return exp.TryCast(this=node.this.copy(), to=node.args["to"].copy())
    if _is_arrow_cast(node):
        return exp.Anonymous(this="arrow_try_cast", expressions=[part.copy() for part in node.expressions])
    if "operation" in node.meta:
        return _call(node, lenient=True)
    if node.meta.get("divides"):
        divisor = exp.Anonymous(this="nullif", expressions=[node.expression.copy(), exp.Literal.number(0)])
        return type(node)(this=node.this.copy(), expression=divisor)
    return node


def _is_arrow_cast(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and str(node.this).lower() == "arrow_cast"


def _operands(node: exp.Expr) -> list[exp.Expr]:
    return [node.this] if isinstance(node, exp.Neg) else [node.this, node.expression]


def _call(node: exp.Expr, *, lenient: bool) -> exp.Expr:
    kind = node.meta["kind"]
    sides = [_as_kind(side, kind) for side in _operands(node)]
    if isinstance(node, exp.Neg):
        sides.insert(0, _as_kind(exp.Literal.number(0), kind))
    return exp.Anonymous(this=arithmetic.function(node.meta["operation"], kind, lenient=lenient), expressions=sides)


def _as_kind(side: exp.Expr, kind: object) -> exp.Expr:
    name = exp.Literal.string(_ARROW_NAMES[str(kind)])
    return exp.Anonymous(this="arrow_cast", expressions=[side.copy(), name])


_ARROW_NAMES = {
    str(kind): str(kind).replace("uint", "UInt").replace("int", "Int", 1 if str(kind)[0] == "i" else 0)
    for kind in arithmetic.SQL_TYPES
}
