"""Changes are merged by `lakeray run` on Ray, into a table of several files, whatever is killed on the way.

Crash points: the driver with its Ray at changes_matched, then every worker of the second batch before its first task
ends (task_staged).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.polling import eventually
from tests.sample_lake import finished, read

pytestmark = pytest.mark.ray

ROWS = 3_000


@pytest.fixture
def lake(tmp_path):
    (tmp_path / "raw").mkdir()
    plan = "mode: merge, key: [id], sequence: seq, delete_when: \"op = 'd'\", leave_out: [op], batch: {max_objects: 2}"
    hints = "schema_hints: {id: int64, seq: int64, v: string, op: string}"
    (tmp_path / "w.yaml").write_text(f"""
workflow: changes
tenant: acme
sources: {{raw: {{uri: "{tmp_path}/raw/", format: json, {hints}}}}}
tables: {{t: {{uri: "{tmp_path}/t"}}}}
steps: {{ingest: {{import: {{from: raw, into: t, {plan}}}}}}}
""")
    return tmp_path


def put(lake, name, changes):
    (lake / "raw" / name).write_text("".join(json.dumps(change) + "\n" for change in changes))


def run(lake, **env):
    mine = {"LAKERAY_EXECUTOR": "tasks", "LAKERAY_CPUS": "2", "LAKERAY_STATE": f"sqlite:///{lake}/state.db", **env}
    process = subprocess.Popen(
        [sys.executable, "-m", "lakeray", "run", str(lake / "w.yaml"), "--json"],
        env={**os.environ, **mine},
        cwd=lake,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return finished(process)


def test_a_killed_merge_is_finished_by_the_next_run(lake):
    for part in range(4):
        ids = range(part * ROWS, (part + 1) * ROWS)
        put(lake, f"a{part}", [{"id": number, "seq": 1, "v": "old"} for number in ids])
    done = run(lake)
    assert done.returncode == 0, done.stderr
    put(lake, "b0", [{"id": number, "seq": 2, "v": "new"} for number in range(0, 4 * ROWS + 500, 5)])
    put(lake, "b1", [{"id": number, "seq": 3, "op": "d"} for number in range(0, 4 * ROWS, 10)])
    put(lake, "b2", [{"id": number, "seq": 1, "v": "late"} for number in range(0, 4 * ROWS, 10)])
    killed = run(lake, LAKERAY_FAILPOINTS="changes_matched=kill")
    assert killed.returncode == -9, killed.stderr
    done = run(lake, LAKERAY_FAILPOINTS="task_staged=exit:2")
    assert done.returncode in (0, 1), done.stderr
    done = run(lake)
    assert done.returncode == 0, done.stderr
    expected = {number: "old" for number in range(4 * ROWS) if number % 5}
    expected |= {number: "new" for number in range(0, 4 * ROWS + 500, 5) if number % 10 or number >= 4 * ROWS}
    rows = read(str(lake / "t"))
    assert rows.num_rows == len(expected)
    assert dict(zip(rows["id"].to_pylist(), rows["v"].to_pylist(), strict=True)) == expected
    report = json.loads(done.stdout)
    assert report
    eventually(lambda: not list((lake / "t").rglob("_lakeray/**/changes/*-0000000001-*")), 5)
