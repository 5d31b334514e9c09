"""One expression of the user, bound to the columns of a schema."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from typing import TypeVar

import pyarrow as pa
import pyarrow.types as pt
from sqlglot import exp

from lakeray.errors import TransformError
from lakeray.transform import arithmetic, dialect
from lakeray.transform.delta_types import is_text
from lakeray.transform.engine import CHUNK, VOLATILE, Engine, projection
from lakeray.transform.lenient import Lenient, rewritten

_ARITHMETIC: dict[type[exp.Expr], str] = {exp.Add: "add", exp.Sub: "subtract", exp.Mul: "multiply"}
_COMPARISONS = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_CASTS: dict[pa.DataType, str] = {
    **arithmetic.SQL_TYPES,
    pa.float32(): "REAL",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
}
_Planned = TypeVar("_Planned")


@dataclass(frozen=True, kw_only=True, slots=True)
class Expression:
    """What the user wrote under ``rule`` (as in ``select:total``), parsed and found to be one per-row expression.

    ``sql`` is the ``text`` with the clock put in.
    """

    rule: str
    text: str
    sql: str
    tree: exp.Expr
    columns: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bound:
    """An expression whose types are known.

    ``strict`` raises for the whole chunk when one row errs. ``value`` never does as far as its operations are
    understood: rows for which ``failed`` (None: cannot fail) is true would have erred. ``reason`` says in words what
    went wrong in such a row, without its values.
    """

    rule: str
    kind: pa.DataType
    strict: str
    value: str
    failed: str | None
    reason: str


def parsed(rule: str, text: str, *, engine: Engine, now: datetime) -> Expression:
    """The expression under ``rule``, with the clock put in. Raises TransformError, naming rule and text."""
    instant = now.astimezone(UTC)
    stamp = f"""arrow_cast('{instant.replace(tzinfo=None).isoformat()}Z', 'Timestamp(Microsecond, Some("UTC"))')"""
    try:
        sql = dialect.with_clock(text, instant=stamp, day=f"CAST('{instant.date().isoformat()}' AS DATE)")
        tree = dialect.parse(sql)
    except dialect.NotAnExpression as error:
        raise refused(rule, text, f"holds {error}", hint="write one SQL expression over the columns of a row") from None
    _check_functions(rule, text, tree, engine)
    return Expression(rule=rule, text=text, sql=sql, tree=tree, columns=frozenset(dialect.columns_of(tree)))


def refused(rule: str, text: str, what: str, *, hint: str | None = None) -> TransformError:
    """The error for an expression that cannot be used."""
    return TransformError(f"{rule}: the expression {' '.join(text.split())!r} {what}", hint=hint)


def _check_functions(rule: str, text: str, tree: exp.Expr, engine: Engine) -> None:
    for name in sorted(dialect.functions_of(tree)):
        if name in VOLATILE:
            raise refused(rule, text, f"calls {name}(), which differs from one attempt to the next")
        if name == "unnest":
            raise refused(rule, text, "calls unnest(), which makes more rows", hint="use an apply hook for that")
        if name in engine.functions:
            continue
        if name in engine.aggregates:
            raise refused(rule, text, f"calls {name}(), an aggregate or window; expressions see one row at a time")
        near = difflib.get_close_matches(name, engine.functions, n=1)
        raise refused(rule, text, f"calls {name}(), which is not available", hint=_nearest(near))


def _nearest(near: list[str]) -> str | None:
    return f"did you mean {near[0]!r}?" if near else None


def check_columns(expression: Expression, names: Iterable[str]) -> None:
    """Raises TransformError when the expression reads a column that is not there, with the nearest one that is."""
    known = list(names)
    for missing in sorted(expression.columns - set(known)):
        folded = {name.casefold(): name for name in known}
        near = difflib.get_close_matches(missing.casefold(), folded, n=1, cutoff=0.5)
        hint = f"did you mean {folded[near[0]]!r}?" if near else f"columns: {', '.join(known) or 'none'}"
        raise refused(
            expression.rule, expression.text, f"reads the column {missing!r}, which does not exist", hint=hint
        )


def check_syntax(expression: Expression, engine: Engine) -> None:
    """Raises TransformError where the engine cannot read the user's own text, whatever columns there are."""
    nothing = projection([(name, "NULL") for name in sorted(expression.columns)] or [("__none", "0")], "(SELECT 1)")
    try:
        engine.plan(projection([("x", f"({expression.sql}\n)")], f"({nothing})"))
    except Exception as error:  # noqa: BLE001  DataFusion raises bare exceptions
        what = str(error).splitlines()[0]
        kind = re.search(r"Unsupported SQL type (\S+)", what)
        if kind is not None:
            told = f"holds the type {kind[1]}, which is not known"
            raise refused(expression.rule, expression.text, told, hint=_TYPES_HINT) from None
        if "ParserError" in what:  # all else may be different with the columns' true types
            told = f"cannot be planned: {what}"
            raise refused(expression.rule, expression.text, told, hint=_KEYWORD_HINT) from None


_TYPES_HINT = "types of SQL: BIGINT, INT, DOUBLE, DECIMAL(18, 2), STRING, BOOLEAN, DATE, TIMESTAMP, BYTEA"


def bind(expression: Expression, engine: Engine, source: str = CHUNK) -> Bound:
    """The expression over the columns of ``source``. Raises TransformError for what only the engine can know."""
    text = dialect.sql_of(expression.tree)
    plain = _planned(expression, lambda: engine.shape(projection([("x", f"({text})")], source)))
    _check_meaning(expression, plain, engine, source)
    tree = rewritten(_microseconds(expression.tree.copy()), _spelt_out)
    tree = rewritten(tree, _Parsers(engine, source).as_cast)
    nodes = [node for node in tree.walk() if isinstance(node, (*_ARITHMETIC, *_COMPARISONS, exp.Div, exp.Mod, exp.Neg))]
    parts = [part for node in nodes for part in (node, node.this, node.args.get("expression") or node.this)]
    found = _planned(expression, lambda: engine.types([dialect.sql_of(part) for part in parts], source))
    for position, node in enumerate(nodes):
        _typed(node, *found[3 * position : 3 * position + 3])
    kind = _planned(expression, lambda: engine.types([dialect.sql_of(tree)], source))[0]
    lenient = Lenient(tree)
    return Bound(
        rule=expression.rule,
        kind=kind,
        strict=f"({dialect.sql_of(lenient.strict())})",
        value=f"({dialect.sql_of(lenient.value())})",
        failed=lenient.failed(),
        reason=lenient.reason(),
    )


def _planned(expression: Expression, work: Callable[[], _Planned]) -> _Planned:
    try:
        return work()
    except Exception as error:  # noqa: BLE001  DataFusion raises bare exceptions
        what = str(error).splitlines()[0].removeprefix("Error during planning: ").removeprefix("DataFusion error: ")
        raise refused(expression.rule, expression.text, f"cannot be planned: {what}") from None


def _check_meaning(expression: Expression, plain: str, engine: Engine, source: str) -> None:
    """The engine must read the user's own text as the tree was read."""
    try:
        own = engine.shape(projection([("x", f"({expression.sql}\n)")], source))
    except Exception as error:  # noqa: BLE001
        what = str(error).splitlines()[0]
        raise refused(expression.rule, expression.text, f"cannot be planned: {what}", hint=_KEYWORD_HINT) from None
    if own != plain:
        raise refused(expression.rule, expression.text, "can be read in two ways", hint="add brackets around its parts")


_KEYWORD_HINT = 'put double quotes around a column name that is also an SQL keyword, as in "order"'


def _typed(node: exp.Expr, kind: pa.DataType, left: pa.DataType, right: pa.DataType) -> None:
    """Note on a node what its rewriting needs to know."""
    if isinstance(node, _COMPARISONS):
        _cast_side(node, "this", left, right)
        _cast_side(node, "expression", right, left)
    elif isinstance(node, exp.Div | exp.Mod):
        node.meta["divides"] = pt.is_integer(kind) or pt.is_decimal(kind)
    elif pt.is_integer(kind) and not isinstance(node.this, exp.Literal if isinstance(node, exp.Neg) else ()):
        node.meta["operation"] = _ARITHMETIC.get(type(node), "subtract")
        node.meta["kind"] = kind


def _cast_side(node: exp.Expr, side: str, kind: pa.DataType, other: pa.DataType) -> None:
    """Say aloud the cast of a text that the engine would add by itself, so that its failures are understood."""
    operand = node.args[side]
    name = "TIMESTAMP(6) WITH TIME ZONE" if pt.is_timestamp(other) else _CASTS.get(other)
    if is_text(kind) and name is not None and not isinstance(operand, exp.Literal):
        node.set(side, exp.Cast(this=operand.copy(), to=dialect.type_of(name)))


def _spelt_out(node: exp.Expr) -> exp.Expr:
    """BETWEEN, computed lists and CASE x WHEN as what they are short for: it is plain what is looked at, when."""
    if isinstance(node, exp.Between):
        above = exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
        below = exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
        return exp.Paren(this=exp.And(this=above, expression=below))
    if isinstance(node, exp.In) and not all(isinstance(item, exp.Literal) for item in node.expressions):
        tests: list[exp.Expr] = [exp.EQ(this=node.this.copy(), expression=item.copy()) for item in node.expressions]
        return exp.Paren(this=reduce(_or, tests))
    if isinstance(node, exp.Case) and node.this is not None:
        for branch in node.args["ifs"]:
            branch.set("this", exp.EQ(this=node.this.copy(), expression=branch.this.copy()))
        node.set("this", None)
    return node


class _Parsers:
    """``to_timestamp(text)`` and ``to_date(text)`` as the casts that they are, whose failures are understood."""

    def __init__(self, engine: Engine, source: str) -> None:
        self._engine = engine
        self._source = source

    def as_cast(self, node: exp.Expr) -> exp.Expr:
        name = str(node.this).lower() if isinstance(node, exp.Anonymous) else ""
        if name not in _PARSERS or len(node.expressions) != 1:
            return node
        operand = node.expressions[0]
        if not is_text(self._engine.types([dialect.sql_of(operand)], self._source)[0]):
            return node
        return exp.Cast(this=operand.copy(), to=dialect.type_of(_PARSERS[name]))


_PARSERS = {"to_timestamp": "TIMESTAMP(6)", "to_date": "DATE"}


def _or(first: exp.Expr, rest: exp.Expr) -> exp.Expr:
    return exp.Or(this=first, expression=rest)


def _microseconds(tree: exp.Expr) -> exp.Expr:
    """TIMESTAMP without a precision means microseconds, as in the table; the engine's nanoseconds end in 2262."""
    for kind in tree.find_all(exp.DataType):
        if kind.is_type("timestamp", "timestamptz") and not kind.expressions:
            kind.set("expressions", [exp.DataTypeParam(this=exp.Literal.number(6))])
    return tree
