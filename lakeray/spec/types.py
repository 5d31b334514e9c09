"""Column types by the names that people write for them.

Grammar (names are case-insensitive, blanks are free)::

    type   = name | decimal(p, s) | timestamp[unit, tz=zone] | list<type> | map<type, type> | struct<field: type, ...>
    field  = letters, digits and _, or anything between backticks (`` `` `` stands for one)

A struct field or list element may end in ``not null``. ``timestamp`` alone is ``timestamp[us, tz=UTC]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import pyarrow as pa

from lakeray.spec.wrong import WrongValue, nearest, quoted, unknown

_DEPTH = 32
"""Types nest at most so deep: what a hostile text asks beyond it would exhaust the stack."""
_MAX_PRECISION = 38

SIMPLE: dict[str, pa.DataType] = {
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "timestamp_ntz": pa.timestamp("us"),
}
"""The types without parameters under the names that ``type_name`` gives."""

SYNONYMS: dict[str, str] = {
    "byte": "int8",
    "tinyint": "int8",
    "short": "int16",
    "smallint": "int16",
    "int": "int32",
    "integer": "int32",
    "long": "int64",
    "bigint": "int64",
    "float": "float32",
    "real": "float32",
    "double": "float64",
    "double precision": "float64",
    "boolean": "bool",
    "str": "string",
    "text": "string",
    "varchar": "string",
    "character varying": "string",
    "utf8": "string",
    "large_string": "string",
    "bytes": "binary",
    "varbinary": "binary",
    "bytea": "binary",
    "blob": "binary",
    "large_binary": "binary",
    "date32": "date",
    "timestamptz": "timestamp",
    "timestamp with time zone": "timestamp",
    "timestamp without time zone": "timestamp_ntz",
    "datetime": "timestamp_ntz",
}
"""Other spellings, as SQL, Spark and Arrow have them."""

_PARAMETRIC = ("decimal(p, s)", "timestamp[us, tz=...]", "list<...>", "struct<a: ..., b: ...>", "map<k, v>")
ALLOWED = (*SIMPLE, *_PARAMETRIC)
_HEADS = ("decimal", "list", "struct", "map")
_HEAD_SYNONYMS = {
    "numeric": "decimal", "dec": "decimal", "decimal128": "decimal", "array": "list", "large_list": "list",
}  # fmt: skip

_TOKEN = re.compile(r"\s*(?:(`(?:[^`]|``)*`)|([A-Za-z_0-9+\-/.]+)|([<>()\[\]:,=]))")
_UNITS = ("s", "ms", "us", "ns")


def parse_type(text: str) -> pa.DataType:
    """The Arrow type that ``text`` names.

    Raises ValueError (a WrongValue) with the allowed names and the nearest right spelling.
    """
    parser = _Parser(text=text, tokens=_tokens(text))
    parsed = parser.type_()
    if parser.at < len(parser.tokens):
        raise parser.error(f"nothing after {quoted(text[: parser.start()].rstrip())}")
    return parsed


def _tokens(text: str) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise WrongValue(f"expected a type, and {quoted(text[at:].strip()[0])} begins none", found=quoted(text))
        found.append((match.group().strip(), match.start() + len(match.group()) - len(match.group().lstrip())))
        at = match.end()
    return found


@dataclass(kw_only=True)
class _Parser:
    text: str
    tokens: list[tuple[str, int]]
    at: int = 0
    depth: int = 0

    def peek(self, ahead: int = 0) -> str:
        place = self.at + ahead
        return self.tokens[place][0] if place < len(self.tokens) else ""

    def start(self) -> int:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else len(self.text)

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def error(self, expected: str) -> WrongValue:
        return WrongValue(f"expected {expected}", found=quoted(self.text))

    def want(self, token: str) -> None:
        if self.peek() != token:
            here = quoted(self.peek()) if self.peek() else "its end"
            raise self.error(f'"{token}" instead of {here} at character {self.start() + 1}')
        self.at += 1

    def type_(self) -> pa.DataType:
        self.depth += 1
        if self.depth > _DEPTH:
            raise self.error(f"a type that nests at most {_DEPTH} deep")
        parsed = self._type()
        self.depth -= 1
        return parsed

    def _type(self) -> pa.DataType:
        name = self._name()
        head = _HEAD_SYNONYMS.get(name, name)
        if head == "decimal":
            return self._decimal()
        if head == "list":
            return self._list()
        if head == "map":
            return self._map()
        if head == "struct":
            return self._struct()
        if name in {"varchar", "character varying", "varbinary"} and self.peek() == "(":
            self._number_list(1)
        if name in {"timestamp", "date32"} and self.peek() == "[":
            return self._timestamp() if name == "timestamp" else self._date()
        known = SIMPLE.get(SYNONYMS.get(name, name))
        if known is None:
            raise self._unknown(name)
        return known

    def _name(self) -> str:
        """One name of several words, as in ``double precision``, or of one."""
        if not re.fullmatch(r"[A-Za-z_]\w*", self.peek()):
            if self.peek():
                raise self.error(f"a type name at character {self.start() + 1}")
            raise unknown(self.text.strip(), ALLOWED)
        words: list[str] = []
        while re.fullmatch(r"[A-Za-z_]\w*", self.peek()) and not self._not_null_ahead():
            words.append(self.take().lower())
        return " ".join(words)

    def _not_null_ahead(self) -> bool:
        return self.peek().lower() == "not" and self.peek(1).lower() == "null"

    def _unknown(self, name: str) -> WrongValue:
        near = nearest(name, [*SIMPLE, *_HEADS, *SYNONYMS, *_HEAD_SYNONYMS])
        return WrongValue(f"allowed: {', '.join(ALLOWED)}", found=quoted(name), nearest=near)

    def _number_list(self, count: int) -> list[int]:
        self.want("(")
        numbers: list[int] = []
        while True:
            token = self.take()
            if not re.fullmatch(r"-?\d{1,9}", token):
                raise self.error("whole numbers between the brackets")
            numbers.append(int(token))
            if self.peek() != ",":
                break
            self.take()
        self.want(")")
        if len(numbers) > count:
            raise self.error(f"at most {count} numbers between the brackets")
        return numbers

    def _decimal(self) -> pa.DataType:
        if self.peek() != "(":
            raise self.error("decimal(p, s), as in decimal(18, 2)")
        precision, scale, *_ = [*self._number_list(2), 0]
        if not 1 <= precision <= _MAX_PRECISION or not 0 <= scale <= precision:
            raise self.error(f"a precision from 1 to {_MAX_PRECISION} with a scale from 0 to the precision")
        return pa.decimal128(precision, scale)

    def _timestamp(self) -> pa.DataType:
        self.want("[")
        unit = self.take()
        if unit not in _UNITS:
            raise unknown(unit, _UNITS, lead="allowed as a timestamp's unit")
        zone: str | None = None
        if self.peek() == ",":
            self.take()
            self.want("tz")
            self.want("=")
            parts: list[str] = []
            while self.peek() not in {"]", ""}:
                parts.append(self.take())
            zone = _zone("".join(parts), self)
        self.want("]")
        return pa.timestamp(unit, tz=zone)

    def _date(self) -> pa.DataType:
        self.want("[")
        self.want("day")
        self.want("]")
        return pa.date32()

    def _nullable(self) -> bool:
        if not self._not_null_ahead():
            return True
        self.at += 2
        return False

    def _list(self) -> pa.DataType:
        self.want("<")
        name = "element" if self.peek().lower() == "element" and self.peek(1) == ":" else "item"
        if self.peek(1) == ":":
            self.at += 2
        element = self.type_()
        nullable = self._nullable()
        self.want(">")
        return pa.list_(pa.field(name, element, nullable=nullable))

    def _map(self) -> pa.DataType:
        self.want("<")
        key = self.type_()
        self.want(",")
        value = self.type_()
        nullable = self._nullable()
        self.want(">")
        return pa.map_(key, pa.field("value", value, nullable=nullable))

    def _struct(self) -> pa.DataType:
        self.want("<")
        fields: list[pa.Field] = []
        while True:
            name = _field_name(self.take(), self)
            if any(field.name == name for field in fields):
                raise self.error(f"field names that differ; {quoted(name)} is there twice")
            self.want(":")
            kind = self.type_()
            fields.append(pa.field(name, kind, nullable=self._nullable()))
            if self.peek() != ",":
                break
            self.take()
        self.want(">")
        return pa.struct(fields)


def _field_name(token: str, parser: _Parser) -> str:
    name = token[1:-1].replace("``", "`") if token.startswith("`") else token
    if not name or not (token.startswith("`") or re.fullmatch(r"\w+", token)):
        raise parser.error("struct<name: type, ...>, with names of other characters between backticks")
    return name


def _zone(text: str, parser: _Parser) -> str:
    if re.fullmatch(r"[+-]\d\d:?\d\d", text):
        return text
    try:
        return ZoneInfo(text).key
    except (ValueError, OSError, KeyError):
        raise parser.error(f"a time zone such as UTC, Europe/Berlin or +02:00 instead of {quoted(text)}") from None


def type_name(data_type: pa.DataType) -> str:
    """The name of ``data_type`` that ``parse_type`` reads back as the same logical type.

    Large and view layouts, dictionaries and run-end encodings are named like the plain type they stand for. Types that
    no table can have (time, duration, null ...) get Arrow's own name, which ``parse_type`` refuses.
    """
    kinds = pa.types
    if kinds.is_dictionary(data_type) or kinds.is_run_end_encoded(data_type):
        return type_name(data_type.value_type)
    name = next((name for name, known in SIMPLE.items() if data_type == known), None)
    if name is None and (kinds.is_large_string(data_type) or kinds.is_string_view(data_type)):
        name = "string"
    if name is None and any(is_layout(data_type) for is_layout in _BINARY_LAYOUTS):
        name = "binary"
    if name is None and kinds.is_decimal(data_type):
        name = f"decimal({data_type.precision}, {data_type.scale})"
    if name is None and kinds.is_timestamp(data_type):
        name = f"timestamp[{data_type.unit}{f', tz={data_type.tz}' if data_type.tz else ''}]"
    return name or _nested_name(data_type)


_BINARY_LAYOUTS = (pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)


def _nested_name(data_type: pa.DataType) -> str:
    kinds = pa.types
    if kinds.is_map(data_type):
        value = data_type.item_field
        return f"map<{type_name(data_type.key_type)}, {type_name(value.type)}{_not_null(value)}>"
    if kinds.is_struct(data_type):
        fields = (f"{_quoted_field(f.name)}: {type_name(f.type)}{_not_null(f)}" for f in data_type)
        return f"struct<{', '.join(fields)}>"
    if hasattr(data_type, "value_field"):
        element = data_type.value_field
        name = "element: " if element.name == "element" else ""
        return f"list<{name}{type_name(element.type)}{_not_null(element)}>"
    return str(data_type)


def _not_null(field: pa.Field) -> str:
    return "" if field.nullable else " not null"


def _quoted_field(name: str) -> str:
    return name if re.fullmatch(r"\w+", name, re.ASCII) else "`" + name.replace("`", "``") + "`"
