"""An import with duplicates and set expectations, killed at any named point, ends as if it had not been.

Crash points: every name in ``EVERY_IMPORT`` and ``SETS`` of ``lakeray.failpoints``; of those
that only it has, ``rows_struck`` on each of its passes: duplicates and quarantined rows written out of the staged
files. Each batch has 12 rows, of which 3 ids came before; the first has nine notes, five of them new, later ones none.
"""

from __future__ import annotations

import json

import pytest

from lakeray.delta.table import require_table
from lakeray.failpoints import EVERY_IMPORT, SETS
from lakeray.objects import join, open_store
from tests.sample_lake import SampleLake, read

RULES = """\
    deduplicate: {key: [id], within: table}
    expect_set:
      one_note: {unique: [note], against: table, on_violation: quarantine}
      some: {row_count: {max: 1000}, on_violation: fail}
"""


@pytest.fixture
def lake(tmp_path):
    """Three batches of two objects: ids come twice, in one batch and from one to the next; five notes in all."""
    lake = SampleLake(root=str(tmp_path / "lake"), folder=tmp_path, batch_objects=2, extra=RULES)
    for number in range(6):
        rows = [{"id": number * 3 + n, "amount": 1.5, "status": "paid", "note": f"n{n % 5}"} for n in range(6)]
        uri = join(lake.source_uri, f"{number}.json")
        open_store(uri).put(uri, b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return lake


@pytest.mark.parametrize(
    ("name", "count"),
    [*((name, 1) for name in (*EVERY_IMPORT, *SETS)), ("rows_struck", 2), ("rows_struck", 3)],
)
def test_kill(lake, name, count):
    killed = lake.run(LAKERAY_FAILPOINTS=f"{name}=kill:{count}")
    assert killed.returncode == -9, killed.stdout + killed.stderr
    lake.import_well()
    table = read(lake.table_uri)
    assert sorted(table["id"].to_pylist()) == [0, 1, 2, 3, 4]
    assert sorted(table["note"].to_pylist()) == ["n0", "n1", "n2", "n3", "n4"]
    ledger = read(lake.ledger_uri())
    total = {
        name: sum(ledger[f"rows_{name}"].to_pylist()) for name in ("read", "written", "quarantined", "deduplicated")
    }
    assert total == {"read": 36, "written": 5, "quarantined": 22, "deduplicated": 9}
    assert read(lake.quarantine_uri).num_rows == 22
    assert set(require_table(lake.table_uri).schema.names) == {"id", "amount", "status", "note"}
    lake.check_folder()
