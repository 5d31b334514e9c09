"""Secrets by reference, resolved where they are used.

A reference is ``env:NAME`` (an environment variable) or ``file:/path`` (a file's content, one trailing newline taken
off).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from lakeray.errors import ConfigError

_SHOWN: Final = "********"
_HINT: Final = "a secret reference is env:NAME or file:/absolute/path"
_LARGEST: Final = 64 * 1024


class Secret:
    """A value that shows itself only to ``reveal()``.

    Its text, representation and format are the reference and stars. It has no attributes that a log or a traceback
    with local variables would print, is compared by identity, and refuses to be pickled or copied: a worker is given
    what it needs explicitly.
    """

    __slots__ = ("__value", "reference")

    def __init__(self, reference: str, value: bytes) -> None:
        self.reference = reference
        self.__value = _sealed(value)

    def reveal(self) -> bytes:
        """The secret itself."""
        return self.__value()

    def __repr__(self) -> str:
        return f"Secret({self.reference}: {_SHOWN})"

    def __str__(self) -> str:
        return _SHOWN

    def __format__(self, spec: str) -> str:
        return _SHOWN

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"the secret {self.reference} is not pickled: hand over reveal() where it is needed")


class _Sealed:
    """Holds bytes where neither ``repr`` nor ``vars`` finds them."""

    __slots__ = ("_call",)

    def __init__(self, value: bytes) -> None:
        self._call: Callable[[], bytes] = lambda: value

    def __call__(self) -> bytes:
        return self._call()

    def __repr__(self) -> str:
        return _SHOWN


def _sealed(value: bytes) -> _Sealed:
    return _Sealed(value)


def resolve(reference: str) -> Secret:
    """The secret that ``reference`` names. Raises ConfigError, naming it, when it is missing, empty or unreadable."""
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        return Secret(reference, _from_environment(reference, name))
    if kind == "file" and name.startswith("/"):
        return Secret(reference, _from_file(reference, Path(name)))
    # The text may be a secret that someone wrote in place of a reference: it is not repeated.
    raise ConfigError("a secret is given as something that is no reference", hint=_HINT)


def _from_environment(reference: str, name: str) -> bytes:
    value = os.environb.get(os.fsencode(name))
    if not value:
        state = "empty" if value is not None else "not set"
        raise ConfigError(f"the secret {reference}: the variable {name} is {state}", hint=f"export {name}=...")
    return value


def _from_file(reference: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            value = file.read(_LARGEST + 1)
    except OSError as error:
        what = error.strerror or type(error).__name__
        raise ConfigError(
            f"the secret {reference} cannot be read: {what}", hint="check the path and its permissions"
        ) from None
    if len(value) > _LARGEST:
        raise ConfigError(f"the secret {reference} is larger than {_LARGEST} bytes", hint="is this the right file?")
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        raise ConfigError(f"the secret {reference}: the file is empty", hint="write the secret into it")
    return value
