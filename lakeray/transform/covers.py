"""What stands in place of a hidden value, array by array."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR, Decimal
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from lakeray.transform.delta_types import is_text
from lakeray.transform.digests import Digests
from lakeray.transform.record import json_text, json_values

Unit = Literal["hour", "day", "week", "month", "quarter", "year"]


class Cover(Protocol):
    """Hides values; null stays null."""

    def kind(self, kind: pa.DataType) -> pa.DataType | None:
        """The type that values of a type become, None for a type that this cover is not for."""
        ...

    def array(self, values: pa.Array) -> pa.Array:
        """Values of any type, row by row; those of a type that this cover is not for become null."""
        ...

    def value(self, value: Any) -> Any:
        """One value made of JSON's own types, which may be of another type than the column's."""
        ...


@dataclass(frozen=True, slots=True)
class Redacted:
    """One text (None: null) in place of every value."""

    replacement: str | None = None

    def kind(self, kind: pa.DataType) -> pa.DataType:  # noqa: ARG002 - every type is hidden alike
        """Text."""
        return pa.string()

    def array(self, values: pa.Array) -> pa.Array:
        """The text wherever there is a value."""
        if self.replacement is None:
            return pa.nulls(len(values), pa.string())
        written = pa.repeat(pa.scalar(self.replacement, pa.string()), len(values))
        return pc.if_else(values.is_valid(), written, pa.scalar(None, pa.string()))

    def value(self, value: Any) -> str | None:
        """The text."""
        return None if value is None else self.replacement


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A text in place of each value, made of the value's canonical text.

    That is a string itself, of any other value its JSON text (see ``lakeray.transform.record``). With ``repeats`` equal
    texts become equal texts, so that each is written once.
    """

    write: Callable[[str], str] = field(repr=False)
    repeats: bool = True

    def kind(self, kind: pa.DataType) -> pa.DataType:  # noqa: ARG002 - every type has a canonical text
        """Text."""
        return pa.string()

    def array(self, values: pa.Array) -> pa.Array:
        """The texts, row by row."""
        if self.repeats and is_text(values.type):
            encoded = values.cast(pa.string()).dictionary_encode()
            written = pa.array([self.write(text) for text in encoded.dictionary.to_pylist()], pa.string())
            return written.take(encoded.indices)
        return pa.array([self.value(value) for value in json_values(values)], pa.string())

    def value(self, value: Any) -> str | None:
        """The text of one value."""
        if value is None:
            return None
        return self.write(value if isinstance(value, str) else json_text(value))


class Digest:
    """HMAC-SHA-256 (RFC 2104), keyed once."""

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod=hashlib.sha256)

    def of(self, text: str) -> bytes:
        """32 bytes."""
        digest = self._keyed.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.digest()


@dataclass(frozen=True, slots=True)
class Digested:
    """HMAC-SHA-256 in hexadecimal of each value's canonical text (see ``Rewritten``), whole columns at a time."""

    digests: Digests = field(repr=False)

    def kind(self, kind: pa.DataType) -> pa.DataType:  # noqa: ARG002 - every type has a canonical text
        """Text."""
        return pa.string()

    def array(self, values: pa.Array) -> pa.Array:
        """The digests, row by row."""
        if is_text(values.type) or pt.is_integer(values.type):  # whose canonical text Arrow writes as well
            return self.digests.column(values.cast(pa.string()))
        return pa.array([self.value(value) for value in json_values(values)], pa.string())

    def value(self, value: Any) -> str | None:
        """The digest of one value."""
        if value is None:
            return None
        text = value if isinstance(value, str) else json_text(value)
        return self.digests.one(text.encode("utf-8", "surrogatepass"))


_TOKENS = b"lakeray token 1"


class Tokens:
    """``prefix`` and ``length`` characters of base 32 (lower case, RFC 4648) of a keyed digest.

    The digest's key is derived from ``key``, so that tokens and ``hmac_sha256`` masks under one key cannot be told to
    belong together.
    """

    def __init__(self, key: bytes, *, prefix: str, length: int) -> None:
        self._digest = Digest(hmac.digest(key, _TOKENS, "sha256"))
        self._prefix = prefix
        self._length = length

    def __call__(self, text: str) -> str:
        """The token."""
        letters = base64.b32encode(self._digest.of(text)).decode().lower()
        return self._prefix + letters[: self._length]


@dataclass(frozen=True, kw_only=True, slots=True)
class Partly:
    """The ends of a text; each character between them is ``character``. A text that is no longer than its ends is
    covered whole.
    """

    first: int
    last: int
    character: str

    def __call__(self, text: str) -> str:
        """As many characters as ``text`` has."""
        hidden = len(text) - self.first - self.last
        if hidden <= 0:
            return self.character * len(text)
        return text[: self.first] + self.character * hidden + text[len(text) - self.last :]


@dataclass(frozen=True, kw_only=True, slots=True)
class PartlyEmail:
    """The domain and the first characters of the name; a text without a name or a domain is covered whole."""

    first: int
    character: str

    def __call__(self, text: str) -> str:
        """As many characters as ``text`` has."""
        name, at, domain = text.rpartition("@")
        if not at or not name or not domain:
            return self.character * len(text)
        return Partly(first=self.first, last=0, character=self.character)(name) + at + domain


@dataclass(frozen=True, slots=True)
class Stepped:
    """Numbers become the next lower multiple of ``step`` and keep their type."""

    step: float

    def kind(self, kind: pa.DataType) -> pa.DataType | None:
        """The same number type; integers take whole steps only."""
        if pt.is_integer(kind):
            return kind if float(self.step).is_integer() and self.step < 2 ** (kind.bit_width - 1) else None
        return kind if pt.is_floating(kind) or pt.is_decimal(kind) else None

    def array(self, values: pa.Array) -> pa.Array:
        """Multiples of the step."""
        kind = values.type
        if self.kind(kind) is None:
            return pa.nulls(len(values), pa.string())
        if pt.is_integer(kind):
            step = pa.scalar(int(self.step), kind)
            below = pc.multiply(pc.divide(values, step), step)  # division goes towards zero
            lower = pc.subtract(below, step)
            # Below the type's lowest value there is no multiple: lower is then a high number.
            lower = pc.if_else(pc.less(lower, below), lower, pa.scalar(None, kind))
            return pc.if_else(pc.greater(below, values), lower, below)
        if pt.is_floating(kind):
            return pc.multiply(pc.floor(pc.divide(values, self.step)), self.step).cast(kind)
        return pa.array([self._decimal(value, kind) for value in values.to_pylist()], kind)

    def value(self, value: Any) -> None:
        """Null: what is no number of the column's type could be anything."""

    def _decimal(self, value: Decimal | None, kind: pa.DataType) -> Decimal | None:
        if value is None:
            return None
        step = Decimal(str(self.step))
        found = (value / step).to_integral_value(ROUND_FLOOR) * step
        fits = found.adjusted() < kind.precision - kind.scale and found == round(found, kind.scale)
        return found if fits else None


@dataclass(frozen=True, slots=True)
class Truncated:
    """Dates and timestamps become the first instant of their ``unit`` and keep their type."""

    unit: Unit

    def kind(self, kind: pa.DataType) -> pa.DataType | None:
        """The same type; a date has no hours."""
        if pt.is_timestamp(kind):
            return kind
        return kind if pt.is_date(kind) and self.unit != "hour" else None

    def array(self, values: pa.Array) -> pa.Array:
        """First instants, in UTC."""
        kind = values.type
        if self.kind(kind) is None:
            return pa.nulls(len(values), pa.string())
        plain = values.cast(pa.timestamp(kind.unit)) if pt.is_timestamp(kind) else values
        return pc.floor_temporal(plain, unit=self.unit).cast(kind)

    def value(self, value: Any) -> None:
        """Null: what is no date could be anything."""
