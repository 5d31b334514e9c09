"""Encodings that outlive the code that wrote them: upcasters of events, and snapshots that know when they are torn.

A stored snapshot is ``LRS1``, a BLAKE2b digest of 16 bytes, then what it is a digest of: the sequence and the version
(unsigned, big-endian, 8 and 4 bytes), the length of the run's name (2 bytes), the name, and the data.
"""

from __future__ import annotations

import hashlib
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lakeray.errors import StateFormat
from lakeray.state.port import Event, Snapshot

_log = logging.getLogger(__name__)
_MAGIC, _DIGEST_BYTES = b"LRS1", 16
_FIXED = struct.Struct(">QIH")

Upcast = Callable[[bytes], bytes]
"""The data of one version of an event type as the next version has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upcasters:
    """How events of every version that was ever written become events of today's.

    ``current`` is today's version of every event type; ``steps`` leads from (type, version) to the next version.
    """

    current: dict[str, int]
    steps: dict[tuple[str, int], Upcast] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [
            f"{type_} {version}"
            for type_, newest in self.current.items()
            for version in range(1, newest)
            if (type_, version) not in self.steps
        ]
        if missing:
            raise ValueError(f"no way to today's version from {', '.join(missing)}")

    def upcast(self, event: Event) -> Event:
        """The event as today's code reads it. Raises StateFormat for a type or version from after this release."""
        newest = self.current.get(event.type)
        if newest is None or event.version > newest:
            raise StateFormat(
                f"event {event.sequence} of run {event.run_id} is a {event.type} of version {event.version}, "
                f"which this version of lakeray does not know",
                hint="a newer lakeray wrote it: update this one",
            )
        data = event.data
        for version in range(event.version, newest):
            data = self.steps[event.type, version](data)
        return replace(event, version=newest, data=data)


def seal(snapshot: Snapshot) -> bytes:
    """The stored form of a snapshot."""
    name = snapshot.run_id.encode()
    body = _FIXED.pack(snapshot.sequence, snapshot.version, len(name)) + name + snapshot.data
    return _MAGIC + _digest(body) + body


def unseal(run_id: str, sealed: bytes, *, newest: int) -> Snapshot | None:
    """The snapshot of the run, whose newest event is ``newest``; None, and a warning, when it cannot be trusted."""
    snapshot = _whole(sealed)
    if snapshot is None:
        _log.warning("the snapshot of run %s is damaged and ignored: the run is read from its events", run_id)
        return None
    if snapshot.run_id != run_id or snapshot.sequence > newest:
        _log.warning(
            "the snapshot of run %s is of event %d of run %s, the store has events up to %d: it is ignored",
            *(run_id, snapshot.sequence, snapshot.run_id, newest),
        )
        return None
    return snapshot


def _whole(sealed: bytes) -> Snapshot | None:
    start = len(_MAGIC) + _DIGEST_BYTES
    body = sealed[start:]
    if sealed[: len(_MAGIC)] != _MAGIC or sealed[len(_MAGIC) : start] != _digest(body) or len(body) < _FIXED.size:
        return None
    sequence, version, length = _FIXED.unpack_from(body)
    name, data = body[_FIXED.size : _FIXED.size + length], body[_FIXED.size + length :]
    return Snapshot(run_id=name.decode(), sequence=sequence, version=version, data=data)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
