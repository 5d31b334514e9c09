"""What an import step says of itself counts the batches of processes that died in the middle of it.

Crash points: behind the second batch's commit (before its ledger rows), and behind its ledger rows.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sample_lake import SampleLake


@pytest.mark.parametrize("name", ["after_commit", "after_ledger_commit", "before_commit"])
def test_numbers_survive_a_kill(tmp_path: Path, name: str) -> None:
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, batch_objects=2)
    for number in range(7):
        lake.add(f"2024/{number:02d}.json")
    state = f"sqlite:///{tmp_path}/state.db"
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill:2", LAKERAY_STATE=state)
    assert killed.returncode == -9, killed.stdout + killed.stderr
    done = lake.run(LAKERAY_STATE=state)
    assert done.returncode == 0, done.stderr
    lake.check()
    imported = json.loads(done.stdout)["import"]["steps"][0]
    assert sum(imported["objects"].values()) == 7
    assert imported["rows"]["written"] == lake.ids.total()
    assert imported["rows"]["quarantined"] == lake.refused.total()
    assert imported["batches_total"] == 4
