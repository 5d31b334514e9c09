"""A column's digests are those of RFC 2104, however long texts and keys are, however many there are."""

from __future__ import annotations

import hashlib
import hmac

import pyarrow as pa
import pytest

from lakeray.transform.digests import Digests


@pytest.mark.parametrize("key", [b"k", b"x" * 64, b"y" * 65, bytes(range(256))])
@pytest.mark.parametrize("count", [3, 3_000])
@pytest.mark.parametrize("distinct", [2, 2_999])
def test_a_column_of_digests(key, count, distinct):
    texts = [None if i % 5 == 0 else "ä" * (i % distinct % 150) + str(i % distinct) for i in range(count)]
    texts[-1] = ""
    wanted = [None if text is None else hmac.new(key, text.encode(), hashlib.sha256).hexdigest() for text in texts]
    assert Digests(key).column(pa.array(texts, pa.string())).to_pylist() == wanted


def test_the_key_is_in_no_repr_and_no_query_text():
    digests = Digests(b"hunter2")
    digests.column(pa.array(["a"] * 1_000))
    assert "hunter2" not in repr(digests)
