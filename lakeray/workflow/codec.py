"""Events as bytes and back: every type in every version that was ever written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from lakeray.workflow import events as e

TYPES: dict[str, type[e.Event]] = {cls.__name__: cls for cls in e.Event.__subclasses__()}
"""Every type by the name under which it is stored."""
VERSIONS: dict[str, int] = dict.fromkeys(TYPES, 1)
"""The version in which each type is written today."""
UPGRADES: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""How the plain values of a type in an old version become those of the next one."""
_DECODERS = {name: msgspec.json.Decoder(cls).decode for name, cls in TYPES.items()}
_ENCODE = msgspec.json.Encoder().encode


def encode(event: e.Event) -> tuple[str, int, bytes]:
    """Type, version and JSON of the event, as the store keeps them."""
    name = type(event).__name__
    return name, VERSIONS[name], _ENCODE(event)


def decode(name: str, version: int, data: bytes) -> e.Event:
    """The event behind what any version up to this one wrote.

    Raises ValueError for a type or version from the future, and for bytes that are none of it.
    """
    newest = VERSIONS.get(name)
    if newest is None or version > newest:
        raise ValueError(f"a newer lakeray wrote this history: event {name} version {version} is not known here")
    try:
        if version == newest:
            return _DECODERS[name](data)
        plain = msgspec.json.decode(data)
        for step in range(version, newest):
            plain = UPGRADES[name, step](plain)
        return msgspec.convert(plain, TYPES[name])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"these bytes are no event {name}: {error}") from error
