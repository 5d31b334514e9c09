"""The write-ahead plan of one batch, immutable once it exists.

A manifest fixes what cannot be recomputed: which object versions, which timestamp, which seed. It is JSON at
``<import folder>/manifests/<batch, ten digits>.json``, written with create-if-absent, so that of any number of
planners one wins.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from lakeray.errors import ExactlyOnceError, ObjectExists, ObjectNotFound
from lakeray.importer.identity import ImportId
from lakeray.objects import ObjectInfo, join, open_store
from lakeray.spec.steps import Mode

FORMAT = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedObject:
    """One object version of a batch. ``tries`` counts earlier failures; ``skip`` says why it is recorded without
    being read.
    """

    info: ObjectInfo
    tries: int = 0
    skip: str | None = None

    def to_list(self) -> list[Any]:
        """The JSON form: a list, because a manifest holds many."""
        info = self.info
        modified_us = (info.modified_at - _EPOCH) // timedelta(microseconds=1)
        return [info.uri, info.size, info.etag, info.version_id, modified_us, self.tries, self.skip]

    @classmethod
    def from_list(cls, row: list[Any]) -> PlannedObject:
        """The inverse of ``to_list``."""
        uri, size, etag, version_id, modified_us, tries, skip = row
        modified_at = _EPOCH + timedelta(microseconds=modified_us)
        info = ObjectInfo(uri=uri, size=size, etag=etag, version_id=version_id, modified_at=modified_at)
        return cls(info=info, tries=tries, skip=skip)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """``created_at`` is what ``now()`` means in the batch's expressions; ``mode`` is how its objects were chosen, so
    they are committed in no other; ``replays`` names the batch whose rows a RESTORE took away.
    """

    batch: int
    app_id: str
    source_uri: str
    created_at: datetime
    seed: int
    nonce: str
    mode: Mode
    objects: list[PlannedObject]
    replays: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Bytes of the objects to be read."""
        return sum(planned.info.size for planned in self.objects if planned.skip is None)

    def to_bytes(self) -> bytes:
        """The stored form."""
        return orjson.dumps(
            {
                "format": FORMAT,
                "batch": self.batch,
                "app_id": self.app_id,
                "source_uri": self.source_uri,
                "created_at": self.created_at.isoformat(),
                "seed": self.seed,
                "nonce": self.nonce,
                "mode": self.mode,
                "replays": self.replays,
                "extra": self.extra,
                "objects": [planned.to_list() for planned in self.objects],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, *, uri: str) -> Manifest:
        """Read the stored form. Raises ExactlyOnceError when it is damaged or newer than this version."""
        try:
            raw = orjson.loads(data)
            if raw.pop("format") != FORMAT:
                raise ExactlyOnceError(
                    "the manifest was written by a newer version of lakeray", uri=uri, hint="upgrade lakeray"
                )
            raw["created_at"] = datetime.fromisoformat(raw["created_at"])
            raw["objects"] = [PlannedObject.from_list(row) for row in raw["objects"]]
            return cls(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExactlyOnceError(
                f"the manifest {uri} cannot be read: {error}",
                uri=uri,
                hint="restore the file from a backup or a bucket version; the batch cannot be finished without it",
            ) from error


def manifest_uri(identity: ImportId, batch: int) -> str:
    """Where the manifest of ``batch`` is."""
    return join(identity.folder, "manifests", f"{batch:010d}.json")


def new_manifest(
    identity: ImportId,
    *,
    batch: int,
    source_uri: str,
    objects: list[PlannedObject],
    mode: Mode,
    now: datetime,
    replays: int | None = None,
) -> Manifest:
    """A plan that is not stored yet."""
    return Manifest(
        batch=batch,
        app_id=identity.app_id,
        source_uri=source_uri,
        created_at=now,
        seed=secrets.randbits(63),
        nonce=secrets.token_hex(8),
        mode=mode,
        objects=objects,
        replays=replays,
    )


def is_planned(identity: ImportId, batch: int) -> bool:
    """Whether a manifest of ``batch`` is there."""
    uri = manifest_uri(identity, batch)
    try:
        open_store(uri).head(uri)
    except ObjectNotFound:
        return False
    return True


def store_manifest(identity: ImportId, manifest: Manifest) -> bool:
    """Write it if no other planner was first; False when one was."""
    uri = manifest_uri(identity, manifest.batch)
    try:
        open_store(uri).create(uri, manifest.to_bytes())
    except ObjectExists:
        return False
    return True


def load_manifest(identity: ImportId, batch: int) -> Manifest | None:
    """The stored plan of ``batch``, or None when nobody planned it yet. Raises ExactlyOnceError when it belongs to
    another table.
    """
    uri = manifest_uri(identity, batch)
    try:
        data = open_store(uri).read(uri)
    except ObjectNotFound:
        return None
    manifest = Manifest.from_bytes(data, uri=uri)
    if manifest.app_id != identity.app_id:
        raise ExactlyOnceError(
            f"the manifest of batch {batch} was planned for another table under this path ({manifest.app_id})",
            uri=uri,
            hint=f"the table was recreated: move {identity.folder} away to import everything again",
        )
    return manifest
