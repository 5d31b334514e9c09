"""Importers that race in processes of their own, with a compaction beside them, neither lose nor repeat a row."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from lakeray.delta.log import read_back
from lakeray.delta.table import create_table, require_table
from tests.unit.delta.readers import rows, with_delta_rs

BATCHES = 30
APP = "lakeray/pipeline/step/table"
SCHEMA = pa.schema([("batch", pa.int64()), ("n", pa.int64())])

IMPORTER = """
import random, sys, uuid
import pyarrow as pa
from lakeray.delta.commit import commit_once, record_rows
from lakeray.delta.writer import StagedWriter
uri, ledger, batches, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
schema = pa.schema([("batch", pa.int64()), ("n", pa.int64())])
sys.stdin.readline()
won = 0
for number in range(1, batches + 1):
    writer = StagedWriter(uri, schema=schema, partition_by=[], prefix=f"part-{number}-{uuid.uuid4().hex}")
    writer.write(pa.table({"batch": [number] * 3, "n": [1, 2, 3]}))
    done = commit_once(uri, app_id="lakeray/pipeline/step/table", number=number, previous=number - 1 or None,
                       files=writer.close(), metadata={"lakeray.result": f"{seed}"}, failpoints=True)
    won += done.won
    entry = pa.table({"batch": [number], "n": [int(done.metadata["lakeray.result"])]})
    record_rows(ledger, entry, app_id="ledger", number=number)
print(won)
"""
COMPACTOR = """
import sys
from lakeray.importer.upkeep.optimize import optimize
sys.stdin.readline()
print(sum(optimize(uri).files_removed for _ in range(15) for uri in sys.argv[1:3]))
"""
NEIGHBOUR = """
import sys, uuid
import pyarrow as pa
from lakeray.delta.commit import commit_once
from lakeray.delta.writer import StagedWriter
uri, batches = sys.argv[1], int(sys.argv[3])
schema = pa.schema([("batch", pa.int64()), ("n", pa.int64())])
sys.stdin.readline()
for number in range(1, batches + 1):
    writer = StagedWriter(uri, schema=schema, partition_by=[], prefix=f"other-{number}-{uuid.uuid4().hex}")
    writer.write(pa.table({"batch": [-number], "n": [0]}))
    commit_once(uri, app_id="neighbour", number=number, previous=None, files=writer.close())
print(batches)
"""


def start(script: str, *arguments: str, armed: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "LAKERAY_FAILPOINTS": armed},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(120)
def test_two_importers_a_neighbour_and_a_compactor_on_one_table(tmp_path: Path) -> None:
    uri, ledger = str(tmp_path / "t"), str(tmp_path / "l")
    create_table(uri, SCHEMA)
    create_table(ledger, SCHEMA)
    common = (uri, ledger, str(BATCHES))
    importers = [start(IMPORTER, *common, "7", armed="commit_reply=error:5"), start(IMPORTER, *common, "8")]
    everyone = [*importers, start(COMPACTOR, *common), start(NEIGHBOUR, *common)]
    for process in everyone:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=100) for process in everyone]
    assert [process.returncode for process in everyone] == [0, 0, 0, 0], answers
    assert int(answers[0][0]) + int(answers[1][0]) == BATCHES

    expected = [{"batch": number, "n": n} for number in range(1, BATCHES + 1) for n in (1, 2, 3)]
    expected += [{"batch": -number, "n": 0} for number in range(1, BATCHES + 1)]
    assert rows(with_delta_rs(uri)) == rows(pa.Table.from_pylist(expected, SCHEMA))
    handle = require_table(uri)
    assert handle.transaction_version(APP) == BATCHES
    winners = {
        commit.transactions[APP]: int(commit.metadata()["lakeray.result"])
        for commit in read_back(uri, handle.version)
        if APP in commit.transactions
    }
    recorded = [{"batch": number, "n": winner} for number, winner in winners.items()]
    assert rows(with_delta_rs(ledger)) == rows(pa.Table.from_pylist(recorded, SCHEMA))
