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

from lakeray.errors import ConfigError, TransformError
from lakeray.security.field_keys import DataKey, Ring
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


def masked(values: pa.Array, **spec: Any) -> list[Any]:
    return Mask(MaskSpec(**spec), keys={"env:K": KEY})(values).to_pylist()


@pytest.mark.parametrize(
    ("first", "last", "text", "shown"),
    [
        (0, 4, "4111111111111111", "************1111"),
        (2, 2, "abcdef", "ab**ef"),
        (1, 0, "ä€x", "ä**"),
        (2, 2, "abcd", "****"),
        (2, 2, "ab", "**"),
        (0, 4, "", ""),
    ],
)
def test_a_partial_mask_shows_the_ends_alone(first: int, last: int, text: str, shown: str) -> None:
    spec = {"kind": "partial", "keep_first": first, "keep_last": last}
    assert masked(pa.array([text, None, text]), **spec) == [shown, None, shown]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("jane@example.org", "j###@example.org"),
        ("j@example.org", "#@example.org"),
        ('"a@b"@example.org', '"####@example.org'),
        ("jane", "####"),
        ("@example.org", "############"),
        ("jane@", "#####"),
    ],
)
def test_a_partial_mask_of_an_email_shows_its_domain(text: str, shown: str) -> None:
    spec = {"kind": "partial", "shape": "email", "keep_first": 1, "character": "#"}
    assert masked(pa.array([text, None]), **spec) == [shown, None]


def test_a_partial_mask_covers_the_text_of_any_type() -> None:
    spec = {"kind": "partial", "keep_last": 2}
    assert masked(pa.array([12345, None]), **spec) == ["***45", None]
    assert Mask(MaskSpec(**spec), keys={}).kind("n", pa.int64()) == pa.string()


def test_tokens_are_equal_for_equal_values_alone() -> None:
    spec = {"kind": "tokenize", "key_ref": "env:K", "prefix": "cust_", "length": 20}
    first, none, other, again = masked(pa.array(["a", None, "b", "a"]), **spec)
    assert none is None
    assert first == again != other
    assert first.startswith("cust_")
    assert len(first) == 25
    assert masked(pa.array([1]), **spec) == masked(pa.array(["1"]), **spec)
    assert digest("a") not in first
    assert Mask(MaskSpec(**spec), keys={"env:K": b"other"})(pa.array(["a"])).to_pylist() != [first]


@pytest.mark.parametrize(
    ("values", "step", "steps"),
    [
        (pa.array([0, 9, 10, -1, -10, None]), 10, [0, 0, 10, -10, -10, None]),
        (pa.array([127, -128], pa.int8()), 10, [120, None]),
        (pa.array([19.99, -0.5, None]), 0.5, [19.5, -0.5, None]),
        (pa.array([Decimal("19.99"), Decimal("-0.01"), None]), 5, [Decimal("15.00"), Decimal("-5.00"), None]),
        (pa.array([Decimal("-9.99")]), 10, [None]),
    ],
)
def test_numbers_become_multiples_of_a_step(values: pa.Array, step: float, steps: list[Any]) -> None:
    """Where the type cannot hold the multiple, null: the value itself must not stay."""
    mask = Mask(MaskSpec(kind="generalize", step=step), keys={})
    assert mask(values).to_pylist() == steps
    assert mask(values).type == mask.kind("n", values.type) == values.type


@pytest.mark.parametrize(
    ("values", "unit", "first"),
    [
        (pa.array([dt.date(2024, 5, 17), dt.date(1931, 2, 3), None]), "month", ["2024-05-01", "1931-02-01", None]),
        (pa.array([dt.date(2024, 5, 17)]), "week", ["2024-05-13"]),
        (pa.array([dt.datetime(2024, 5, 17, 23, 59, tzinfo=dt.UTC)]), "hour", ["2024-05-17T23:00:00+00:00"]),
        (pa.array([dt.datetime.fromisoformat("2024-05-17T23:59")]), "year", ["2024-01-01T00:00:00"]),
    ],
)
def test_dates_become_the_first_instant_of_a_unit(values: pa.Array, unit: Any, first: list[str | None]) -> None:
    found = Mask(MaskSpec(kind="generalize", unit=unit), keys={})(values)
    assert [None if value is None else value.isoformat() for value in found.to_pylist()] == first
    assert found.type == values.type


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ({"step": 10}, pa.string()),
        ({"step": 0.5}, pa.int64()),
        ({"step": 1000}, pa.int8()),
        ({"unit": "month"}, pa.int64()),
        ({"unit": "hour"}, pa.date32()),
    ],
)
def test_a_mask_that_a_type_cannot_have_is_refused_before_a_row_is_read(spec: dict[str, Any], kind: pa.DataType):
    mask = Mask(MaskSpec(kind="generalize", **spec), keys={})
    with pytest.raises(TransformError, match="cannot be put over the column 'n'"):
        mask.kind("n", kind)
    assert mask(pa.array([None, "7"]).cast(pa.string())).null_count == 2
    assert mask.value("secret") is None


def test_what_a_masked_column_is_made_of_shows_no_part() -> None:
    for spec in ({"kind": "partial", "keep_last": 4}, {"kind": "generalize", "step": 10}):
        mask = Mask(MaskSpec(**spec), keys={}).of_origin()
        assert mask(pa.array(["4111111111111111", "7"])).null_count == 2
    assert hashing().of_origin().value("x") == digest("x")


@pytest.mark.parametrize(("algorithm", "equal"), [("xaes-256-gcm", False), ("aes-256-siv", True)])
def test_encrypted_values_come_back_and_repeat_only_where_they_shall(algorithm: Any, equal: bool) -> None:
    ring = Ring([DataKey.generate(algorithm, bound_to="t#c")])
    mask = Mask(MaskSpec(kind="encrypt", key_ref="ring"), keys={"ring": ring.to_bytes()})
    found = mask(pa.array(["x", None, "x", ""])).to_pylist()
    assert found[1] is None
    assert (found[0] == found[2]) is equal
    assert [ring.decrypt(text) for text in found if text is not None] == ["x", "x", ""]
    assert ring.decrypt(mask(pa.array([{"a": 1}])).to_pylist()[0]) == '{"a":1}'
    assert ring.decrypt(mask.value(["x"]) or "") == '["x"]'
