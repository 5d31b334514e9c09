"""Values replaced so that nobody reads them, while equal values stay equal where the mask says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from lakeray.errors import ConfigError, TransformError
from lakeray.security.field_keys import Ring
from lakeray.transform.covers import (
    Cover,
    Digested,
    Partly,
    PartlyEmail,
    Redacted,
    Rewritten,
    Stepped,
    Tokens,
    Truncated,
    Unit,
)
from lakeray.transform.digests import Digests
from lakeray.transform.record import json_text

Kind = Literal["redact", "hmac_sha256", "tokenize", "partial", "encrypt", "generalize"]
_SHOWING = ("partial", "generalize")


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskSpec:
    """How one column is masked; the options are those of ``lakeray.spec.masks``.

    ``key_ref`` is the *reference* of a key, as in ``env:MASK_KEY``, never the key; for ``encrypt`` the name under which
    the column's data keys are handed over, as ``Ring.to_bytes`` writes them.
    """

    kind: Kind
    replacement: str | None = None
    key_ref: str | None = None
    prefix: str = "tok_"
    length: int = 26
    shape: Literal["text", "email"] = "text"
    keep_first: int = 0
    keep_last: int = 0
    character: str = "*"
    step: float | None = None
    unit: Unit | None = None


class Mask:
    """One mask with its key, ready to be put over arrays."""

    def __init__(self, spec: MaskSpec, *, keys: Mapping[str, bytes]) -> None:
        """Raises ConfigError, naming the reference, when ``keys`` lacks the key."""
        self._spec = spec
        self._cover = _cover(spec, keys)

    def __repr__(self) -> str:
        return f"Mask({self._spec.kind})"

    def of_origin(self) -> Mask:
        """The mask of a column from which the masked one is computed.

        A mask that shows parts of a value would show other parts of one that looks otherwise, so that is redacted.
        """
        return Mask(MaskSpec(kind="redact"), keys={}) if self._spec.kind in _SHOWING else self

    def kind(self, column: str, kind: pa.DataType) -> pa.DataType:
        """The type of ``column`` behind the mask. Raises TransformError when the mask cannot be put over its type."""
        found = self._cover.kind(kind)
        if found is None:
            raise TransformError(
                f"the mask {self._spec.kind} cannot be put over the column {column!r}, which is {kind}",
                hint="convert it in `select`, or take another mask",
            )
        return found

    def __call__(self, values: pa.Array | pa.ChunkedArray) -> pa.Array:
        """``values`` of any type masked, row by row; null stays null."""
        return self._cover.array(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)

    def value(self, value: Any) -> Any:
        """The mask of one value made of JSON's own types."""
        return self._cover.value(value)


def _cover(spec: MaskSpec, keys: Mapping[str, bytes]) -> Cover:  # noqa: PLR0911 - a table of kinds
    if spec.kind == "hmac_sha256":
        return Digested(Digests(_key(spec, keys)))
    if spec.kind == "tokenize":
        return Rewritten(Tokens(_key(spec, keys), prefix=spec.prefix, length=spec.length))
    if spec.kind == "encrypt":
        ring = Ring.from_bytes(_key(spec, keys))
        return Rewritten(ring.encrypt, repeats=ring.deterministic)
    if spec.kind == "partial" and spec.shape == "email":
        return Rewritten(PartlyEmail(first=spec.keep_first, character=spec.character))
    if spec.kind == "partial":
        return Rewritten(Partly(first=spec.keep_first, last=spec.keep_last, character=spec.character))
    if spec.kind == "generalize":
        return Truncated(spec.unit) if spec.unit is not None else Stepped(spec.step or 1)
    return Redacted(spec.replacement)


def _key(spec: MaskSpec, keys: Mapping[str, bytes]) -> bytes:
    key = keys.get(spec.key_ref or "")
    if not key:
        raise ConfigError(
            f"the mask key {spec.key_ref!r} was not given or is empty",
            hint="set what the reference names before the run starts",
        )
    return key


class ByName(dict[str, Any]):
    """Masks by column, found in whatever case the column is written: a spelling must not show what it hides."""

    def __init__(self, masks: Mapping[str, Any]) -> None:
        super().__init__({name.casefold(): mask for name, mask in masks.items()})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.casefold())

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name.casefold())

    def __setitem__(self, name: str, mask: Any) -> None:
        super().__setitem__(name.casefold(), mask)

    def get(self, name: str, default: Any = None) -> Any:
        """The mask of that column, or ``default``."""
        return super().get(name.casefold(), default)


def masked_rescued(texts: pa.Array | pa.ChunkedArray, masks: Mapping[str, Mask]) -> pa.Array:
    """Rescued-data texts in which every entry that is named like a masked column is masked.

    A text that is not a JSON object becomes null, because nothing is known about what it would show.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if not masks or texts.null_count == len(texts):
        return texts
    found = pa.array([_masked_text(text, masks) for text in texts.drop_null().to_pylist()], pa.string())
    return pc.replace_with_mask(texts, texts.is_valid(), found)


def _masked_text(text: str, masks: Mapping[str, Mask]) -> str | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, dict):
        return None
    hit = [name for name in found if name in masks]
    if not hit:
        return text
    for name in hit:
        found[name] = masks[name].value(found[name])
    return json_text(found)
