"""The kinds of text that fields hold: names, uris, secret references, SQL, hooks, column references, zones."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from lakeray.spec.types import parse_type
from lakeray.spec.wrong import WrongValue, nearest, quoted, unknown

_NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,62}"
_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
_HOOK = rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*:{_IDENTIFIER}(?:\.{_IDENTIFIER})*"
_SECRET = rf"env:{_IDENTIFIER}|file:/[^\x00]+|secret:[A-Za-z0-9][A-Za-z0-9_./-]*"
SCHEMES = ("s3", "s3a", "abfss", "abfs", "az", "file")
"""The uri schemes of object stores that lakeray reads and writes; a path without one is local."""


def _name(value: str) -> str:
    if re.fullmatch(_NAME, value):
        return value
    raise WrongValue(
        "expected a name of at most 63 letters, digits, _ and -, beginning with a letter or _", found=quoted(value)
    )


def _filled(value: str) -> str:
    if value.strip() and "\x00" not in value:
        return value
    raise WrongValue("expected some text", found="an empty text" if not value.strip() else quoted(value))


def _sql(value: str) -> str:
    if value.strip() and "\x00" not in value:
        return value
    raise WrongValue("expected an SQL expression", found="an empty text" if not value.strip() else quoted(value))


def _hook(value: str) -> str:
    if re.fullmatch(_HOOK, value):
        return value
    raise WrongValue("expected module:function, as in cleaning.orders:trim_names", found=quoted(value))


def _secret(value: object) -> object:
    """A reference; what is none may be the secret itself, so that no error shows it."""
    if isinstance(value, str) and re.fullmatch(_SECRET, value):
        return value
    raise WrongValue(
        "expected a reference to a secret: env:NAME, file:/path or secret:NAME", found="a value that is no reference"
    )


def _column_reference(value: str) -> str:
    table, dot, column = value.partition(".")
    if dot and re.fullmatch(_NAME, table) and column and "\x00" not in column:
        return value
    raise WrongValue("expected table.column, as in customers.id", found=quoted(value))


def _type(value: str) -> str:
    parse_type(value)
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        near = nearest(value, available_timezones())
        raise WrongValue(
            "expected a time zone of the IANA database, such as UTC or Europe/Berlin", found=quoted(value), nearest=near
        ) from None
    return value


def _address(value: str) -> str:
    """A uri or local path of an object store, without credentials in it."""
    _filled(value)
    scheme, separator, rest = value.partition("://")
    if not separator:
        if re.match(r"[A-Za-z][A-Za-z0-9+]+:/", value):
            raise WrongValue("expected scheme://bucket/path or a local path", found=quoted(value))
        return value
    if scheme not in SCHEMES:
        wrong = unknown(scheme, SCHEMES, lead="allowed before ://")
        raise WrongValue(f"{wrong.expected}; or a local path", found=wrong.found, nearest=wrong.nearest)
    host = rest.partition("/")[0]
    if ":" in host.rpartition("@")[0]:
        raise WrongValue(
            "expected no credentials in a uri: they come from the AWS_* and AZURE_* variables",
            found="a uri with a user and a password",
        )
    if not host and scheme != "file":
        raise WrongValue(f"expected a bucket, as in {scheme}://bucket/path", found=quoted(value))
    return value


def _source_uri(value: str) -> str:
    """An address with the wildcards and templates of a source; ``[{]`` is the character itself."""
    _address(value)
    scheme, separator, rest = value.partition("://")
    if separator and scheme != "file" and re.search(r"[*?\[{]", rest.partition("/")[0]):
        raise WrongValue("expected the name of a bucket, with wildcards behind it", found=quoted(value))
    plain = re.sub(r"\[[!^]?\]?[^\]/]*\]", "", value)
    names = re.findall(r"\{([^{}/]*)\}", plain)
    wrong = next((name for name in names if not re.fullmatch(_IDENTIFIER, name)), None)
    if wrong is not None or "{" in re.sub(r"\{[^{}/]*\}", "", plain):
        hint = "expected {name} for a part of the path that becomes a column; [{] is the character itself"
        raise WrongValue(hint, found=quoted(value))
    if len(set(names)) < len(names):
        raise WrongValue("expected each {name} once", found=quoted(value))
    return value


def _table_uri(value: str) -> str:
    _address(value)
    if "*" in value or re.search(r"\{[^{}]*\}", value):
        raise WrongValue("expected the uri of one table, without * and {name}", found=quoted(value))
    return value


def _web_address(value: str) -> str:
    match = re.fullmatch(r"https?://(?P<host>[^/?#\s]+)[^\s\x00]*", value)
    if match is None:
        raise WrongValue("expected https://host/path", found=quoted(value.partition("?")[0]))
    if "@" in match["host"]:
        raise WrongValue("expected no credentials in an address: use a secret", found="an address with credentials")
    return value


def _text(pattern: str | None = None) -> WithJsonSchema:
    """What an editor can check of a text."""
    return WithJsonSchema({"type": "string", "minLength": 1, **({"pattern": f"^(?:{pattern})$"} if pattern else {})})


Name = Annotated[str, AfterValidator(_name), _text(_NAME)]
Text = Annotated[str, AfterValidator(_filled), _text()]
Sql = Annotated[str, AfterValidator(_sql), _text()]
Hook = Annotated[str, AfterValidator(_hook), _text(_HOOK)]
SecretRef = Annotated[str, BeforeValidator(_secret), _text(_SECRET)]
ColumnRef = Annotated[str, AfterValidator(_column_reference), _text(rf"{_NAME}\..+")]
TypeText = Annotated[str, AfterValidator(_type), _text()]
Zone = Annotated[str, AfterValidator(_zone), _text()]
Address = Annotated[str, AfterValidator(_address), _text()]
SourceUri = Annotated[str, AfterValidator(_source_uri), _text()]
TableUri = Annotated[str, AfterValidator(_table_uri), _text(r"[^*]+")]
WebAddress = Annotated[str, AfterValidator(_web_address), _text(r"https?://[^/?#\s@]+([/?#].*)?")]
