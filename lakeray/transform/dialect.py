"""The SQL that users write in expressions, as a tree that holds nothing but a per-row expression.

The tree is built from a list of node kinds that are *allowed*; what is executed is written anew from the tree, never
the user's text. So that both mean the same, the engine plans the user's text too, and its plan must equal that of the
tree.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlglot import exp, generator, parser, tokens
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import SqlglotError
from sqlglot.tokens import TokenType  # type: ignore[attr-defined]

_SYNTAX_FUNCTIONS = ("CAST", "TRY_CAST", "EXTRACT", "POSITION", "TRIM", "SUBSTRING", "OVERLAY")


class ExpressionDialect(Dialect):
    """DataFusion's expressions: names keep their case, functions are taken as they are written."""

    NORMALIZE_FUNCTIONS: bool | str = False

    class Tokenizer(tokens.Tokenizer):
        """Two kinds of quotes for names, one for texts, no escapes but doubling."""

        IDENTIFIERS: ClassVar[list[Any]] = ['"', "`"]
        KEYWORDS: ClassVar[dict[str, TokenType]] = {**tokens.Tokenizer.KEYWORDS, "~": TokenType.RLIKE}

    class Parser(parser.Parser):
        """No function is known by name, so that none is rewritten."""

        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {
            name: parse for name, parse in parser.Parser.FUNCTION_PARSERS.items() if name in _SYNTAX_FUNCTIONS
        }
        NO_PAREN_FUNCTION_PARSERS: ClassVar[dict[str, Any]] = {"CASE": parser.Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]}
        RANGE_PARSERS: ClassVar[dict[Any, Any]] = {
            **parser.Parser.RANGE_PARSERS,
            TokenType.RLIKE: parser.binary_range_parser(exp.RegexpLike),
        }

    class Generator(generator.Generator):
        """Spells the few nodes that DataFusion writes in its own way."""

        TYPE_MAPPING: ClassVar[dict[Any, str]] = {
            **generator.Generator.TYPE_MAPPING,
            exp.DataType.Type.VARBINARY: "BYTEA",
            exp.DataType.Type.UTINYINT: "TINYINT UNSIGNED",
            exp.DataType.Type.USMALLINT: "SMALLINT UNSIGNED",
            exp.DataType.Type.UINT: "INT UNSIGNED",
            exp.DataType.Type.UBIGINT: "BIGINT UNSIGNED",
        }
        TRANSFORMS: ClassVar[dict[Any, Any]] = {
            **generator.Generator.TRANSFORMS,
            exp.RegexpLike: lambda self, e: self.binary(e, "~"),
            exp.StrPosition: lambda self, e: self.func("strpos", e.this, e.args.get("substr")),
            exp.Substring: lambda self, e: self.func("substr", e.this, e.args.get("start"), e.args.get("length")),
            exp.Array: lambda self, e: f"[{self.expressions(e, flat=True)}]",
            exp.Not: lambda self, e: self.negation(e),
        }

        def negation(self, expression: exp.Not) -> str:
            """NOT, inside IS where it was written there."""
            inner = expression.this
            if isinstance(inner, exp.Is):
                return f"({self.sql(inner, 'this')} IS NOT {self.sql(inner, 'expression')})"
            return f"(NOT ({self.sql(inner)}))"

        def datatype_sql(self, expression: exp.DataType) -> str:
            """A type; a zone comes behind the precision."""
            if not expression.is_type(exp.DataType.Type.TIMESTAMPTZ):
                return super().datatype_sql(expression)
            precision = self.expressions(expression, flat=True)
            return f"TIMESTAMP({precision}) WITH TIME ZONE" if precision else "TIMESTAMP WITH TIME ZONE"


ALLOWED: tuple[type[exp.Expr], ...] = (
    exp.Column, exp.Identifier, exp.Literal, exp.Null, exp.Boolean, exp.Paren, exp.Dot, exp.Bracket, exp.Slice,
    exp.Array, exp.Tuple, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg, exp.DPipe, exp.BitwiseAnd,
    exp.BitwiseOr, exp.BitwiseXor, exp.BitwiseLeftShift, exp.BitwiseRightShift, exp.BitwiseNot, exp.And, exp.Or,
    exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Is, exp.In,
    exp.Between, exp.Like, exp.ILike, exp.SimilarTo, exp.RegexpLike, exp.Case, exp.If, exp.Cast, exp.TryCast,
    exp.DataType, exp.DataTypeParam, exp.Interval, exp.Var, exp.Anonymous, exp.Extract, exp.Trim, exp.Substring,
    exp.StrPosition, exp.Overlay, exp.AtTimeZone,
)  # fmt: skip
_NAMES: dict[type[exp.Expr], str] = {
    exp.Subquery: "a subquery",
    exp.Select: "a subquery",
    exp.Exists: "a subquery",
    exp.Union: "UNION",
    exp.Window: "a window (OVER)",
    exp.Star: "*",
    exp.Alias: "AS: the name of the column is the key",
    exp.Placeholder: "a placeholder",
    exp.Parameter: "a variable",
    exp.Escape: "ESCAPE, which the engine lacks",
    exp.Values: "VALUES",
}


_INSTANTS = {"now": "instant", "current_timestamp": "instant"}
_DAYS = {"today": "day", "current_date": "day"}
_CLOCK_TOKENS = (TokenType.VAR, TokenType.CURRENT_DATE, TokenType.CURRENT_TIMESTAMP)


class NotAnExpression(ValueError):
    """A text that is not one allowed expression; the message completes "... holds"."""


def parse(text: str) -> exp.Expr:
    """The tree of one per-row expression. Raises NotAnExpression."""
    try:
        trees = [tree for tree in ExpressionDialect().parse(text) if tree is not None]
    except SqlglotError as error:
        raise NotAnExpression(_first_problem(error)) from None
    except RecursionError:
        raise NotAnExpression("too many levels of brackets") from None
    if len(trees) != 1:
        raise NotAnExpression("no expression" if not trees else "more than one statement")
    tree = trees[0]
    for node in tree.walk():
        if not isinstance(node, ALLOWED):
            raise NotAnExpression(
                _NAMES.get(type(node), f"{type(node).key.upper()}, which is not a per-row expression")
            )
        node.pop_comments()
        if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.USERDEFINED:
            raise NotAnExpression(f"the type {node.args.get('kind')}, which is not known")
        if isinstance(node, exp.In) and (node.args.get("query") or node.args.get("unnest")):
            raise NotAnExpression("a subquery")
    return tree


def with_clock(text: str, *, instant: str, day: str) -> str:
    """``text`` with the calls that ask for the time, in any case and spacing, become ``instant`` or ``day``.

    Raises NotAnExpression for a text that cannot be divided into tokens.
    """
    try:
        found = list(ExpressionDialect().tokenize(text))
    except SqlglotError as error:
        raise NotAnExpression(_first_problem(error)) from None
    pieces: list[str] = []
    end = place = 0
    while place < len(found):
        token = found[place]
        meant = {**_INSTANTS, **_DAYS}.get(token.text.lower()) if token.token_type in _CLOCK_TOKENS else None
        called = [after.token_type for after in found[place + 1 : place + 3]] == [TokenType.L_PAREN, TokenType.R_PAREN]
        if meant is not None and (called or token.token_type != TokenType.VAR):
            pieces += [text[end : token.start], instant if meant == "instant" else day]
            place += 2 if called else 0
            end = found[place].end + 1
        place += 1
    return "".join(pieces) + text[end:]


def sql_of(tree: exp.Expr) -> str:
    """The text of a tree, every column name quoted."""
    return tree.sql(dialect=ExpressionDialect, identify=True, comments=False)


def type_of(text: str) -> exp.DataType:
    """The type that ``text`` names."""
    return exp.DataType.build(text, dialect=ExpressionDialect)


def columns_of(tree: exp.Expr) -> set[str]:
    """The columns that an expression reads: of ``a.b.c``, only ``a``."""
    return {column.parts[0].name for column in tree.find_all(exp.Column)}


def functions_of(tree: exp.Expr) -> set[str]:
    """Names of the functions called, in lower case."""
    return {str(node.this).lower() for node in tree.find_all(exp.Anonymous)}


def _first_problem(error: SqlglotError) -> str:
    details = getattr(error, "errors", None)
    if not details:
        return "a text that cannot be read as SQL"
    first = details[0]
    # sqlglot names its own classes and tokens.
    said = str(first.get("description") or "it cannot be read as SQL").partition(" but got <")[0].rstrip(".")
    what = "something is missing" if said.startswith("Required keyword") else said[:1].lower() + said[1:]
    return f"a mistake at line {first.get('line')}, column {first.get('col')}: {what}"
