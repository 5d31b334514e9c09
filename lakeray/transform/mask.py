"""Values replaced so that nobody reads them, while equal values stay equal where the mask says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import pyarrow as pa
import pyarrow.types as pt

from lakeray.errors import ConfigError
from lakeray.transform.delta_types import is_text
from lakeray.transform.digests import Digests
from lakeray.transform.record import json_text, json_values


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskSpec:
    """How one column is masked.

    ``redact`` writes ``replacement`` (None: null) over every value. ``hmac_sha256`` writes the keyed digest of the
    value in hexadecimal; ``key_ref`` is the *reference* of its key, as in ``env:MASK_KEY``, never the key.
    """

    kind: Literal["redact", "hmac_sha256"]
    replacement: str | None = None
    key_ref: str | None = None


class Mask:
    """One mask with its key, ready to be put over arrays."""

    def __init__(self, spec: MaskSpec, *, keys: Mapping[str, bytes]) -> None:
        """Raises ConfigError, naming the reference, when ``keys`` lacks the key."""
        self._replacement = spec.replacement
        self._digests: Digests | None = None
        if spec.kind != "hmac_sha256":
            return
        key = keys.get(spec.key_ref or "")
        if not key:
            raise ConfigError(
                f"the mask key {spec.key_ref!r} was not given or is empty",
                hint="set what the reference names before the run starts",
            )
        self._digests = Digests(key)

    def __repr__(self) -> str:
        return f"Mask({'redact' if self._digests is None else 'hmac_sha256'})"

    def __call__(self, values: pa.Array | pa.ChunkedArray) -> pa.Array:
        """``values`` of any type as strings, row by row; null stays null.

        The digest is over the canonical text: a string itself, any other value its JSON text (see
        ``lakeray.transform.record``).
        """
        if isinstance(values, pa.ChunkedArray):
            values = values.combine_chunks()
        if self._digests is None:
            return self._redacted(values)
        if is_text(values.type) or pt.is_integer(values.type):  # whose canonical text Arrow writes as well
            return self._digests.column(values.cast(pa.string()))
        return pa.array([self.value(value) for value in json_values(values)], pa.string())

    def value(self, value: Any) -> str | None:
        """The mask of one value made of JSON's own types."""
        if value is None:
            return None
        if self._digests is None:
            return self._replacement
        text = value if isinstance(value, str) else json_text(value)
        return self._digests.one(text.encode("utf-8", "surrogatepass"))

    def _redacted(self, values: pa.Array) -> pa.Array:
        if self._replacement is None:
            return pa.nulls(len(values), pa.string())
        written = pa.repeat(pa.scalar(self._replacement, pa.string()), len(values))
        return pa.compute.if_else(values.is_valid(), written, pa.scalar(None, pa.string()))


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
    return pa.array([None if text is None else _masked_text(text, masks) for text in texts.to_pylist()], pa.string())


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
