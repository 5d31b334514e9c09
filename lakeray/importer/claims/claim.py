"""Who may import which part of a source, decided by the order of the stream's own batches.

A claim is a batch of the stream without objects: it has its number by create-if-absent, as every batch has, so that
between a plan of the stream and a claim it is always known which came first. What the stream planned before, it keeps;
what it plans behind is planned knowing the claim. The end of a claim is such a batch too.

What was decided lies in ``<import folder>/claims/``: ``<number>.json`` for a claim, ``<number>.over`` for its end. Both
are only ever created, by whoever records the batch, and before the ledger says that it is recorded; so that a planner
who has seen the ledger sees the claims.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pyarrow as pa

from lakeray.delta.commit import record_rows
from lakeray.errors import ExactlyOnceError, ObjectExists, ObjectNotFound
from lakeray.failpoints import failpoint
from lakeray.importer.claims.ranges import Range
from lakeray.importer.identity import ImportId
from lakeray.importer.recording.ledger import SCHEMA, Ledger, widen_ledger
from lakeray.objects import join, open_store

FORMAT = 1
"""Of a kept claim. It grows by fields with defaults alone."""
EVERY_BATCH = 2**62
"""Above the number of any batch: of a part that is over, all are meant."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """``owner`` imports the objects of ``range`` until the claim is over; ``number`` is the batch that says so."""

    number: int
    owner: str
    range: Range

    def to_bytes(self) -> bytes:
        """As it is kept."""
        said = {"format": FORMAT, "number": self.number, "owner": self.owner, "range": self.range.to_json()}
        return orjson.dumps(said)

    @classmethod
    def from_bytes(cls, data: bytes, *, uri: str) -> Claim:
        """The inverse. Raises ExactlyOnceError for one of a newer version."""
        said = orjson.loads(data)
        if said["format"] > FORMAT:
            raise ExactlyOnceError("the claim was written by a newer version of lakeray", uri=uri, hint="upgrade")
        return cls(number=said["number"], owner=said["owner"], range=Range.from_json(said["range"]))


def part_of(identity: ImportId, number: int) -> ImportId:
    """Who imports under a claim: batches, ledger and transaction ids of its own beside those of the stream."""
    return replace(identity, step=f"{identity.step}.{number}")


def _folder(identity: ImportId) -> str:
    return join(identity.folder, "claims", "")


def active(identity: ImportId) -> list[Claim]:
    """The claims on the stream's source that are in force, the oldest first."""
    begun, over = _numbers(identity)
    found = []
    for number in sorted(begun - over):
        uri = f"{_folder(identity)}{number:010d}.json"
        found.append(Claim.from_bytes(open_store(uri).read(uri), uri=uri))
    return found


def finished_parts(identity: ImportId) -> list[str]:
    """What imports under claims that are over were called, as steps."""
    return [part_of(identity, number).step for number in sorted(_numbers(identity)[1])]


def _numbers(identity: ImportId) -> tuple[set[int], set[int]]:
    """Numbers of all claims, and of those that are over."""
    folder = _folder(identity)
    try:
        names = [uri.rpartition("/")[2] for page in open_store(folder).list(folder) for uri in page["uri"].to_pylist()]
    except ObjectNotFound:  # a local folder that is not there
        return set(), set()
    found = {
        kind: {int(name.removesuffix(kind)) for name in names if name.endswith(kind)} for kind in (".json", ".over")
    }
    return found[".json"], found[".over"]


def record(identity: ImportId, batch: int, said: dict[str, Any]) -> None:
    """Put into force what the claims' part of a batch says; idempotent."""
    folder = _folder(identity)
    if "claim" in said:
        claim = Claim(number=batch, owner=said["claim"]["owner"], range=Range.from_json(said["claim"]["range"]))
        failpoint("after_claim_planned")
        with suppress(ObjectExists):
            open_store(folder).create(f"{folder}{batch:010d}.json", claim.to_bytes())
        failpoint("after_claim")
    if "release" in said:
        number, batches = said["release"]["claim"], said["release"]["batches"]
        failpoint("before_claim_folded")
        _fold(identity, number, batches)
        failpoint("after_claim_folded")
        with suppress(ObjectExists):
            open_store(folder).create(f"{folder}{number:010d}.over", b"{}")
        failpoint("after_claim_gone")


def _fold(identity: ImportId, number: int, batches: int) -> None:
    """Have the stream's ledger know what was imported under the claim.

    The rows keep the table versions of their batches, so that a RESTORE is judged as for the stream's own. The batch is
    the claim's: the table's rows say another, so they count as rows that do not say where they came from.
    """
    if not batches:
        return
    part = part_of(identity, number)
    rows = Ledger(part, at_least=batches).current()
    if not rows.num_rows:
        return
    count = rows.num_rows
    same = {
        "batch": pa.array([number] * count, pa.int64()),
        "provenance": pa.array([False] * count),
        "replays": pa.nulls(count, pa.int64()),
        "takes": pa.nulls(count, pa.int64()),
        "rows_removed": pa.nulls(count, pa.int64()),
    }
    columns = [same[name] if name in same else rows[name] for name in SCHEMA.names]
    widen_ledger(identity)
    app_id = f"{identity.ledger_app_id}/claim-{number}"
    table = pa.table(columns, schema=SCHEMA).sort_by("uri")
    record_rows(identity.ledger_uri, table, app_id=app_id, number=1, prefix="claim")
