"""The data keys of a table's columns, stored wrapped beside the table so that no crash leaves a value without its key.

Below ``<table>/_lakeray/keys/<column>/`` lie, each created if absent and never changed:

- ``wraps/<key id>-<fingerprint>.json``: the data key, wrapped by the key-encryption key of that fingerprint
- ``<number>.json``: the data key of that number; the highest one encrypts

A key gets its number only once it is wrapped, and encrypts only once it has its number: of racing makers one wins, the
others find the winner's, and a wrapped key without a number has encrypted nothing.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from lakeray.errors import ObjectExists, ObjectNotFound
from lakeray.failpoints import failpoint
from lakeray.objects import join, open_store
from lakeray.security.field_keys import Algorithm, DataKey, KeyUnavailable, Ring, algorithm
from lakeray.security.wrapping import WrappingKey

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Wrap:
    """A data key as one key-encryption key wrapped it; ``reference`` is what that key was called then."""

    key_id: str
    reference: str
    fingerprint: str
    wrapped: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyEntry:
    """One data key of a column: ``key`` has no secret, ``wraps`` are by fingerprint."""

    number: int
    key: DataKey
    created_at: str
    wraps: Mapping[str, Wrap]

    def opened(self, keys: Sequence[WrappingKey]) -> DataKey:
        """The key with its secret. Raises KeyUnavailable when none of ``keys`` wrapped it."""
        for key in keys:
            found = self.wraps.get(key.fingerprint)
            if found is not None:
                return key.unwrap(found.wrapped, self.key)
        said = " or ".join(sorted({wrap.reference for wrap in self.wraps.values()})) or "nothing any more"
        given = " and ".join(key.reference for key in keys)
        raise KeyUnavailable(
            f"the data key {self.key.key_id} of {self.key.bound_to} is wrapped by {said}, not by the key that "
            f"{given} names now",
            hint="name the key that wrapped it, or bring it back and end the change with `lakeray keys rotate`",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Keyring:
    """The keys of one column of the table at ``table_uri``."""

    table_uri: str
    column: str

    @property
    def folder(self) -> str:
        """Where they lie."""
        name = self.column.casefold()
        if not re.fullmatch(r"[a-z0-9_][a-z0-9_-]*", name):
            name = f"x-{name.encode('utf-8', 'surrogatepass').hex()}"
        return join(self.table_uri, "_lakeray", "keys", name)

    def entries(self) -> list[KeyEntry]:
        """All keys, oldest first."""
        numbers: list[str] = []
        wraps: dict[str, dict[str, Wrap]] = {}
        store = open_store(self.folder)
        try:
            uris = [uri for page in store.list(join(self.folder, "")) for uri in page["uri"].to_pylist()]
        except ObjectNotFound:
            uris = []
        for uri in uris:
            if "/wraps/" in uri and uri.endswith(".json"):
                wrap = self._wrap(store.read(uri), uri)
                wraps.setdefault(wrap.key_id, {})[wrap.fingerprint] = wrap
            elif re.fullmatch(r"\d{10}\.json", uri.rpartition("/")[2]):
                numbers.append(uri)
        return [self._entry(store.read(uri), uri, wraps) for uri in sorted(numbers)]

    def ring(self, keys: Sequence[WrappingKey]) -> Ring | None:
        """All keys opened, None when the column has none. Raises KeyUnavailable when one cannot be opened."""
        entries = self.entries()
        return Ring([entry.opened(keys) for entry in entries]) if entries else None

    def newest(self, key: WrappingKey, kind: Algorithm, *, now: datetime) -> Ring:
        """A ring of the key that encrypts, which is made when there is none. Raises KeyUnavailable when ``key`` did
        not wrap it, or when it is for another algorithm.
        """
        entries = self.entries()
        if not entries:
            entries = self.add(key, kind, after=0, now=now)
        newest = entries[-1].opened([key])
        if newest.algorithm != kind:
            raise KeyUnavailable(
                f"the column {self.column} of {self.table_uri} is encrypted by {newest.algorithm}, not by {kind}",
                hint="leave `deterministic` as it was, or import into another table",
            )
        return Ring([newest])

    def add(self, key: WrappingKey, kind: Algorithm, *, after: int, now: datetime) -> list[KeyEntry]:
        """A new key behind the one with the number ``after``, or what another made there first; all keys."""
        made = DataKey.generate(kind, bound_to=f"{self.table_uri}#{self.column.casefold()}")
        wrap = self._store_wrap(made, key, now=now)
        failpoint("key_wrapped")
        uri = join(self.folder, f"{after + 1:010d}.json")
        told = {
            "format": FORMAT,
            "number": after + 1,
            "key_id": made.key_id,
            "algorithm": made.algorithm,
            "bound_to": made.bound_to,
            "created_at": now.isoformat(),
        }
        try:
            open_store(uri).create(uri, orjson.dumps(told))
        except ObjectExists:
            open_store(wrap).delete(wrap)
        failpoint("key_numbered")
        return self.entries()

    def rewrap(self, entry: KeyEntry, keys: Sequence[WrappingKey], to: WrappingKey, *, now: datetime) -> bool:
        """See to it that ``to`` can open the key; whether it could not before."""
        if to.fingerprint in entry.wraps:
            return False
        self._store_wrap(entry.opened(keys), to, now=now)
        return True

    def forget(self, entry: KeyEntry, wrap: Wrap) -> None:
        """Delete what one key-encryption key wrapped; it can open this data key no more."""
        assert len(entry.wraps) > 1, "a data key must stay readable"
        uri = self._wrap_uri(wrap.key_id, wrap.fingerprint)
        open_store(uri).delete(uri)

    def _wrap_uri(self, key_id: str, fingerprint: str) -> str:
        return join(self.folder, "wraps", f"{key_id}-{fingerprint}.json")

    def _store_wrap(self, made: DataKey, key: WrappingKey, *, now: datetime) -> str:
        uri = self._wrap_uri(made.key_id, key.fingerprint)
        told = {
            "format": FORMAT,
            "key_id": made.key_id,
            "reference": key.reference,
            "fingerprint": key.fingerprint,
            "wrapped": base64.b64encode(key.wrap(made)).decode(),
            "created_at": now.isoformat(),
        }
        with suppress(ObjectExists):  # another rotation did the same: the file holds the same data key
            open_store(uri).create(uri, orjson.dumps(told))
        return uri

    def _wrap(self, data: bytes, uri: str) -> Wrap:
        raw = _read(data, uri)
        return Wrap(
            key_id=raw["key_id"],
            reference=raw["reference"],
            fingerprint=raw["fingerprint"],
            wrapped=base64.b64decode(raw["wrapped"]),
        )

    def _entry(self, data: bytes, uri: str, wraps: Mapping[str, Mapping[str, Wrap]]) -> KeyEntry:
        raw = _read(data, uri)
        key = DataKey(key_id=raw["key_id"], algorithm=algorithm(raw["algorithm"]), bound_to=raw["bound_to"], secret=b"")
        return KeyEntry(number=raw["number"], key=key, created_at=raw["created_at"], wraps=wraps.get(raw["key_id"], {}))


def _read(data: bytes, uri: str) -> dict[str, Any]:
    try:
        raw: dict[str, Any] = orjson.loads(data)
        if raw["format"] == FORMAT:
            return raw
        what, hint = "was written by a newer version of lakeray", "upgrade lakeray"
    except (ValueError, KeyError, TypeError):
        what, hint = "cannot be read", "restore the file from a backup or a bucket version: values need its key"
    raise KeyUnavailable(f"the file of a data key {uri} {what}", uri=uri, hint=hint)
