"""YAML text as plain values with the line and column of each, within bounds that a hostile text cannot break."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from lakeray.spec.problems import Problem, path_text
from lakeray.spec.strict import Loc
from lakeray.spec.wrong import quoted

MAX_CHARACTERS = 2**19
_MAX_VALUES = 50_000
"""Values that a document may hold once its aliases are written out; every real file is far below."""
_MAX_DEPTH = 40
_MAX_INTEGER = 2**63 - 1
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7E\x85\xA0-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")
_TAG = "tag:yaml.org,2002:"

Place = tuple[int, int]
"""Line and column, 1-based."""


@dataclass(kw_only=True)
class Document:
    """``data`` with, for every path into it, the place of its key and of its value; ``problems`` of YAML itself."""

    data: object = None
    keys: dict[Loc, Place] = field(default_factory=dict)
    values: dict[Loc, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_document(text: str) -> Document:
    """The one YAML document in ``text``.

    Mappings become dicts with text keys, sequences lists, scalars text, whole numbers, floats, booleans or None, by
    YAML 1.2 (``yes`` is text); dates stay text. Raises nothing: what is wrong stands in ``problems``, what can be read
    in spite of it in ``data``.
    """
    document = Document()
    if len(text) > MAX_CHARACTERS:
        found, limit = f"{len(text)} characters", f"expected at most {MAX_CHARACTERS} characters"
        document.problems.append(Problem(found=found, expected=limit))
        return document
    strange = _UNPRINTABLE.search(text.removeprefix("\ufeff"))
    if strange is not None:
        before = text[: text.index(strange.group())]
        place = before.count("\n") + 1, len(before) - before.rfind("\n")
        found = f"the character U+{ord(strange.group()):04X}"
        document.problems.append(Problem(line=place[0], column=place[1], found=found, expected="expected text"))
        return document
    node = _compose(text, document)
    if node is not None:
        _Plain(document).read(node)
        document.problems = list({(p.line, p.column, p.expected): p for p in reversed(document.problems)}.values())
    return document


def _compose(text: str, document: Document) -> Node | None:
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        document.problems.append(_syntax(error, text))
    except RecursionError:
        document.problems.append(_too_deep(None, ()))
    except Exception as error:  # noqa: BLE001 - the parser fails in many ways on hostile text; each is a wrong file
        document.problems.append(Problem(line=1, column=1, expected=f"expected correct YAML: {quoted(str(error))}"))
    else:
        return node
    return None


def _syntax(error: MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    said = " ".join(str(error.problem or error.context or "it cannot be read").split())
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    if "'\\t'" in said or here[: column - 1 or 1].endswith("\t") or here[column - 1 : column] == "\t":
        return Problem(
            line=line, column=column, found="a tab", expected="expected spaces: YAML is not indented by tabs"
        )
    if "single document" in f"{error.context} {said}":
        return Problem(
            line=line, column=column, found="a second document", expected="expected one document in the file"
        )
    context = f" {' '.join(str(error.context).split())}" if error.context and error.context not in said else ""
    return Problem(line=line, column=column, expected=f"expected correct YAML: {said}{context}")


def _too_deep(place: Place | None, path: Loc) -> Problem:
    line, column = place or (1, 1)
    shown = path_text(path[:8])
    expected = f"expected at most {_MAX_DEPTH} levels"
    return Problem(line=line, column=column, path=shown, found="values nested too deep", expected=expected)


class _TooMuch(Exception):
    pass


class _Plain:
    """Turns nodes into plain values, once each time an alias stands for them."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.left = _MAX_VALUES

    def read(self, node: Node) -> None:
        try:
            self.document.data = self._value(node, (), ())
        except _TooMuch:
            self.document.data = None

    def _problem(self, node: Node, path: Loc, expected: str, found: str | None = None) -> None:
        line, column = _place(node)
        problem = Problem(line=line, column=column, path=path_text(path), found=found, expected=expected)
        self.document.problems.append(problem)

    def _value(self, node: Node, path: Loc, above: tuple[int, ...]) -> object:
        self.left -= 1
        if self.left < 0:
            self._problem(node, path, f"expected at most {_MAX_VALUES} values", "aliases that stand for very much")
            raise _TooMuch
        if id(node) in above:
            self._problem(node, path, "expected a value that is not inside itself", "an alias of what it stands in")
            raise _TooMuch
        if len(above) > _MAX_DEPTH:
            self.document.problems.append(_too_deep(_place(node), path))
            raise _TooMuch
        self.document.values.setdefault(path, _place(node))
        inside = (*above, id(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, path, inside)
        if isinstance(node, SequenceNode):
            return [self._value(item, (*path, index), inside) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: Loc, above: tuple[int, ...]) -> dict[str, object]:
        found: dict[str, object] = {}
        merged: list[tuple[Node, Node]] = []
        for key_node, value_node in node.value:
            if str(key_node.tag) == f"{_TAG}merge":
                merged.append((key_node, value_node))
                continue
            key = self._key(key_node, path)
            if key is None:
                continue
            inner = (*path, key)
            if key in found:
                first = self.document.keys[inner][0]
                self._problem(
                    key_node, inner, f"expected each key once: it stands in line {first} already", "the key again"
                )
                continue
            self.document.keys[inner] = _place(key_node)
            if value_node.value == "" and str(value_node.tag) == f"{_TAG}null":
                self.document.values[inner] = _place(key_node)
            found[key] = self._value(value_node, inner, above)
        for key_node, value_node in merged:
            self._merge(key_node, value_node, path, above, found)
        return found

    def _merge(self, key: Node, value: Node, path: Loc, above: tuple[int, ...], found: dict[str, object]) -> None:
        """``<<: *other`` or ``<<: [*one, *other]``: keys that are not there yet."""
        parts = value.value if isinstance(value, SequenceNode) else [value]
        for part in parts:
            if not isinstance(part, MappingNode):
                self._problem(key, path, "expected a mapping behind <<", None)
                continue
            scratch = _Plain(Document(problems=self.document.problems))
            scratch.left = self.left
            inherited = scratch._value(part, path, above) if id(part) not in above else {}
            self.left = scratch.left
            for inner, where in scratch.document.keys.items():
                if inner[len(path)] not in found:
                    self.document.keys.setdefault(inner, where)
                    self.document.values.setdefault(inner, scratch.document.values[inner])
            for name, item in inherited.items() if isinstance(inherited, dict) else ():
                found.setdefault(name, item)

    def _key(self, node: Node, path: Loc) -> str | None:
        if not isinstance(node, ScalarNode):
            self._problem(
                node, path, "expected text as a key", "a list" if isinstance(node, SequenceNode) else "a mapping"
            )
            return None
        if str(node.tag) not in {f"{_TAG}str", f"{_TAG}timestamp", "!"}:
            self._problem(node, path, "expected text as a key: put it in quotes", f"the key {node.value or 'null'}")
            return None
        return str(self._text(node, (*path, node.value)))

    def _text(self, node: ScalarNode, path: Loc) -> str:
        value = str(node.value)
        if _UNPRINTABLE.search(value.replace("\x00", "")) and any("\ud800" <= c <= "\udfff" for c in value):
            self._problem(node, path, "expected text", "half a surrogate pair")
            return value.encode("utf-8", "replace").decode()
        return value

    def _scalar(self, node: Node, path: Loc) -> object:
        assert isinstance(node, ScalarNode)
        kind = str(node.tag).removeprefix(_TAG)
        if kind in {"str", "timestamp", "!"}:
            return self._text(node, path)
        if kind in _READERS:
            try:
                value = _READERS[kind](node.value)
            except (ValueError, OverflowError):
                return self._text(node, path)
            if isinstance(value, int) and abs(value) > _MAX_INTEGER:
                self._problem(node, path, "expected a number of at most 64 bits", "a very large number")
                return 0
            return value
        self._problem(node, path, "expected a value without a tag", f"the tag {quoted(str(node.tag))}")
        return self._text(node, path)


def _place(node: Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _integer(text: str) -> int:
    plain = text.replace("_", "").lower()
    sign = -1 if plain.startswith("-") else 1
    digits = plain.lstrip("+-")
    for prefix, radix in (("0x", 16), ("0o", 8), ("0b", 2)):
        if digits.startswith(prefix):
            return sign * int(digits[2:], radix)
    return sign * int(digits)


def _float(text: str) -> float:
    plain = text.replace("_", "").lower()
    special = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
    return float(special.get(plain, plain))


def _boolean(text: str) -> bool:
    return text.lower() in {"true", "yes", "on", "y"}


def _null(_: str) -> None:
    return None


_READERS: dict[str, Callable[[str], int | float | bool | None]] = {
    "int": _integer,
    "float": _float,
    "bool": _boolean,
    "null": _null,
}
