"""Masks of a workflow file: how the values of a column are hidden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from lakeray.spec.strict import Choice, Complaint, Spec
from lakeray.spec.texts import ColumnRef, SecretRef
from lakeray.spec.wrong import WrongValue, quoted


def _one_character(value: str) -> str:
    if len(value) == 1 and value.isprintable():
        return value
    raise WrongValue('expected one printable character, as in "*"', found=quoted(value))


class Partial(Spec):
    """Some characters of a value stay, the others are covered one by one.

    A value with no more characters than would stay is covered whole. Other types than text are covered in their JSON
    text.
    """

    shorthand: ClassVar[str | None] = "shape"

    shape: Literal["text", "email"] = "text"
    """`text` (default): characters at both ends stay. `email`: the domain and the first characters of the name stay; a
    text without @ is covered whole."""
    keep_first: int | None = Field(default=None, ge=0, le=1000)
    """Characters that stay at the beginning. Default: 0; 1 of the name in the shape email."""
    keep_last: int = Field(default=0, ge=0, le=1000)
    """Characters that stay at the end. Default: 0. Not in the shape email."""
    with_: Annotated[str, AfterValidator(_one_character)] = Field(default="*", alias="with")
    """The character that covers. Default: `*`."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """An end that an e-mail address has not; nothing that stays."""
        if data.get("shape", "text") == "email":
            if data.get("keep_last"):
                yield ("keep_last",), WrongValue("only the shape text keeps characters at the end", found="shape email")
        elif data.get("shape", "text") == "text" and not data.get("keep_first") and not data.get("keep_last"):
            yield (), WrongValue("expected keep_first or keep_last, or the mask redact", found="nothing that stays")

    @property
    def first(self) -> int:
        """Characters that stay at the beginning."""
        return self.keep_first if self.keep_first is not None else int(self.shape == "email")


class Tokenize(Spec):
    """Short keyed tokens: equal values have equal tokens, in every table under the same key.

    Nobody can turn a token back, not even with the key; with it one can find out whether a token stands for a value
    that one has.
    """

    shorthand: ClassVar[str | None] = "key"

    key: SecretRef
    """Reference to the key under which tokens are made."""
    prefix: str = Field(default="tok_", max_length=32, pattern=r"^[A-Za-z0-9_.-]*$")
    """What tokens begin with. Default: `tok_`."""
    length: int = Field(default=26, ge=16, le=51)
    """Characters of a token behind the prefix, 5 bits each. Default: 26 (130 bits). At 16 (80 bits) two of a billion
    values share a token with a chance below one in a million."""


class Encrypt(Spec):
    """Values become ciphertexts that the holders of the key can turn back (`lakeray keys decrypt`).

    Each column of a table has data keys of its own, which lie beside the table, wrapped by the key that is named here.
    """

    shorthand: ClassVar[str | None] = "key"

    key: SecretRef
    """Reference to the key that wraps the data keys: at least 16 bytes, better 32 random ones. Change it with `lakeray
    keys rotate`."""
    deterministic: bool = False
    """Whether equal values become equal ciphertexts, so that tables can be joined and grouped by them. Default: false.
    Who sees the table then sees which values are equal, and how often each occurs."""
    keys_of: ColumnRef | None = None
    """`table.column` whose data keys are used, so that the two columns can be joined. Default: the column's own. Only
    when deterministic."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """Keys that are shared for nothing."""
        if data.get("keys_of") is not None and data.get("deterministic") is not True:
            yield (
                ("keys_of",),
                WrongValue("only deterministic encryption can be joined", found="deterministic: false"),
            )


class Generalize(Choice):
    """Values become coarser and keep their type."""

    noun: ClassVar[str] = "a generalization"

    step: int | float | None = Field(default=None, gt=0)
    """Numbers become the next lower multiple of this, such as 10."""
    unit: Literal["hour", "day", "week", "month", "quarter", "year"] | None = None
    """Dates and timestamps become the first instant of their unit (in UTC; weeks begin on Monday)."""


class Mask(Choice):
    """How a column's values are hidden, in the table, its quarantine and other outputs alike. Null stays null."""

    noun: ClassVar[str] = "a mask"

    redact: bool | Annotated[str, AfterValidator(str)] | None = None
    """`true`: values become null. A text: values become that text."""
    hmac_sha256: SecretRef | None = None
    """Reference to the key under which values become HMAC-SHA-256 digests in hexadecimal: equal values stay equal."""
    encrypt: Encrypt | None = None
    """Field encryption, which holders of the key can undo: `{key: "env:MASTER_KEY"}`."""
    tokenize: Tokenize | None = None
    """Short keyed tokens in place of values: `{key: "env:TOKEN_KEY"}`."""
    partial: Partial | None = None
    """All but some characters covered: `{keep_last: 4}`, or `email`."""
    generalize: Generalize | None = None
    """Numbers by steps, dates by units: `{step: 10}`, `{unit: month}`."""

    @classmethod
    def complaints(cls, data: Mapping[str, object]) -> Iterator[Complaint]:
        """None or several, or a mask that masks nothing."""
        yield from super().complaints(data)
        if data.get("redact") is False:
            yield ("redact",), WrongValue("expected true, or the text that values become", found="false")

    @property
    def key(self) -> str | None:
        """The reference of its key; None without one."""
        chosen = self.encrypt or self.tokenize
        return self.hmac_sha256 if chosen is None else chosen.key


_DISTINCT = ("hmac_sha256", "tokenize")


def hidden_keys(step: Mapping[str, object]) -> Iterator[Complaint]:
    """Key columns of an import whose mask makes different rows alike, or one row different each time."""
    plan = step.get("import")
    plan = plan if isinstance(plan, Mapping) else {}
    masks, keys = step.get("mask"), plan.get("key")
    named = {str(key).casefold() for key in keys} if isinstance(keys, list) else set()
    for column, mask in masks.items() if isinstance(masks, Mapping) else ():
        kind = next(iter(mask), None) if isinstance(mask, Mapping) else None
        if not isinstance(column, str) or column.casefold() not in named or kind is None or kind in _DISTINCT:
            continue
        encrypt = mask.get("encrypt")
        if not (isinstance(encrypt, Mapping) and encrypt.get("deterministic") is True):
            yield (
                ("mask", column, kind),
                WrongValue(
                    "allowed for a key: hmac_sha256, tokenize, encrypt with deterministic: true",
                    found=f"a column of the import's key behind {kind}",
                ),
            )
