"""Which objects belong to a source follows from one uri with wildcards and templates.

| in the uri | stands for |
|---|---|
| a last ``/`` | everything below that folder |
| ``*`` | any characters but ``/``, also none |
| ``?`` | one character but ``/`` |
| ``[a-z]``, ``[!a-z]`` | one character (not) of these, never ``/`` |
| ``[*]``, ``[?]``, ``[[]``, ``[{]`` | the character itself |
| ``**`` | any characters; ``**/`` any number of folders, also none |
| ``{year}`` | like ``*`` but at least one character, the fewest that fit; becomes a column |

A uri without any of these names one object, or everything below the folder of that name. Everything before the first
wildcard goes into the listing as its prefix. Bucket and scheme are literal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import SpecError
from lakeray.objects.uris import relative, root_of

HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
TEMPORARY_SUFFIXES: Final = (
    "~",
    "._COPYING_",
    ".crdownload",
    ".download",
    ".filepart",
    ".inprogress",
    ".part",
    ".partial",
    ".swp",
    ".temp",
    ".tmp",
)
"""Endings, in any case, of names that are being written.

By browsers, WinSCP, Flink, HDFS ``put``, editors and most copying tools.
"""

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\[[!^]?\]?[^\]/]*\]|\{[^{}/]*\}|[\s\S]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TEMPORARY: Final = (
    r"(?:^|/)\."  # hidden, and .lakeray-tmp- of the local store
    # _SUCCESS, _temporary/, _delta_log/, _lakeray/; but _k=v is a partition, as Spark sees it
    r"|(?:^|/)_[^/=]*(?:/|$)"
    r"|(?i:" + "|".join(re.escape(suffix).replace("\\~", "~") for suffix in TEMPORARY_SUFFIXES) + r")$"
)
# RE2's $ is the end of the text, Python's also stands before a last newline.
_TEMPORARY_PYTHON = re.compile(_TEMPORARY.replace("$", r"\Z"))


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePattern:
    """A source uri, understood.

    ``prefix`` is its literal beginning, for ``ObjectStore.list``. ``root`` is the last folder in that, with its slash:
    what partition columns and temporary names are relative to. ``names`` are the template's columns in order. ``regex``
    matches whole uris, in the syntax that Python and RE2 share.
    """

    uri: str
    prefix: str
    root: str
    names: tuple[str, ...]
    regex: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Understand ``uri``.

        Raises SpecError for a wildcard in the bucket, or a template that is misspelt or used twice.
        """
        head = root_of(uri)
        if any(char in head for char in "*?[{"):
            raise SpecError(
                f"{uri}: the bucket is a wildcard", hint="name the bucket; wildcards stand behind it", uri=uri
            )
        tokens = _TOKEN.findall(uri[len(head) :])
        literal, parts, names, only_literal = head, [_escape(head)], list[str](), True
        for token in tokens:
            regex, plain = _translate(token, uri, names)
            parts.append(regex)
            only_literal = only_literal and plain is not None
            if only_literal:
                literal += plain or ""
        if uri.endswith("/"):
            parts.append("(?s:.+)")
        elif only_literal:
            parts.append("(?s:/.+)?")
        return cls(
            uri=uri,
            prefix=literal,
            root=literal[: literal.rindex("/") + 1],
            names=tuple(names),
            regex="".join(parts),
        )

    @property
    def everything(self) -> bool:
        """Whether all that the prefix lists belongs to the source."""
        return self.prefix == self.uri and self.uri.endswith("/")

    def match(self, uri: str) -> bool:
        """Whether the object belongs to the source."""
        return re.fullmatch(self.regex, uri) is not None

    def columns(self, uri: str) -> dict[str, str]:
        """The template's captures, raw. Raises ValueError when the uri does not match."""
        found = re.fullmatch(self.regex, uri)
        if found is None:
            raise ValueError(f"{uri} does not match {self.uri}")
        return found.groupdict()

    def filter(self, page: pa.RecordBatch) -> pa.RecordBatch:
        """The rows of a listing that belong to the source."""
        if self.everything:
            return page
        return page.filter(pc.match_substring_regex(page["uri"], rf"\A(?:{self.regex})\z"))

    def captures(self, uris: pa.StringArray) -> dict[str, pa.StringArray]:
        """``columns`` of many uris at once; null where one does not match."""
        if not self.names:
            return {}
        found = pc.extract_regex(uris, rf"\A(?:{self.regex})\z")
        return {name: pc.struct_field(found, name) for name in self.names}


def _translate(token: str, uri: str, names: list[str]) -> tuple[str, str | None]:  # noqa: PLR0911 - a table
    """The token's regular expression, with its text where it is literal."""
    match token:
        case "**/":
            return "(?s:.+/)?", None
        case "**":
            return "(?s:.*)", None
        case "*":
            return "[^/]*", None
        case "?":
            return "[^/]", None
    if token[0] == "{" and len(token) > 1:
        name = token[1:-1]
        if not _NAME.fullmatch(name) or name in names:
            what = "twice in it" if name in names else "no column name"
            hint = "a column name has letters, digits and _; write [{] for the character itself"
            raise SpecError(f"{uri}: {token} is {what}", hint=hint, uri=uri)
        names.append(name)
        return f"(?P<{name}>[^/]+?)", None
    if token[0] == "[" and len(token) >= len("[x]"):
        return _character_class(token[1:-1], uri)
    return _escape(token), token


def _character_class(body: str, uri: str) -> tuple[str, str | None]:
    negated = body[0] in "!^" and len(body) > 1
    members = body[1:] if negated else body
    if len(members) == 1 and not negated:
        return _escape(members), members
    pieces, at = [], 0
    while at < len(members):
        low = members[at]
        high = members[at + 2] if members[at + 1 : at + 2] == "-" and at + 2 < len(members) else None
        if high is not None and high < low:
            raise SpecError(f"{uri}: [{body}] runs backwards", hint=f"write {high}-{low}", uri=uri)
        pieces.append(_escape(low) + (f"-{_escape(high)}" if high else ""))
        at += 3 if high else 1
    return f"[^/{''.join(pieces)}]" if negated else f"[{''.join(pieces)}]", None


def _escape(text: str) -> str:
    """``text`` as itself, for Python's engine and RE2 alike."""
    return "".join(char if char.isalnum() or not char.isascii() else f"\\x{ord(char):02x}" for char in text)


def hive_columns(uri: str, root: str) -> dict[str, str | None]:
    """Partition columns from ``key=value`` folders between ``root`` and the object's name, percent-decoded.

    ``__HIVE_DEFAULT_PARTITION__`` is None. Of two folders with one key the deeper counts. Raises ObjectError when
    ``uri`` is not below ``root``.
    """
    found: dict[str, str | None] = {}
    for folder in relative(uri, root).split("/")[:-1]:
        key, equals, value = folder.partition("=")
        if key and equals:
            found[unquote(key)] = None if value == HIVE_NULL else unquote(value)
    return found


def is_temporary(path: str) -> bool:
    """Whether a name is half-written or bookkeeping rather than data. ``path`` is relative to the source's root.

    So are all paths with a segment that begins with ``.``, or with ``_`` and holds no ``=`` (``_SUCCESS``,
    ``_temporary/``, ``_delta_log/``, ``_lakeray/``), or that end in one of ``TEMPORARY_SUFFIXES`` in any case.
    """
    return _TEMPORARY_PYTHON.search(path) is not None


def without_temporary(page: pa.RecordBatch, root: str) -> pa.RecordBatch:
    """The rows of a listing below ``root`` (with its last slash) that are not temporary."""
    path = pc.utf8_slice_codeunits(page["uri"], start=len(root))
    return page.filter(pc.invert(pc.match_substring_regex(path, _TEMPORARY)))
