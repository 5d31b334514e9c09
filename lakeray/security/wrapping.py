"""Data keys wrapped, so that only the holder of a key-encryption key can use them.

The key-encryption key is what a secret reference names. AES-256-GCM wraps under a key that HKDF-SHA256 (RFC 5869)
derives from it; the additional authenticated data are everything that is said about the data key, so that no wrapped
key can pass for another.
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING

from lakeray.security.field_keys import DataKey, KeyUnavailable
from lakeray.security.secrets import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_SHORTEST = 16
_NONCE = 12


class WrappingKey:
    """A key-encryption key.

    ``reference`` names it; ``fingerprint`` (16 hexadecimal digits) tells keys apart without showing them. Raises
    KeyUnavailable for a secret that is too short to be a key.
    """

    def __init__(self, secret: Secret) -> None:
        self.reference = secret.reference
        if len(secret.reveal()) < _SHORTEST:
            raise KeyUnavailable(
                f"the key {self.reference} is shorter than {_SHORTEST} bytes",
                hint="make one with `openssl rand -hex 32`",
            )
        self._secret = secret
        self.fingerprint = hmac.digest(secret.reveal(), b"lakeray fingerprint 1", "sha256").hex()[:16]

    def __repr__(self) -> str:
        return f"WrappingKey({self.reference})"

    def wrap(self, key: DataKey) -> bytes:
        """The data key's secret, wrapped."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher().encrypt(nonce, key.secret, _told(key))

    def unwrap(self, wrapped: bytes, key: DataKey) -> DataKey:
        """``key``, which has no secret yet, with what ``wrapped`` holds. Raises KeyUnavailable for another's."""
        from cryptography.exceptions import InvalidTag

        try:
            secret = self._cipher().decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _told(key))
        except (InvalidTag, ValueError):
            raise KeyUnavailable(
                f"the data key {key.key_id} cannot be unwrapped by {self.reference}: its file was changed",
                hint="restore the files below _lakeray/keys from a backup or a bucket version",
            ) from None
        return DataKey(key_id=key.key_id, algorithm=key.algorithm, bound_to=key.bound_to, secret=secret)

    def _cipher(self) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"lakeray wrap 1").derive(self._secret.reveal())
        return AESGCM(derived)


def _told(key: DataKey) -> bytes:
    return f"lakeray\n{key.key_id}\n{key.algorithm}\n{key.bound_to}".encode()
