"""A data key opens only under the key that wrapped it, as the data key that it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lakeray.security.field_keys import DataKey, KeyUnavailable
from lakeray.security.secrets import Secret
from lakeray.security.wrapping import WrappingKey

VALUE = b"0123456789abcdef"


def test_a_data_key_comes_back() -> None:
    wrapping = WrappingKey(Secret("env:K", VALUE))
    key = DataKey.generate("aes-256-siv", bound_to="t#c")
    wrapped = wrapping.wrap(key)
    assert key.secret not in wrapped
    assert WrappingKey(Secret("file:/k", VALUE)).unwrap(wrapped, replace(key, secret=b"")) == key
    assert wrapping.wrap(key) != wrapped, "a nonce of its own each time"


def test_what_is_said_of_a_data_key_cannot_be_changed() -> None:
    wrapping = WrappingKey(Secret("env:K", VALUE))
    key = DataKey.generate("xaes-256-gcm", bound_to="t#c")
    wrapped = wrapping.wrap(key)
    for other in (
        replace(key, bound_to="t#d"),
        replace(key, key_id="0" * 16),
        replace(key, algorithm="aes-256-siv"),
    ):
        with pytest.raises(KeyUnavailable, match="cannot be unwrapped by env:K"):
            wrapping.unwrap(wrapped, other)
    with pytest.raises(KeyUnavailable):
        WrappingKey(Secret("env:L", VALUE + b"!")).unwrap(wrapped, key)
    with pytest.raises(KeyUnavailable):
        wrapping.unwrap(wrapped[:5], key)


def test_a_fingerprint_tells_keys_apart_and_shows_none() -> None:
    one, other = WrappingKey(Secret("env:K", VALUE)), WrappingKey(Secret("env:K", VALUE + b"!"))
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == WrappingKey(Secret("file:/k", VALUE)).fingerprint
    assert VALUE.decode() not in f"{one!r} {vars(one)}"


def test_a_short_secret_is_no_key() -> None:
    with pytest.raises(KeyUnavailable, match="env:K is shorter than 16 bytes") as caught:
        WrappingKey(Secret("env:K", b"hunter2"))
    assert "hunter2" not in f"{caught.value} {caught.value.__dict__}"
