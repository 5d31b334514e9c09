"""The write-ahead plan of one batch, immutable once it exists.

A manifest fixes what cannot be recomputed: which object versions, which timestamp, which seed. It is JSON at
``<import folder>/manifests/<batch, ten digits>.json``, written with create-if-absent, so that of any number of
planners one wins.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import orjson

from lakeray.errors import WITHOUT_A_BACKUP, ExactlyOnceError, ObjectExists, ObjectNotFound, RecordLost
from lakeray.importer.identity import ImportId
from lakeray.objects import ObjectInfo, join, open_store
from lakeray.spec.steps import Mode

FORMAT, REPROCESS_FORMAT, UNNEST_FORMAT, CLAIM_FORMAT = 1, 2, 3, 4
"""A version that knows nothing of reprocessing must not take its manifest for one of objects to be read whole, nor one
that knows nothing of child tables leave them out, or one that knows nothing of claims go past them."""
Fate = Literal["replaced", "deleted", "withdrawn", "compensated"]
_CLAIMS = ("claim", "release", "closed")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedObject:
    """One object version of a batch.

    ``tries`` counts earlier failures; ``skip`` says why it is recorded without being read. With a ``fate`` it is a
    version whose rows go: those that batch ``takes`` had brought into the table.
    """

    info: ObjectInfo
    tries: int = 0
    skip: str | None = None
    fate: Fate | None = None
    takes: int | None = None

    @classmethod
    def going(cls, info: ObjectInfo, *, fate: Fate, takes: int) -> PlannedObject:
        """A version whose rows go."""
        return cls(info=info, skip=fate, fate=fate, takes=takes)

    def to_list(self) -> list[Any]:
        """The JSON form: a list, because a manifest holds many."""
        info = self.info
        modified_us = (info.modified_at - _EPOCH) // timedelta(microseconds=1)
        row = [info.uri, info.size, info.etag, info.version_id, modified_us, self.tries, self.skip]
        return row if self.fate is None else [*row, self.fate, self.takes]

    @classmethod
    def from_list(cls, row: list[Any]) -> PlannedObject:
        """The inverse of ``to_list``."""
        uri, size, etag, version_id, modified_us, tries, skip = row[:7]
        fate, takes = row[7:] or (None, None)
        modified_at = _EPOCH + timedelta(microseconds=modified_us)
        info = ObjectInfo(uri=uri, size=size, etag=etag, version_id=version_id, modified_at=modified_at)
        return cls(info=info, tries=tries, skip=skip, fate=fate, takes=takes)


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
    def going(self) -> list[PlannedObject]:
        """Object versions whose rows go."""
        return [planned for planned in self.objects if planned.fate is not None]

    @property
    def kind(self) -> Literal["objects", "reprocess"]:
        """Whether whole objects are imported, or rows of theirs that are in quarantine (``extra["reprocess"]``)."""
        return "reprocess" if "reprocess" in self.extra else "objects"

    @property
    def claims(self) -> dict[str, Any]:
        """What it says of claims (see ``claims``): a ``claim`` begins, one is over (``release``), or, in a part's own
        batches, that there are no further ones (``closed``). Such a batch has no objects.
        """
        return {name: self.extra[name] for name in _CLAIMS if name in self.extra}

    @property
    def size_bytes(self) -> int:
        """Bytes of the objects to be read."""
        return sum(planned.info.size for planned in self.objects if planned.skip is None)

    def to_bytes(self) -> bytes:
        """The stored form."""
        return orjson.dumps(
            {
                "format": _format(self.extra),
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
        """Read the stored form. Raises RecordLost when it is damaged, ExactlyOnceError when it is newer than
        this version.
        """
        try:
            raw = orjson.loads(data)
            if raw.pop("format") != _format(raw["extra"]):
                raise ExactlyOnceError(
                    "the manifest was written by a newer version of lakeray", uri=uri, hint="upgrade lakeray"
                )
            raw["created_at"] = datetime.fromisoformat(raw["created_at"])
            raw["objects"] = [PlannedObject.from_list(row) for row in raw["objects"]]
            return cls(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordLost(
                f"the manifest {uri} cannot be read: {error}",
                uri=uri,
                hint=f"restore the file from a backup or a bucket version; {WITHOUT_A_BACKUP}",
            ) from error


def _format(extra: dict[str, Any]) -> int:
    if any(name in extra for name in _CLAIMS):
        return CLAIM_FORMAT
    return UNNEST_FORMAT if "unnest" in extra else REPROCESS_FORMAT if "reprocess" in extra else FORMAT


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
    extra: dict[str, Any] | None = None,
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
        extra=extra or {},
    )


def is_planned(identity: ImportId, batch: int) -> bool:
    """Whether a manifest of ``batch`` is there."""
    uri = manifest_uri(identity, batch)
    try:
        open_store(uri).head(uri)
    except ObjectNotFound:
        return False
    return True


def newest_planned(identity: ImportId) -> int:
    """The highest batch that has a manifest, 0 when none has."""
    folder = join(identity.folder, "manifests", "")
    newest = 0
    try:
        for page in open_store(folder).list(folder):
            names = [uri.rpartition("/")[2].removesuffix(".json") for uri in page["uri"].to_pylist()]
            newest = max([newest, *(int(name) for name in names if name.isdigit())])
    except ObjectNotFound:  # a local folder that is gone
        return 0
    return newest


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
