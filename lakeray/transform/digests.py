"""Keyed digests of whole columns, by HMAC-SHA-256 (RFC 2104) in DataFusion's own hash function."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datafusion import SessionConfig, SessionContext

_BLOCK = 64
_FEW = 256
"""So many texts are done by Python sooner than a query is planned."""
_PIECE = 32_768
"""Texts hashed at once: with their blocks they stay in the processor's cache."""
_PEEK = 1024
_WORTH_IT = 4


class Digests:
    """HMAC-SHA-256 of texts under one key, in lower-case hexadecimal. Not for several threads at once."""

    def __init__(self, key: bytes) -> None:
        block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
        self._inner = bytes(byte ^ 0x36 for byte in block)
        self._outer = bytes(byte ^ 0x5C for byte in block)
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
        pieces = [self._piece(texts.slice(start, _PIECE)) for start in range(0, len(texts), _PIECE)]
        return pieces[0] if len(pieces) == 1 else pa.concat_arrays(pieces or [texts])

    def _piece(self, texts: pa.StringArray) -> pa.StringArray:
        inner = self._query("sha256(x)", _behind(self._inner, texts.cast(pa.binary())))
        outer = _behind(self._outer, inner.cast(pa.binary()))
        return self._query("encode(sha256(x), 'hex')", outer).cast(pa.string())

    def _query(self, expression: str, values: pa.Array) -> pa.Array:
        if self._context is None:
            self._context = SessionContext(SessionConfig().with_target_partitions(1).with_batch_size(65_536))
        self._context.deregister_table("t")
        self._context.register_record_batches("t", [[pa.record_batch([values], names=["x"])]])
        found = self._context.sql(f"SELECT {expression} AS x FROM t").to_arrow_table()["x"]  # noqa: S608
        return found.combine_chunks()


def _behind(block: bytes, values: pa.BinaryArray) -> pa.BinaryArray:
    """Each value behind ``block``; null for null. Sooner than ``binary_join_element_wise`` does it."""
    count = len(values)
    both = pa.concat_arrays([pa.array([block], pa.binary()), values])
    places = np.zeros(2 * count, dtype=np.int64)
    places[1::2] = np.arange(1, count + 1)
    pieces = both.take(pa.array(places))
    _, offsets, data = pieces.buffers()
    ends = np.frombuffer(offsets, np.int32)[: 2 * count + 1 : 2].copy()
    made = pa.Array.from_buffers(pa.binary(), count, [None, pa.py_buffer(ends), data])
    return pc.if_else(values.is_valid(), made, pa.scalar(None, pa.binary())) if values.null_count else made
