"""A lake of which three batches of two objects were imported, and its ledger."""

from __future__ import annotations

from pathlib import Path

from lakeray.importer.recording.amend import LedgerOf
from tests.sample_lake import SampleLake


def three_batches(folder: Path) -> SampleLake:
    """Six objects in three batches."""
    lake = SampleLake(root=str(folder / "lake"), folder=folder, batch_objects=2)
    for number in range(6):
        lake.add(f"{number:02d}.json")
    lake.import_well()
    return lake


def ledger(lake: SampleLake) -> LedgerOf:
    """What may be done with its ledger."""
    return lake.connect().ledger(lake.workflow)
