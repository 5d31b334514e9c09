"""Keyed digests of whole columns, by HMAC-SHA-256 (RFC 2104) in DataFusion's own hash function."""

from __future__ import annotations

import hashlib
import hmac

import pyarrow as pa
import pyarrow.compute as pc
from datafusion import SessionConfig, SessionContext

_BLOCK = 64
_FEW = 256
"""So many texts are done by Python sooner than a query is planned."""
_PEEK = 1024
_WORTH_IT = 4
_EMPTY = pa.scalar(b"", pa.binary())


class Digests:
    """HMAC-SHA-256 of texts under one key, in lower-case hexadecimal. Not for several threads at once."""

    def __init__(self, key: bytes) -> None:
        block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self._inner = pa.scalar(bytes(byte ^ 0x36 for byte in block), pa.binary())
        self._outer = pa.scalar(bytes(byte ^ 0x5C for byte in block), pa.binary())
        self._template = hmac.new(key, digestmod=hashlib.sha256)
        self._context: SessionContext | None = None

    def one(self, text: bytes) -> str:
        """The digest of one text."""
        digest = self._template.copy()
        digest.update(text)
        return digest.hexdigest()

    def column(self, texts: pa.StringArray) -> pa.StringArray:
        """The digests of ``texts``, null where one is null; texts that come often are done once."""
        if len(texts) <= _FEW:
            return pa.array(
                [None if text is None else self.one(text.encode()) for text in texts.to_pylist()], pa.string()
            )
        sample = texts.slice(len(texts) // 2, _PEEK)
        if pc.count_distinct(sample).as_py() * _WORTH_IT <= len(sample):
            coded = texts.dictionary_encode()
            return self._hashed(coded.dictionary).take(coded.indices)
        return self._hashed(texts)

    def _hashed(self, texts: pa.StringArray) -> pa.StringArray:
        bytes_ = texts.cast(pa.binary())
        inner = self._query("sha256(x)", pc.binary_join_element_wise(self._inner, bytes_, _EMPTY))
        outer = pc.binary_join_element_wise(self._outer, inner.cast(pa.binary()), _EMPTY)
        return self._query("encode(sha256(x), 'hex')", outer).cast(pa.string())

    def _query(self, expression: str, values: pa.Array) -> pa.Array:
        if self._context is None:
            self._context = SessionContext(SessionConfig().with_target_partitions(1).with_batch_size(65_536))
        self._context.deregister_table("t")
        self._context.register_record_batches("t", [[pa.record_batch([values], names=["x"])]])
        found = self._context.sql(f"SELECT {expression} AS x FROM t").to_arrow_table()["x"]  # noqa: S608
        return found.combine_chunks()
