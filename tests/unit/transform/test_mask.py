"""A mask shows nothing of a value, keeps null null, and gives equal values equal masks."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from lakeray.errors import ConfigError
from lakeray.transform.mask import Mask, MaskSpec, masked_rescued

KEY = b"a key for tests"
HMAC = MaskSpec(kind="hmac_sha256", key_ref="env:K")


def hashing() -> Mask:
    return Mask(HMAC, keys={"env:K": KEY})


def digest(text: str) -> str:
    return hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        (pa.array(["a@b", None, "a@b", "ä"]), ["a@b", None, "a@b", "ä"]),
        (pa.array([1, None]), ["1", None]),
        (pa.array([1.5]), ["1.5"]),
        (pa.array([True]), ["true"]),
        (pa.array([Decimal("1.50")]), ["1.50"]),
        (pa.array([dt.date(2020, 1, 2)]), ["2020-01-02"]),
        (pa.array([dt.datetime(2020, 1, 2, tzinfo=dt.UTC)]), ["2020-01-02T00:00:00Z"]),
        (pa.array([b"\x00\x01"]), ["AAE="]),
        (pa.array([{"a": 1, "b": [None, "x"]}, None]), ['{"a":1,"b":[null,"x"]}', None]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), ["x", "y", "x"]),
        (pa.array(["x"], pa.string_view()), ["x"]),
        (pa.chunked_array([["x"], ["y", None]]), ["x", "y", None]),
        (pa.array([], pa.int64()), []),
        (pa.nulls(2), [None, None]),
    ],
)
def test_the_digest_is_over_the_canonical_text_of_any_type(array: Any, texts: list[str | None]) -> None:
    found = hashing()(array)
    assert found.type == pa.string()
    assert found.to_pylist() == [None if text is None else digest(text) for text in texts]


def test_another_key_gives_another_digest() -> None:
    other = Mask(HMAC, keys={"env:K": b"other"})
    assert other(pa.array(["x"])) != hashing()(pa.array(["x"]))


@pytest.mark.parametrize("replacement", ["***", "", None])
def test_redaction(replacement: str | None) -> None:
    mask = Mask(MaskSpec(kind="redact", replacement=replacement), keys={})
    assert mask(pa.array([1, None, 3])).to_pylist() == [replacement, None, replacement]
    assert mask(pa.array([], pa.float64())).type == pa.string()
    assert mask.value("x") == replacement


@pytest.mark.parametrize("keys", [{}, {"env:K": b""}, {"env:OTHER": KEY}])
def test_a_missing_key_is_named_by_reference(keys: dict[str, bytes]) -> None:
    with pytest.raises(ConfigError, match="env:K"):
        Mask(HMAC, keys=keys)


def test_nothing_shows_the_key() -> None:
    assert KEY.decode() not in f"{hashing()!r} {vars(hashing())}"


def test_rescued_entries_of_a_masked_column_are_masked() -> None:
    texts = pa.array(
        ['{"email":"a@b","n":1}', None, '{"n":2}', '{"\\u0065mail":["x"]}', "broken", "[1]", '{"email":null}']
    )
    found = masked_rescued(texts, {"email": hashing()}).to_pylist()
    assert json.loads(found[0]) == {"email": digest("a@b"), "n": 1}
    assert found[1:3] == [None, '{"n":2}']
    assert json.loads(found[3]) == {"email": digest('["x"]')}
    assert found[4:6] == [None, None]
    assert json.loads(found[6]) == {"email": None}


def test_rescued_data_without_masks_is_untouched() -> None:
    texts = pa.array(["not json"])
    assert masked_rescued(texts, {}) is texts
