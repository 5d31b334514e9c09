"""Values of one column as ciphertexts that say which key they need, without saying anything else.

A ciphertext is the text ``lrenc1:<key id>:<bytes>``: the version of this format, 16 hexadecimal digits that name the
data key, and base64url without padding (RFC 4648) of, by the key's algorithm:

==============  ===================================================================================================
xaes-256-gcm    nonce (24 bytes), ciphertext, tag (16 bytes). AES-256-GCM under a key that is derived from the data key
                and the first half of the nonce, so that random nonces last for any number of values
                (https://c2sp.org/XAES-256-GCM; NIST SP 800-38D, section 8.3, would stop plain GCM at 2**32 values)
aes-256-siv     synthetic nonce (16 bytes, also the tag), ciphertext: AES-SIV with two 256-bit keys (RFC 5297).
                Equal values have equal ciphertexts
==============  ===================================================================================================

The additional authenticated data of both are the key's id and what the key is bound to, a table and a column, so that a
ciphertext that was moved elsewhere is refused. The plaintext is the value's canonical text in UTF-8; a ciphertext shows
how long it is.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, get_args

import orjson

from lakeray.errors import ConfigError, LakerayError

Algorithm = Literal["xaes-256-gcm", "aes-256-siv"]
_KEY_BYTES: dict[Algorithm, int] = {"xaes-256-gcm": 32, "aes-256-siv": 64}
CIPHERTEXT = re.compile(r"lrenc1:([0-9a-f]{16}):([A-Za-z0-9_-]+)")
"""Finds ciphertexts in any text; the groups are key id and bytes."""
_NONCE, _TAG = 24, 16


class KeyUnavailable(ConfigError):
    """A key that is needed is not there, or not readable under the keys at hand."""

    code = "key_unavailable"


class NotDecrypted(LakerayError):
    """A text is no ciphertext of this column, or was changed since it was written."""

    code = "not_decrypted"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataKey:
    """One key of one column: ``key_id`` names it in ciphertexts, ``bound_to`` is the table and column it was made for.

    Its representation does not show the key.
    """

    key_id: str
    algorithm: Algorithm
    bound_to: str
    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls, algorithm: Algorithm, *, bound_to: str) -> DataKey:
        """A new random key."""
        return cls(
            key_id=os.urandom(8).hex(),
            algorithm=algorithm,
            bound_to=bound_to,
            secret=os.urandom(_KEY_BYTES[algorithm]),
        )

    @property
    def prefix(self) -> str:
        """What all its ciphertexts begin with."""
        return f"lrenc1:{self.key_id}:"

    @property
    def associated(self) -> bytes:
        """The additional authenticated data of its ciphertexts."""
        return f"lakeray\n{self.key_id}\n{self.bound_to}".encode()


class Ring:
    """The data keys of one column, oldest first; the last one encrypts, all decrypt."""

    def __init__(self, keys: Sequence[DataKey]) -> None:
        assert keys, "a ring has a key"
        self._keys = tuple(keys)
        self._by_id = {key.key_id: _cipher(key) for key in keys}
        self._active = self._by_id[self.active.key_id]

    def __repr__(self) -> str:
        return f"Ring({', '.join(key.key_id for key in self._keys)})"

    @property
    def active(self) -> DataKey:
        """The key that encrypts."""
        return self._keys[-1]

    @property
    def key_ids(self) -> list[str]:
        """The names of its keys, oldest first."""
        return [key.key_id for key in self._keys]

    @property
    def deterministic(self) -> bool:
        """Whether equal values become equal ciphertexts."""
        return self.active.algorithm == "aes-256-siv"

    def encrypt(self, text: str) -> str:
        """The ciphertext of ``text`` under the active key."""
        sealed = self._active.seal(text.encode("utf-8", "surrogatepass"))
        return self.active.prefix + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def decrypt(self, ciphertext: str) -> str:
        """The text behind ``ciphertext``. Raises KeyUnavailable for a key that the ring lacks, NotDecrypted."""
        found = CIPHERTEXT.fullmatch(ciphertext)
        if found is None:
            raise NotDecrypted(
                "a text is no ciphertext of lakeray", hint="a ciphertext begins with lrenc1: and a key's id"
            )
        cipher = self._by_id.get(found[1])
        if cipher is None:
            known = ", ".join(key.key_id for key in self._keys)
            raise KeyUnavailable(
                f"a value was encrypted under the key {found[1]}, which the column does not have",
                hint=f"the keys of the column are {known}; was the value copied from another column or table?",
            )
        return cipher.open(_unpacked(found[2])).decode("utf-8", "surrogatepass")

    def is_old(self, text: str) -> bool:
        """Whether ``renewed`` would change ``text``."""
        return self.renewed(text) != text

    def renewed(self, text: str) -> str:
        """``text`` with every ciphertext of an older key of the ring encrypted anew under the active one.

        What only looks like a ciphertext, or was changed, stays as it is.
        """
        return CIPHERTEXT.sub(self._renewed, text)

    def _renewed(self, found: re.Match[str]) -> str:
        if found[1] == self.active.key_id or found[1] not in self._by_id:
            return found[0]
        try:
            return self.encrypt(self.decrypt(found[0]))
        except NotDecrypted:
            return found[0]

    def to_bytes(self) -> bytes:
        """The ring with its secrets, for the memory of workers; never stored."""
        return orjson.dumps(
            [
                {"key_id": key.key_id, "algorithm": key.algorithm, "bound_to": key.bound_to, "secret": key.secret.hex()}
                for key in self._keys
            ]
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Ring:
        """The inverse of ``to_bytes``."""
        return cls([DataKey(**{**raw, "secret": bytes.fromhex(raw["secret"])}) for raw in orjson.loads(data)])


def algorithm(name: str) -> Algorithm:
    """The algorithm of that name. Raises KeyUnavailable for one that this version does not know."""
    found = next((known for known in get_args(Algorithm) if known == name), None)
    if found is None:
        raise KeyUnavailable(f"a data key is for the algorithm {name!r}", hint="upgrade lakeray")
    return found  # type: ignore[no-any-return]


def _unpacked(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise _refused() from None


def _refused() -> NotDecrypted:
    return NotDecrypted(
        "a ciphertext cannot be decrypted: it was changed, or cut, or belongs to another column",
        hint="nothing is wrong with the key: read the value from the table itself",
    )


def _cipher(key: DataKey) -> _Gcm | _Siv:
    return _Gcm(key) if key.algorithm == "xaes-256-gcm" else _Siv(key)


class _Gcm:
    """XAES-256-GCM; one half of the nonce is drawn for each instance, so that a task derives one key."""

    def __init__(self, key: DataKey) -> None:
        self._key = key
        self._half: bytes | None = None
        self._derived = lru_cache(maxsize=1024)(self._derive)

    def seal(self, plain: bytes) -> bytes:
        if self._half is None:
            self._half = os.urandom(_NONCE // 2)
        rest = os.urandom(_NONCE // 2)
        sealed: bytes = self._derived(self._half).encrypt(rest, plain, self._key.associated)
        return self._half + rest + sealed

    def open(self, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(sealed) < _NONCE + _TAG:
            raise _refused()
        half, rest, body = sealed[: _NONCE // 2], sealed[_NONCE // 2 : _NONCE], sealed[_NONCE:]
        try:
            opened: bytes = self._derived(half).decrypt(rest, body, self._key.associated)
        except InvalidTag:
            raise _refused() from None
        return opened

    def _derive(self, half: bytes) -> Any:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(xaes_key(self._key.secret, half))


def xaes_key(secret: bytes, half: bytes) -> bytes:
    """The AES-256-GCM key of XAES-256-GCM for the first 12 bytes of a nonce: NIST SP 800-108 counter mode with CMAC."""
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.cmac import CMAC

    parts = []
    for counter in (1, 2):
        mac = CMAC(AES(secret))
        mac.update(bytes([0, counter]) + b"X\x00" + half)
        parts.append(mac.finalize())
    return b"".join(parts)


class _Siv:
    """AES-SIV with the key's associated data as its only header."""

    def __init__(self, key: DataKey) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        self._siv = AESSIV(key.secret)
        self._associated = key.associated

    def seal(self, plain: bytes) -> bytes:
        return self._siv.encrypt(plain, [self._associated])

    def open(self, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        if len(sealed) < _TAG:
            raise _refused()
        try:
            return self._siv.decrypt(sealed, [self._associated])
        except InvalidTag:
            raise _refused() from None
