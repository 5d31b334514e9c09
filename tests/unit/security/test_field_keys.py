"""A ciphertext opens under its own key for its own column alone, and shows nothing but its key's name and a length."""

from __future__ import annotations

import pickle
from typing import get_args

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from lakeray.security.field_keys import CIPHERTEXT, Algorithm, DataKey, KeyUnavailable, NotDecrypted, Ring, xaes_key

BOUND = "/lake/orders#email"
ALGORITHMS = get_args(Algorithm)


def ring(algorithm: Algorithm = "xaes-256-gcm", bound_to: str = BOUND) -> Ring:
    return Ring([DataKey.generate(algorithm, bound_to=bound_to)])


@pytest.mark.parametrize(
    ("key", "associated", "sealed"),
    [
        (1, b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (3, b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ],
)
def test_the_derived_key_is_that_of_the_specification(key: int, associated: bytes, sealed: str) -> None:
    """The two test vectors of https://c2sp.org/XAES-256-GCM."""
    derived = xaes_key(bytes([key]) * 32, b"ABCDEFGHIJKL")
    assert AESGCM(derived).encrypt(b"MNOPQRSTUVWX", b"XAES-256-GCM", associated).hex() == sealed


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(text=st.text(st.characters(codec=None, categories=None)))
def test_every_text_comes_back(algorithm: Algorithm, text: str) -> None:
    keys = ring(algorithm)
    sealed = keys.encrypt(text)
    assert CIPHERTEXT.fullmatch(sealed)
    assert keys.decrypt(sealed) == Ring.from_bytes(keys.to_bytes()).decrypt(sealed) == text


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_ciphertext_of_another_column_is_refused(algorithm: Algorithm) -> None:
    """Also when it claims the column's key: what the key is bound to is authenticated."""
    mine, other = ring(algorithm), ring(algorithm, "/lake/orders#phone")
    with pytest.raises(KeyUnavailable, match=other.active.key_id):
        mine.decrypt(other.encrypt("x"))
    key = mine.active
    elsewhere = DataKey(key_id=key.key_id, algorithm=algorithm, bound_to="/lake/orders#phone", secret=key.secret)
    with pytest.raises(NotDecrypted):
        mine.decrypt(Ring([elsewhere]).encrypt("x"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_changed_ciphertext_is_refused(algorithm: Algorithm) -> None:
    keys = ring(algorithm)
    sealed = keys.encrypt("hello")
    start = len(keys.active.prefix)
    for place in range(start, len(sealed) - 1):
        changed = sealed[:place] + ("A" if sealed[place] != "A" else "B") + sealed[place + 1 :]
        with pytest.raises(NotDecrypted):
            keys.decrypt(changed)
    for cut in (sealed[:-4], sealed[: start + 4], "", "hello", sealed + "!"):
        with pytest.raises(NotDecrypted):
            keys.decrypt(cut)


def test_renewing_reaches_every_old_ciphertext_and_nothing_else() -> None:
    old, new = DataKey.generate("xaes-256-gcm", bound_to=BOUND), DataKey.generate("xaes-256-gcm", bound_to=BOUND)
    before, both, strange = Ring([old]), Ring([old, new]), ring()
    sealed, foreign, fresh = before.encrypt("a"), strange.encrypt("b"), both.encrypt("c")
    forged = old.prefix + "AAAA"
    text = f'{{"email":"{sealed}","x":"{foreign}","y":"{fresh}","z":"{forged}"}}'
    renewed = both.renewed(text)
    assert old.key_id not in renewed.replace(forged, "")
    assert foreign in renewed
    assert fresh in renewed
    assert forged in renewed
    assert {both.decrypt(found[0]) for found in CIPHERTEXT.finditer(renewed) if found[1] == new.key_id} == {"a", "c"}


def test_nothing_shows_a_key() -> None:
    keys = ring()
    secret = keys.active.secret
    for shown in (repr(keys), repr(keys.active), repr(vars(keys)), str(keys.active)):
        assert secret.hex() not in shown
        assert repr(secret) not in shown
    assert pickle.loads(pickle.dumps(keys.active)).secret == secret, "workers get it by value"
