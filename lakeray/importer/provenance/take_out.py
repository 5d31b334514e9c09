"""The rows of chosen loads go out of a table: exactly those, wherever compaction or merges have put them since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lakeray.delta.files import DataFile
from lakeray.errors import ExactlyOnceError
from lakeray.importer.identity import ImportId
from lakeray.importer.manifest import PlannedObject, load_manifest
from lakeray.importer.provenance import columns as provenance
from lakeray.importer.provenance.columns import RowsOf
from lakeray.importer.recording.ledger import LOADED
from lakeray.importer.result import ObjectOutcome, Result
from lakeray.objects import ObjectInfo

_Place = tuple[int, int]
_Version = tuple[str, int, str | None, str | None]


def settled(outcomes: Sequence[ObjectOutcome]) -> list[ObjectOutcome]:
    """The outcomes with those of versions ``kept`` whose successor could not be loaded: rather old rows than none."""
    loaded = {outcome.planned.info.uri for outcome in outcomes if outcome.outcome in LOADED}
    return [
        replace(outcome, outcome="kept")
        if outcome.planned.fate == "replaced" and outcome.planned.info.uri not in loaded
        else outcome
        for outcome in outcomes
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadsOut:
    """Selects the rows of loads; ``places`` are where their batches' manifests have them."""

    picker: RowsOf
    places: Mapping[tuple[int, _Version], int]
    adds: bool

    @classmethod
    def of(cls, result: Result, identity: ImportId) -> LoadsOut | None:
        """What the result says that goes; None for nothing. Raises ExactlyOnceError when a manifest is gone."""
        if not result.gone:
            return None
        places = _places(result.gone, identity)
        return cls(picker=_picker(places, identity), places=places, adds=bool(result.files))

    @property
    def operation(self) -> str:
        """What the table's history calls the commit."""
        return "WRITE" if self.adds else "DELETE"

    @property
    def columns(self) -> tuple[str, ...]:
        """Whose statistics tell where rows may be."""
        return provenance.NAMES

    def may_hold(self, file: DataFile) -> bool:
        """Whether the log allows a row of one of the loads in the file."""
        return self.picker.may_hold(file)

    def told(self, result: Result, counts: Mapping[_Place, int]) -> Result:
        """The result with the rows that went, load by load."""
        outcomes = []
        for outcome in result.outcomes:
            planned = outcome.planned
            place = self.places.get((planned.takes or 0, _version(planned.info))) if _goes(outcome) else None
            gone = 0 if place is None else counts.get((planned.takes or 0, place), 0)
            outcomes.append(replace(outcome, rows_removed=gone) if gone else outcome)
        return replace(result, outcomes=outcomes)


def going(outcomes: Sequence[ObjectOutcome], identity: ImportId) -> RowsOf | None:
    """Picks the rows that a batch with these outcomes takes out of the table; None for nothing. Raises
    ExactlyOnceError when a manifest is gone.
    """
    gone = [outcome.planned for outcome in settled(outcomes) if _goes(outcome)]
    return _picker(_places(gone, identity), identity) if gone else None


def _picker(places: Mapping[tuple[int, _Version], int], identity: ImportId) -> RowsOf:
    by_batch: dict[int, list[int]] = {}
    for (batch, _), place in places.items():
        by_batch.setdefault(batch, []).append(place)
    return RowsOf(importer=provenance.import_name(identity), places=by_batch)


def _goes(outcome: ObjectOutcome) -> bool:
    return outcome.planned.fate is not None and outcome.outcome == outcome.planned.fate


def _version(info: ObjectInfo) -> _Version:
    return info.uri, info.size, info.etag, info.version_id


def _places(items: Sequence[PlannedObject], identity: ImportId) -> dict[tuple[int, _Version], int]:
    """Where the manifests of the batches that loaded them have these versions."""
    wanted: dict[int, set[_Version]] = {}
    for item in items:
        assert item.takes is not None
        wanted.setdefault(item.takes, set()).add(_version(item.info))
    found: dict[tuple[int, _Version], int] = {}
    for batch, versions in wanted.items():
        manifest = load_manifest(identity, batch)
        if manifest is None:
            raise ExactlyOnceError(
                f"rows of batch {batch} are to be taken out, but its manifest is gone",
                uri=identity.table_uri,
                hint="restore the import's folder under _lakeray/ from a backup or a bucket version",
            )
        for place, planned in enumerate(manifest.objects):
            if planned.fate is None and _version(planned.info) in versions:
                found[batch, _version(planned.info)] = place
    return found
