"""How a delimited file is written: its delimiter, quotes, header and nulls."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lakeray.errors import ReadError
from lakeray.importer.readers.port import ReadOptions

_KNOWN = ("delimiter", "quote", "escape", "header", "names", "null_values", "skip_lines", "columns")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dialect:
    """``quote`` and ``escape`` are None where the file has none.

    An unquoted field equal to one of ``null_values`` is null; a quoted one never is.

    ``names`` replace the header's, or stand for it where ``header`` is False. ``columns`` keeps only these columns.
    """

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    header: bool = True
    names: tuple[str, ...] | None = None
    null_values: tuple[str, ...] = ("",)
    skip_lines: int = 0
    columns: tuple[str, ...] | None = None

    def fields(self, record: str) -> list[str]:
        """The fields of one record as text. Raises csv.Error."""
        return next(
            csv.reader(
                [record],
                delimiter=self.delimiter,
                quotechar=self.quote,
                quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
                escapechar=self.escape,
                doublequote=True,
            ),
            [],
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """Regular expressions of a dialect: one whole record, and one whose last field is quoted without an end."""

    record: re.Pattern[bytes]
    unended: re.Pattern[bytes]
    escaped: re.Pattern[bytes] | None


def dialect_of(options: ReadOptions, *, name: str) -> Dialect:
    """The dialect that ``options.options`` asks for; TSV has a tab as its delimiter.

    Raises ReadError for what makes no sense.
    """
    given = options.options
    if unknown := [key for key in given if key not in _KNOWN and key != "shape"]:
        raise ReadError(f"option {unknown[0]!r} is not known for CSV", hint=f"one of {', '.join(_KNOWN)}", uri=name)
    delimiter = _byte(given.get("delimiter", "\t" if options.format == "tsv" else ","), "delimiter", name)
    quote, escape = given.get("quote", '"'), given.get("escape")
    skip = given.get("skip_lines", 0)
    if delimiter is None or not isinstance(skip, int) or skip < 0:
        raise ReadError(
            "delimiter and skip_lines need values", hint='such as delimiter: ";" and skip_lines: 1', uri=name
        )
    nulls = _texts(given.get("null_values"), "null_values", name)
    dialect = Dialect(
        delimiter=delimiter,
        quote=_byte(quote, "quote", name),
        escape=_byte(escape, "escape", name),
        header=bool(given.get("header", True)),
        names=_texts(given.get("names"), "names", name),
        null_values=("",) if nulls is None else nulls,
        skip_lines=skip,
        columns=_texts(given.get("columns"), "columns", name),
    )
    marks = [mark for mark in (dialect.delimiter, dialect.quote, dialect.escape) if mark is not None]
    if len(set(marks)) != len(marks):
        raise ReadError("delimiter, quote and escape must differ", hint="set quote: null where there is none", uri=name)
    return dialect


def grammar_of(dialect: Dialect) -> Grammar:
    """The regular expressions that cut a text of this dialect into records."""
    mark = re.escape(dialect.delimiter.encode())
    plain = rb"[^%s\r\n]" % mark
    inner, escaped = rb"", None
    if dialect.escape:
        escape = re.escape(dialect.escape.encode())
        plain = rb"(?:[^%s\r\n%s]|%s.)" % (mark, escape, escape)
        inner = rb"|%s." % escape
        escaped = re.compile(escape + rb".", re.DOTALL)
    field, unended = plain + b"*+", rb"(?!)"
    if dialect.quote:
        quote = re.escape(dialect.quote.encode())
        body = rb"(?:[^%s%s]++|%s%s%s)*+" % (
            quote,
            re.escape(dialect.escape.encode()) if dialect.escape else b"",
            quote,
            quote,
            inner,
        )
        field = rb"(?:%s%s%s|(?!%s)%s)" % (quote, body, quote, quote, field)
        unended = quote + body + rb"(?:%s)?\Z" % re.escape((dialect.escape or dialect.quote).encode())
    record = rb"%s(?:%s%s)*+(?=[\r\n]|\Z)" % (field, mark, field)
    prefix = rb"(?:%s%s)*+%s" % (field, mark, unended)
    return Grammar(record=re.compile(record, re.DOTALL), unended=re.compile(prefix, re.DOTALL), escaped=escaped)


def unique_names(names: Sequence[str]) -> list[str]:
    """Column names as in the file; an empty one becomes ``column_<position>``, a repeated one ``<name>_2``."""
    found: list[str] = []
    taken = set(names)
    used: set[str] = set()
    for position, given in enumerate(names, 1):
        wanted = given or f"column_{position}"
        name, count = wanted, 1
        while name in used or (count > 1 and name in taken):
            count += 1
            name = f"{wanted}_{count}"
        used.add(name)
        found.append(name)
    return found


def _byte(value: object, what: str, name: str) -> str | None:
    if value in (None, "", False):
        return None
    text = {"tab": "\t", "\\t": "\t"}.get(str(value), str(value))
    if len(text) != 1 or not text.isascii() or text in "\r\n\0":
        raise ReadError(f"CSV {what} {text!r} is not one ASCII character", hint='such as ";" or "\\t"', uri=name)
    return text


def _texts(value: object, what: str, name: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ReadError(f"CSV option {what} is not a list of texts", hint=f'such as {what}: ["a", "b"]', uri=name)
    return tuple(value)
